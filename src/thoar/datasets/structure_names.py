r"""Which organ a structure's name means: what a file of names says, then what we know, else nobody guesses.

A file of names is TOML; every key is optional::

    ignore = ["BODY", "Lung L"]            # left out
    ignore_patterns = ['cardiac_.*']       # regular expressions for a whole name
    priority = ["heart", "aorta"]          # where organs overlap, the later one gets the voxel
    built_in = true                        # false: nothing counts but this file

    [[organs]]
    organ = "heart"                        # of the label set
    names = ["Heart", "Heart_v2"]
    patterns = ['heart_final\d']
    when_several = "refuse"                # or "first" (in the order of names), or "join"

    [[label_set.organs]]                   # SegTHOR's four organs without it
    name = "heart"
    id = 1

Names are compared without regard to case, accents and the signs between words: ``HEART `` and ``Cœur`` are
``heart`` and ``coeur``. Patterns are tried on a name as it is written and on that plain form of it, without
regard to case. Names go before patterns, what is to be ignored before what is an organ by pattern, and the
file before what we know (``structure_names.toml``).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from thoar.core.configuration import load_toml
from thoar.core.errors import ConfigError, LabelError
from thoar.core.labels import SEGTHOR, LabelSet

BUILT_IN = Path(__file__).with_suffix(".toml")
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d"})
_SHORTEST_STEM = 4
_ALIKE = 0.8

Kind = Literal["organ", "ignored", "doubtful", "unknown"]


class OrganNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one organ is called.

    Attributes:
        organ: of the label set.
        names: plain ones.
        patterns: regular expressions for a whole name.
        when_several: what to do where several structures of one set are the organ: refuse the set, take the
            first in the order of ``names``, or join them.
    """

    organ: str
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    when_several: Literal["refuse", "first", "join"] = "refuse"


class NameFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of names."""

    label_set: LabelSet = SEGTHOR
    organs: tuple[OrganNames, ...] = ()
    ignore: tuple[str, ...] = ()
    ignore_patterns: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    built_in: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """All that is known about names.

    Attributes:
        label_set: organs that are asked for.
        priority: all of them; where two overlap, the later one gets the voxel.
        layers: files of names, the one that goes first in front.
    """

    label_set: LabelSet
    priority: tuple[str, ...]
    layers: tuple[NameFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a name means.

    Attributes:
        kind: an organ; something that is left out; perhaps an organ, which a person has to say; or nothing
            that we know.
        organs: the organ, or those that it may be.
    """

    kind: Kind
    organs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the structures of one set mean together.

    Attributes:
        organs: for each organ found, which structures it is made of, counted in the set's order.
        meanings: of every structure, in the set's order.
        repeated: organs that several structures claim, which is to be refused.
    """

    organs: Mapping[str, tuple[int, ...]]
    meanings: tuple[Meaning, ...]
    repeated: tuple[str, ...]


def read_names(path: Path | None = None, *, organs: Sequence[str] = ()) -> Names:
    """Read a file of names, or take what is built in alone.

    Args:
        path: the file.
        organs: only these of the label set are asked for; all without any.

    Raises:
        ConfigError: naming the file, if it is no TOML, has an unknown key or organ, a broken pattern, or
            gives one name two meanings.
        LabelError: if an organ that is asked for is unknown.
    """
    given = NameFile() if path is None else _read(path)
    asked = given.label_set.subset(tuple(organs)) if organs else given.label_set
    first = [name for name in asked.names if name not in given.priority]
    layers = (given, _built_in(given.label_set)) if given.built_in else (given,)
    return Names(
        label_set=asked,
        priority=(*first, *(name for name in given.priority if name in asked.names)),
        layers=layers,
    )


def meaning_of(name: str, known: Names) -> Meaning:
    """Say what a structure's name means.

    >>> meaning_of("HEART ", read_names()), meaning_of("heart_PRV", read_names()).kind
    (Meaning(kind='organ', organs=('heart',)), 'ignored')
    >>> meaning_of("Heart_v2", read_names())
    Meaning(kind='doubtful', organs=('heart',))
    """
    for layer in known.layers:
        found = _meaning_in(name, layer)
        if found is not None:
            asked = all(organ in known.label_set.names for organ in found.organs)
            return found if asked else Meaning(kind="ignored")
    near = tuple(organ for organ in _near(name, known) if organ in known.label_set.names)
    return Meaning(kind="doubtful", organs=near) if near else Meaning(kind="unknown")


def assign(names: Sequence[str], known: Names, *, drawn: Sequence[bool]) -> Assignment:
    """Say which structures of a set are which organ.

    Args:
        names: of all structures.
        known: what names mean.
        drawn: which structures have contours at all; one that has none does not contend.
    """
    meanings = tuple(meaning_of(name, known) for name in names)
    organs: dict[str, tuple[int, ...]] = {}
    repeated: list[str] = []
    for organ in known.label_set.names:
        hits = [k for k, m in enumerate(meanings) if m.kind == "organ" and m.organs == (organ,)]
        hits = [k for k in hits if drawn[k]] or hits[:1]
        rule = _rule(organ, known)
        if len(hits) > 1 and rule == "refuse":
            repeated.append(organ)
        elif hits:
            best = sorted(hits, key=lambda k: _rank(names[k], organ, known))
            organs[organ] = tuple(hits if rule == "join" else best[:1])
    return Assignment(organs=organs, meanings=meanings, repeated=tuple(repeated))


def is_listed(name: str, organ: str, known: Names) -> bool:
    """Say whether a name is in a list of an organ's names; else a pattern told what it means.

    >>> is_listed("HEART ", "heart", read_names())
    True
    """
    return plain_form(name) in map(plain_form, _listed(organ, known))


@lru_cache(maxsize=4096)
def plain_form(name: str) -> str:
    """Return a name as names are compared.

    >>> plain_form(" Cœur (Planung)"), plain_form("A_Aorta"), plain_form("SPEISERÖHRE")
    ('coeur_planung', 'a_aorta', 'speiserohre')
    """
    letters = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS))
    bare = "".join(c for c in letters if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "_", bare).strip("_")


def _meaning_in(name: str, layer: NameFile) -> Meaning | None:
    plain = plain_form(name)
    named = tuple(o.organ for o in layer.organs if plain in map(plain_form, o.names))
    if named:
        return _organ(named)
    if plain in map(plain_form, layer.ignore) or _matches(name, layer.ignore_patterns):
        return Meaning(kind="ignored")
    alike = tuple(o.organ for o in layer.organs if _matches(name, o.patterns))
    return _organ(alike) if alike else None


def _organ(organs: tuple[str, ...]) -> Meaning:
    return Meaning(kind="organ" if len(organs) == 1 else "doubtful", organs=organs)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    forms = (name.strip(), plain_form(name))
    return any(re.fullmatch(p, form, re.IGNORECASE) for p in patterns for form in forms)


def _near(name: str, known: Names) -> list[str]:
    """Return the organs one of whose names is part of a name, or nearly the name."""
    plain = plain_form(name)
    near: list[str] = []
    for entry in (entry for layer in known.layers for entry in layer.organs):
        names = [form for form in map(plain_form, entry.names) if len(form) >= _SHORTEST_STEM]
        close = any(form in plain for form in names) or get_close_matches(plain, names, 1, _ALIKE)
        if close and entry.organ not in near:
            near.append(entry.organ)
    return near


def _rule(organ: str, known: Names) -> str:
    return next(
        (o.when_several for layer in known.layers for o in layer.organs if o.organ == organ), "refuse"
    )


def _rank(name: str, organ: str, known: Names) -> int:
    """Return a name's place among the names of an organ; after them all if it was told by a pattern."""
    forms = [plain_form(listed) for listed in _listed(organ, known)]
    return forms.index(plain_form(name)) if plain_form(name) in forms else len(forms)


def _listed(organ: str, known: Names) -> list[str]:
    return [n for layer in known.layers for o in layer.organs if o.organ == organ for n in o.names]


def _read(path: Path) -> NameFile:
    try:
        names = msgspec.convert(load_toml(path), NameFile)
        _check(names)
    except (ConfigError, LabelError, msgspec.ValidationError, re.error) as error:
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    return names


def _check(names: NameFile) -> None:
    for organ in (*(entry.organ for entry in names.organs), *names.priority):
        names.label_set.organ(organ)
    meanings: dict[str, str] = {}
    said = [(name, o.organ) for o in names.organs for name in o.names] + [(n, "ignore") for n in names.ignore]
    for name, meaning in said:
        if meanings.setdefault(plain_form(name), meaning) != meaning:
            raise ConfigError(f"{name!r} is both {meanings[plain_form(name)]} and {meaning}; say one")
    for pattern in (*names.ignore_patterns, *(p for o in names.organs for p in o.patterns)):
        re.compile(pattern)


def _built_in(label_set: LabelSet) -> NameFile:
    """Return what we know of a label set's organs, and by TG-263's names."""
    known = msgspec.convert(load_toml(BUILT_IN), NameFile)
    names = {entry.organ: entry.names for entry in known.organs}
    organs = tuple(
        OrganNames(organ=o.name, names=(o.name, *((o.tg263,) if o.tg263 else ()), *names.get(o.name, ())))
        for o in label_set.organs
    )
    return NameFile(label_set=label_set, organs=organs, ignore_patterns=known.ignore_patterns)
