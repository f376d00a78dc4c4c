"""What stands beside a model's weights: organs, how they are found, what the network has seen, checksums."""

from collections.abc import Collection
from pathlib import Path

import msgspec

from thoar.core.errors import LabelError, ModelError
from thoar.core.labels import LabelSet
from thoar.inference.localisation import OrganLocalisation

MANIFEST = "manifest.json"
FORMAT = 2
FORMATS_READ = (1, FORMAT)
"""Format 1 knew no added and no optional organs."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a model was trained on.

    Attributes:
        name: short.
        citation: how its makers want it cited.
        licence: SPDX identifier where there is one.
        cases: ids of the patients (or groups) it gave; empty for synthetic anatomy.
    """

    name: str
    citation: str = ""
    licence: str = ""
    cases: tuple[str, ...] = ()


class TrainedOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network has seen.

    Attributes:
        cases: ids of the cases and groups.
        sources: number of cases per source that the data set names; "" counts those it says nothing of.
    """

    cases: tuple[str, ...] = ()
    sources: dict[str, int] = msgspec.field(default_factory=dict)

    def __add__(self, other: "TrainedOn") -> "TrainedOn":
        names = sorted(self.sources.keys() | other.sources.keys())
        return TrainedOn(
            cases=tuple(sorted({*self.cases, *other.cases})),
            sources={name: self.sources.get(name, 0) + other.sources.get(name, 0) for name in names},
        )


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model carries from one training to the next.

    Attributes:
        trained_on: what the network has seen, but for the decoders of added organs.
        added: organs that were added to a trained network, and what their own decoders have seen.
        optional: organs that are drawn only when they are asked for by name.
    """

    trained_on: TrainedOn = TrainedOn()
    added: dict[str, TrainedOn] = msgspec.field(default_factory=dict)
    optional: tuple[str, ...] = ()

    def after(self, training: TrainedOn, organ_names: Collection[str]) -> "History":
        """Return the history after a training of some organs."""
        added = {name: seen + training if name in organ_names else seen for name, seen in self.added.items()}
        return msgspec.structs.replace(self, trained_on=self.trained_on + training, added=added)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside the weights.

    Attributes:
        format: version of this layout.
        name: the model's.
        thoar_version: that wrote it.
        label_set: the organs, in channel order.
        localisation: per organ, how its box is found.
        sources: what it was trained on.
        training_cases: ids of all cases and groups it was trained on, but for the decoders of added organs.
        training_sources: see :class:`TrainedOn`.
        parameters: number of weights.
        fine_trained: whether the fine decoders are trained; not so after the coarse stage alone.
        added: see :class:`History`.
        optional: see :class:`History`.
        sha256: of every other file of the bundle, by name.
    """

    format: int = FORMAT
    name: str
    thoar_version: str
    label_set: LabelSet
    localisation: dict[str, OrganLocalisation]
    sources: tuple[Source, ...] = ()
    training_cases: tuple[str, ...] = ()
    training_sources: dict[str, int] = msgspec.field(default_factory=dict)
    parameters: int
    fine_trained: bool = True
    added: dict[str, TrainedOn] = msgspec.field(default_factory=dict)
    optional: tuple[str, ...] = ()
    sha256: dict[str, str]

    @property
    def history(self) -> History:
        """What the model carries along."""
        seen = TrainedOn(cases=self.training_cases, sources=self.training_sources)
        return History(trained_on=seen, added=self.added, optional=self.optional)

    @property
    def seen(self) -> TrainedOn:
        """What any part of the network has seen."""
        return sum(self.added.values(), start=self.history.trained_on)

    @property
    def own_coarse(self) -> tuple[str, ...]:
        """The added organs, which have coarse decoders of their own, in channel order."""
        return tuple(name for name in self.label_set.names if name in self.added)

    @property
    def usual(self) -> tuple[str, ...]:
        """The organs that are drawn when none is asked for by name."""
        return tuple(name for name in self.label_set.names if name not in self.optional)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest alone.

    Raises:
        ModelError: if it is missing or damaged, or of a format we do not know.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ModelError(
            f"{folder}: is no model bundle ({MANIFEST} cannot be read: {error.strerror})"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, LabelError) as error:
        raise ModelError(f"{path}: is damaged or of another version: {error}") from error
    if manifest.format not in FORMATS_READ:
        known = " and ".join(map(str, FORMATS_READ))
        raise ModelError(f"{path}: has format {manifest.format}, this version of thoar reads {known}")
    _refuse_strange_organs(manifest, path)
    return manifest


def _refuse_strange_organs(manifest: Manifest, path: Path) -> None:
    organs = manifest.label_set.names
    if set(organs) != set(manifest.localisation):
        raise ModelError(
            f"{path}: localisation is given for {sorted(manifest.localisation)}, organs are {sorted(organs)}"
        )
    for what, names in (("added", manifest.added), ("optional", manifest.optional)):
        strangers = sorted(set(names) - set(organs))
        if strangers:
            raise ModelError(f"{path}: {what} names {', '.join(strangers)}, organs are {', '.join(organs)}")
    if not manifest.usual:
        raise ModelError(f"{path}: every organ is optional, so that none would be drawn")
