"""A label set made of the names that a source gives its own labels."""

import colorsys
from collections.abc import Mapping, Sequence

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.datasets.structure_names import meaning_of, plain_form, read_names

_GOLDEN = 0.618034
"""Hues that far apart around the circle stay different, however many there are."""
_HIGHEST_ID = 255
"""Of the label maps that training prepares."""
_MIRRORED = {"left": "right", "l": "r"}


def own_name(structure: str) -> str:
    """Return what a structure is called in our label sets: an organ we know, else its own plain name.

    >>> own_name("Oesophagus"), own_name("Left Lung")
    ('esophagus', 'left_lung')
    """
    meaning = meaning_of(structure, read_names())
    return meaning.organs[0] if meaning.kind == "organ" else plain_form(structure)


def own_label_set(structures: Mapping[str, int], organs: Sequence[str] = ()) -> LabelSet:
    """Return a label set of a source's structures.

    SegTHOR's organs keep SegTHOR's ids, names and colours; others keep their ids where these are free, which
    SegTHOR's are not beside one of its organs. Two that differ in nothing but left and right are a symmetric
    pair.

    Args:
        structures: the names with the source's ids.
        organs: only these, by our names, in this order; all without any.

    Raises:
        LabelError: if an organ asked for is not there, or a name cannot name a file.

    >>> [(organ.name, organ.id) for organ in own_label_set({"Lung": 1, "Heart": 2, "liver": 7}).organs]
    [('lung', 5), ('heart', 2), ('liver', 7)]
    """
    ids = {own_name(structure): number for structure, number in structures.items()}
    strangers = [name for name in organs if name not in ids]
    if strangers:
        raise LabelError(
            f"no label means {', '.join(strangers)}; there are {', '.join(ids)} (a file given with "
            "--names says what else a label means)"
        )
    names = list(dict.fromkeys(organs)) or list(ids)
    known = {organ.name: organ for organ in SEGTHOR.organs if organ.name in names}
    taken = {organ.id for organ in SEGTHOR.organs} if known else set[int]()
    made: list[Organ] = []
    for name in names:
        number = ids[name] if 0 < ids[name] <= _HIGHEST_ID and ids[name] not in taken else _least_free(taken)
        made.append(known.get(name) or Organ(name=name, id=number, color_rgb=_color_rgb(number)))
        taken.add(made[-1].id)
    return LabelSet(organs=tuple(made), symmetric_pairs=_pairs(names))


def _least_free(taken: set[int]) -> int:
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def _color_rgb(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 1.0)
    return (round(255 * red), round(255 * green), round(255 * blue))


def _pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    twins = {name: "_".join(_MIRRORED.get(word, word) for word in name.split("_")) for name in names}
    return tuple((name, twin) for name, twin in twins.items() if twin != name and twin in twins)
