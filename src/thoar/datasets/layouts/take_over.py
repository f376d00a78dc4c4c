"""A source of any layout, taken over into a data set of ours: each file read once and compared.

The new folder holds ``<id>/<id>.nii.gz`` and ``<id>/GT.nii.gz`` for each case, ``dataset.toml`` and
``import.json``. Images are copied or linked as they are; labels are written anew, with the data set's ids.
"""

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from thoar.core.errors import InputError, LabelError, PeerError, UsageError
from thoar.core.versions import version_of
from thoar.datasets.layouts.layout_report import REPORT, LayoutReport, RefusedCase, TakenCase
from thoar.datasets.layouts.put import put_image
from thoar.datasets.layouts.read_case import ReadCase, read_case
from thoar.datasets.layouts.source import Empty, Source, SourceCase
from thoar.datasets.layouts.vocabulary import Vocabulary, vocabulary_of
from thoar.datasets.manifest import MANIFEST, Case, Dataset, write_dataset
from thoar.datasets.target import check_target
from thoar.io.atomic import atomic_bytes, replace_folder
from thoar.io.digest import sha256_of
from thoar.io.formats import write_labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of an import.

    Attributes:
        names_file: what the source's labels mean; None for what they are called.
        organs: only these; all, or the layout's usual ones, without any.
        empty: what it means that an organ has no voxel in a case; None for what it means in the layout.
        link: symbolic links to images in place of copies.
    """

    names_file: Path | None = None
    organs: tuple[str, ...] = ()
    empty: Empty | None = None
    link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A case whose files are written, and what is told of it; no case where it was left out."""

    case: Case | None
    record: TakenCase


def take_over(source: Source, out: Path, *, wish: Wish = Wish(), overwrite: bool = False) -> LayoutReport:
    """Make a data set of a source, whole or not at all; a case that cannot be used does not stop the others.

    Args:
        source: as a layout's ``find`` returns it.
        out: the data set's folder, new or empty.
        wish: what is asked.
        overwrite: replace an earlier import.

    Raises:
        UsageError: if ``out`` holds anything that must not be replaced, or files of the source.
        ConfigError: if the file of names is broken.
        LabelError: if it is not clear what the labels mean.
        InputError: if no case can be made, or one is called like a file of ours.
        ResourceError: if disk or memory are full.
    """
    out = out.resolve()
    check_target(out, _ours(out), overwrite=overwrite)
    _refuse_ids_of_files([case.id for case in source.cases], source.place)
    if any(file.resolve().is_relative_to(out) for case in source.cases for file in _files(case)):
        raise UsageError(f"{out}: holds files that are to be read; name another folder")
    vocabulary = vocabulary_of(source, names_file=wish.names_file, organs=wish.organs)
    done: list[LayoutReport] = []
    replace_folder(out, lambda new: done.append(_fill(new, source, vocabulary=vocabulary, wish=wish)))
    return done[0]


def _files(case: SourceCase) -> tuple[Path, ...]:
    return (case.image, *(label.path for label in case.labels))


def _refuse_ids_of_files(ids: Sequence[str], place: Path) -> None:
    taken = [name for name in ids if name.casefold() in (MANIFEST, REPORT)]
    if taken:
        raise InputError(
            f"{place}: a case cannot be called {taken[0]}, as a file of every data set; rename it"
        )


def _ours(out: Path) -> re.Pattern[str]:
    """Return what an earlier import made, as its report lists it."""
    try:
        report = msgspec.json.decode((out / REPORT).read_bytes(), type=LayoutReport)
    except (OSError, msgspec.DecodeError):
        return re.compile(r"(?!)")
    return re.compile("|".join(map(re.escape, (MANIFEST, REPORT, *(case.id for case in report.cases)))))


def _fill(new: Path, source: Source, *, vocabulary: Vocabulary, wish: Wish) -> LayoutReport:
    taken: list[_Taken] = []
    refused: list[RefusedCase] = []
    for number, found in enumerate(source.cases, 1):
        try:
            taken.append(_take(found, source, vocabulary=vocabulary, wish=wish, out=new))
            said = ", ".join((*taken[-1].record.volumes_ml, *taken[-1].record.notes)) or "no label"
        except (InputError, PeerError) as error:
            said = _without_folders(str(error), found, source)
            shutil.rmtree(new / found.id, ignore_errors=True)
            refused.append(RefusedCase(id=found.id, reason=said))
        _log.info("%d/%d %s: %s", number, len(source.cases), found.id, said)
    cases = tuple(result.case for result in taken if result.case is not None)
    if not cases:
        reasons = "; ".join(dict.fromkeys(r.reason for r in refused[:3])) or "no organ is in view"
        raise InputError(f"{source.place}: none of its {len(source.cases)} cases can be used: {reasons}")
    write_dataset(new, Dataset(root=new, label_set=vocabulary.label_set, cases=cases))
    report = _report(source, taken, refused=refused, vocabulary=vocabulary, wish=wish)
    atomic_bytes(new / REPORT, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return report


def _without_folders(text: str, case: SourceCase, source: Source) -> str:
    """Return a message on one line, without the folders of a case's files, which may name patients."""
    text = " ".join(text.split()).replace(f"{source.folder}/", "")
    for file in _files(case):
        text = text.replace(f"{file.parent}/", "")
    return text


def _take(found: SourceCase, source: Source, *, vocabulary: Vocabulary, wish: Wish, out: Path) -> _Taken:
    """Read a case and write its files."""
    read = read_case(found, vocabulary)
    organs, absent, notes = _labelled(found, read, vocabulary=vocabulary, empty=wish.empty or source.empty)
    ml = read.image.geometry.voxel_volume_ml
    volumes_ml = {organ: round(count * ml, 3) for organ, count in read.voxels.items()}
    record = TakenCase(id=found.id, volumes_ml=volumes_ml, notes=(*notes, *_overlaps(read, ml)))
    if read.labels is not None and not read.voxels and source.any_region:
        return _Taken(case=None, record=record)
    folder = out / found.id
    folder.mkdir()
    label = folder / "GT.nii.gz" if read.labels is not None else None
    if read.labels is not None and label is not None:
        write_labels(label, read.labels)
    case = Case(
        id=found.id,
        image=put_image(found.image, read.image, to=folder / found.id, link=wish.link),
        label=label,
        organs=organs,
        absent=absent,
        group=found.group or found.id,
        source=found.source,
    )
    return _Taken(case=case, record=record)


def _overlaps(read: ReadCase, voxel_ml: float) -> list[str]:
    return [f"{what}: {count * voxel_ml:.1f} mL" for what, count in read.overlaps.items()]


def _labelled(
    found: SourceCase, read: ReadCase, *, vocabulary: Vocabulary, empty: Empty
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Return which organs are labelled, which of these are absent, and what to tell of it."""
    listed = read.named if found.organs is None else vocabulary.organs_of(found.organs, found.id)
    absent = vocabulary.organs_of(found.absent, found.id)
    contradicted = [organ for organ in absent if organ in read.voxels]
    bare = [organ for organ in listed if organ not in read.voxels and organ not in absent]
    if contradicted:
        raise LabelError(f"{', '.join(contradicted)} is said to be absent, but its label has voxels")
    if bare and found.organs is not None:
        raise LabelError(
            f"{', '.join(bare)} is said to be labelled, but has no voxel; list it under absent too if it is "
            "not there, or else take it out of organs"
        )
    elsewhere = dict.fromkeys(vocabulary.organ_of.values()) if found.labels and found.organs is None else {}
    notes = [f"{organ}: no voxel, {empty}" for organ in bare]
    notes += [f"{organ}: no file, unlabelled" for organ in elsewhere if organ not in listed]
    if empty == "absent":
        return listed, tuple(organ for organ in listed if organ in (*absent, *bare)), notes
    organs = tuple(organ for organ in listed if organ not in bare)
    if found.labels and not organs:
        raise LabelError("its labels show none of the organs; leave the case out, or say --empty absent")
    return organs, absent, notes


def _report(
    source: Source,
    taken: Sequence[_Taken],
    *,
    refused: Sequence[RefusedCase],
    vocabulary: Vocabulary,
    wish: Wish,
) -> LayoutReport:
    cases = tuple(result.record for result in taken if result.case is not None)
    return LayoutReport(
        thoar=version_of("thoar"),
        layout=source.layout,
        names_sha256=None if wish.names_file is None else sha256_of(wish.names_file),
        meanings=dict(vocabulary.organ_of),
        left_out=vocabulary.left_out,
        cases=cases,
        refused=tuple(refused),
        without_organs=tuple(result.record.id for result in taken if result.case is None),
        labelled=sum(result.case is not None and result.case.label is not None for result in taken),
        cases_with={
            organ: sum(organ in case.volumes_ml for case in cases) for organ in vocabulary.label_set.names
        },
    )
