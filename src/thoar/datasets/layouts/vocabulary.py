"""Which organ of the data set to be made each of a source's labels means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.datasets.layouts.own_labels import own_label_set, own_name
from thoar.datasets.layouts.source import LabelFile, Source
from thoar.datasets.structure_names import NameFile, Names, OrganNames, assign, read_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the labels of a source mean.

    Attributes:
        label_set: the organs asked for.
        organ_of: the structures that are taken, and as which organ.
        priority: of the organs; where two overlap, the later one gets the voxel.
        ids: the structure that each id stands for in label files without names of their own.
        left_out: structures that are not taken.
        known: all structures, and all organs that may be asked for.
    """

    label_set: LabelSet
    organ_of: Mapping[str, str]
    priority: tuple[str, ...]
    ids: Mapping[int, str]
    left_out: tuple[str, ...]
    known: tuple[str, ...]

    def names_in(self, label: LabelFile) -> Mapping[int, str]:
        """Return the structure that each id of a label file stands for."""
        return self.ids if label.names is None else label.names

    def organs_of(self, names: Sequence[str], case_id: str) -> tuple[str, ...]:
        """Return the organs that a case's list of structures or organs speaks of, those asked for.

        Raises:
            LabelError: if a name is neither.
        """
        strangers = [name for name in names if name not in self.known]
        if strangers:
            there = ", ".join(self.known)
            raise LabelError(f"case {case_id}: no label is called {', '.join(strangers)}; there are {there}")
        named = {self.organ_of.get(name, name) for name in names}
        return tuple(organ for organ in self.label_set.names if organ in named)

    def only(self, organs: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary that takes no structure but those of these organs."""
        return replace(self, organ_of={s: organ for s, organ in self.organ_of.items() if organ in organs})


def vocabulary_of(
    source: Source, *, names_file: Path | None = None, organs: Sequence[str] = ()
) -> Vocabulary:
    """Say what a source's labels mean: as a file of names says, else as they are called.

    Args:
        source: whose labels.
        names_file: as the importer of DICOM takes it; names are labels' names, or their ids in layouts that
            give them none.
        organs: only these; all without any.

    Raises:
        ConfigError: if the file of names is broken.
        LabelError: if a label may mean an organ and nobody says so, two labels mean one, or an organ asked
            for is nowhere.
    """
    names = _own_names(source, organs) if names_file is None else read_names(names_file, organs=organs)
    ids = _plain_ids(names, source)
    structures = tuple(dict.fromkeys(name for _, name in source.labels_named())) or tuple(ids.values())
    found = assign(structures, names, drawn=[True] * len(structures))
    doubtful = [s for s, m in zip(structures, found.meanings, strict=True) if m.kind == "doubtful"]
    if doubtful or found.repeated:
        raise LabelError(_undecided(source.place, doubtful, repeated=found.repeated))
    organ_of = {structures[k]: organ for organ, parts in found.organs.items() for k in parts}
    missing = [organ for organ in organs or source.usual if organ not in found.organs]
    if missing or not organ_of:
        raise LabelError(_missing(source.place, missing, structures=structures))
    return Vocabulary(
        label_set=names.label_set,
        organ_of=organ_of,
        priority=names.priority,
        ids=ids,
        left_out=tuple(name for name in structures if name not in organ_of),
        known=tuple(dict.fromkeys((*structures, *names.layers[0].label_set.names))),
    )


def _own_names(source: Source, organs: Sequence[str]) -> Names:
    """Take the labels by the names that the source gives them."""
    named = {name: number for number, name in source.labels_named()}
    whole = source.label_set or (own_label_set(named, _asked(source, named, organs)) if named else SEGTHOR)
    meant = {structure: structure if source.label_set else own_name(structure) for structure in named}
    entries = tuple(
        OrganNames(organ=organ, names=tuple(s for s, o in meant.items() if o == organ) if named else (organ,))
        for organ in whole.names
    )
    ignored = tuple(structure for structure, organ in meant.items() if organ not in whole.names)
    asked = whole.subset(tuple(organs)) if organs else whole
    layer = NameFile(label_set=whole, organs=entries, ignore=ignored, built_in=False)
    return Names(label_set=asked, priority=asked.names, layers=(layer,))


def _asked(source: Source, named: Mapping[str, int], organs: Sequence[str]) -> tuple[str, ...]:
    """Return the organs to make a label set of: those asked for, else the usual ones that are there."""
    there = {own_name(structure) for structure in named}
    return tuple(organs) or tuple(organ for organ in source.usual if organ in there)


def _plain_ids(names: Names, source: Source) -> Mapping[int, str]:
    """Return what ids stand for without names of their own.

    That is what the file of names lists by number, else the organs of the source's own label set, else those
    of the file's.
    """
    given = names.layers[0]
    listed = [name for names_ in (given.ignore, *(o.names for o in given.organs)) for name in names_]
    numbers = {int(name): name for name in listed if name.isdecimal()}
    return numbers or {organ.id: organ.name for organ in (source.label_set or given.label_set).organs}


def _undecided(place: Path, doubtful: Sequence[str], *, repeated: Sequence[str]) -> str:
    if doubtful:
        return (
            f"{place}: the labels {', '.join(doubtful)} may mean an organ and are not known; say in a file "
            "of names which they are or that they are to be ignored, and give it with --names"
        )
    return (
        f"{place}: several labels are {', '.join(repeated)}; say in a file of names which to ignore, or set "
        'when_several = "first" or "join" there, and give it with --names'
    )


def _missing(place: Path, missing: Sequence[str], *, structures: Sequence[str]) -> str:
    parts = [s for s in structures if any(s.startswith(f"{organ}_") for organ in missing)]
    seen = f"{', '.join(parts)} can be joined to it" if parts else f"the labels are {', '.join(structures)}"
    return (
        f"{place}: no label means {', '.join(missing) or 'any organ asked for'} ({seen}); say in a file of "
        "names, given with --names, what means it, or take others with --organs"
    )
