"""Which organs a label map, a model or a data set speaks of."""

import msgspec

from thoar.core.errors import LabelError

_LONGEST_NAME = 100  # bytes


class Organ(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One structure of a label set.

    Attributes:
        name: lower-case name, the one every command takes and files are named by.
        id: value in label maps, 1 to 65535.
        color_rgb: 0 to 255 each, for pictures and RTSTRUCT.
        tg263: primary name in AAPM TG-263's nomenclature.
        usual_volume_ml: (least, most) that passes without the flag ``unusual_volume``, for an adult
            whose whole organ is in view; None where nobody has said.
    """

    name: str
    id: int
    color_rgb: tuple[int, int, int] = (255, 255, 0)
    tg263: str = ""
    usual_volume_ml: tuple[float, float] | None = None


class LabelSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ordered set of organs.

    Attributes:
        organs: in the order of a network's channels.
        symmetric_pairs: names that swap when a case is mirrored left to right.

    Raises:
        LabelError: if names or ids repeat (names: but for upper and lower case), a name cannot name a file,
            an id is out of range, or a pair names a stranger.
    """

    organs: tuple[Organ, ...]
    symmetric_pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names, ids = self.names, [organ.id for organ in self.organs]
        if not names:
            raise LabelError("a label set needs at least one organ")
        for name in names:
            _check_name(name)
        if len({name.casefold() for name in names}) < len(names) or len(set(ids)) < len(ids):
            raise LabelError(
                f"names and ids of a label set must differ: {list(zip(names, ids, strict=True))}"
            )
        if not all(1 <= i <= 65535 for i in ids):  # noqa: PLR2004 (the range of uint16)
            raise LabelError(f"label ids must lie in 1..65535, got {ids}")
        for pair in self.symmetric_pairs:
            self._refuse_strangers(pair)

    @property
    def names(self) -> tuple[str, ...]:
        """The organs' names, in order."""
        return tuple(organ.name for organ in self.organs)

    def organ(self, name: str) -> Organ:
        """Return the organ of that name.

        Raises:
            LabelError: if there is none.
        """
        self._refuse_strangers((name,))
        return self.organs[self.names.index(name)]

    def subset(self, names: tuple[str, ...]) -> "LabelSet":
        """Return the set with only the organs named, in this set's order.

        Raises:
            LabelError: if a name is unknown or none is given.
        """
        self._refuse_strangers(names)
        return LabelSet(
            organs=tuple(organ for organ in self.organs if organ.name in names),
            symmetric_pairs=tuple(p for p in self.symmetric_pairs if p[0] in names and p[1] in names),
        )

    def _refuse_strangers(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self.names:
                raise LabelError(f"no organ is called {name!r} here; there are {', '.join(self.names)}")


def _check_name(name: str) -> None:
    if (
        not name
        or name != name.strip()
        or name.startswith(".")
        or not name.isprintable()
        or any(c in name for c in '/\\:*?"<>|')
        or len(name.encode()) > _LONGEST_NAME
    ):
        raise LabelError(
            f"{name[:_LONGEST_NAME]!r} cannot be an organ's name, since files are named by it: use at most "
            f"{_LONGEST_NAME} bytes, no leading dot, no slash, colon or other sign that file systems refuse"
        )


SEGTHOR = LabelSet(
    organs=(
        Organ(
            name="esophagus",
            id=1,
            color_rgb=(255, 196, 0),
            tg263="Esophagus",
            usual_volume_ml=(8.0, 70.0),
        ),
        Organ(name="heart", id=2, color_rgb=(230, 57, 70), tg263="Heart", usual_volume_ml=(300.0, 1500.0)),
        Organ(name="trachea", id=3, color_rgb=(64, 196, 255), tg263="Trachea", usual_volume_ml=(15.0, 90.0)),
        Organ(name="aorta", id=4, color_rgb=(176, 96, 255), tg263="A_Aorta", usual_volume_ml=(60.0, 600.0)),
    )
)
"""The label set of the SegTHOR challenge (arXiv 1912.05950), our default."""

THORAX = LabelSet(
    organs=(
        *SEGTHOR.organs,
        Organ(
            name="spinal_cord",
            id=5,
            color_rgb=(255, 128, 192),
            tg263="SpinalCord",
            usual_volume_ml=(25.0, 120.0),
        ),
        Organ(
            name="lung_left",
            id=6,
            color_rgb=(96, 224, 160),
            tg263="Lung_L",
            usual_volume_ml=(500.0, 4500.0),
        ),
        Organ(
            name="lung_right",
            id=7,
            color_rgb=(32, 168, 96),
            tg263="Lung_R",
            usual_volume_ml=(600.0, 5000.0),
        ),
    ),
    symmetric_pairs=(("lung_left", "lung_right"),),
)
"""SegTHOR's organs, then those that a model of ours may have besides: spinal cord and both lungs."""
