"""Folders of CT with RTSTRUCT or DICOM-SEG, turned into a data set that names nobody.

Only voxels, places and organs are taken over; no attribute of a patient, study or institution is. Cases are
numbered in the order of their structure files' codes (hashes of SOPInstanceUIDs), which is the same on every
import and has nothing to do with names of files or patients.
"""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from thoar.core.errors import InputError, PeerError
from thoar.core.versions import version_of
from thoar.datasets.dicom_inventory import Inventory, StructureFile, alias_name, code_of, take_inventory
from thoar.datasets.import_case import CaseName, Made, make_case
from thoar.datasets.import_report import REPORT, ImportReport, Refusal
from thoar.datasets.import_sources import Source, series_of, staged
from thoar.datasets.manifest import MANIFEST, Dataset, write_dataset
from thoar.datasets.structure_files import names_of, read_structures
from thoar.datasets.structure_names import Meaning, meaning_of, read_names
from thoar.datasets.target import check_target
from thoar.io.atomic import atomic_bytes, replace_folder
from thoar.io.dicom.records import PLAIN, ReadOptions
from thoar.io.digest import sha256_of

OURS = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(REPORT)}|case_\d+")
"""What ``overwrite`` may replace."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundName:
    """A name of structures in the folder.

    Attributes:
        name: as it is written there; it may be personal.
        sets: how many structure files hold it.
        meaning: what it means.
    """

    name: str
    sets: int
    meaning: Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        report: as it lies in the data set.
        names: of all structures in the folder, for the terminal.
        key: the folder's files by what messages call them: for its owner's eyes only.
    """

    report: ImportReport
    names: tuple[FoundName, ...]
    key: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of an import.

    Attributes:
        names_file: what names of structures mean; None for what is built in.
        organs: only these of its label set; all without any.
        options: of the readers.
    """

    names_file: Path | None = None
    organs: tuple[str, ...] = ()
    options: ReadOptions = PLAIN


def import_dicom(folder: Path, out: Path, *, wish: Wish = Wish(), overwrite: bool = False) -> Imported:
    """Make a data set of a folder's series and the structures drawn on them, whole or not at all.

    A structure file that makes no case does not stop the others; the report says why.

    Args:
        folder: of any number of patients; files may lie anywhere below it, in any order.
        out: the data set's folder, new or empty.
        wish: what is asked.
        overwrite: replace an earlier import.

    Raises:
        UsageError: if ``out`` holds anything that must not be replaced.
        ConfigError: if the file of names is broken.
        InputError: if there is no structure file, or none makes a case.
        ResourceError: if disk or memory are full.
    """
    out = out.resolve()
    check_target(out, OURS, overwrite=overwrite)
    names = read_names(wish.names_file, organs=wish.organs)
    done: list[Imported] = []

    def fill(new: Path) -> None:
        with TemporaryDirectory(dir=new, prefix=".scans-") as stage:
            inventory = take_inventory(_folder(folder), Path(stage))
            source = Source(inventory=inventory, stage=Path(stage), names=names, options=wish.options)
            done.append(_imported(source, new, wish=wish))

    replace_folder(out, fill)
    return done[0]


def names_in(folder: Path, *, wish: Wish = Wish()) -> tuple[FoundName, ...]:
    """Return what the structures in a folder are called, and what that means; no scan is read.

    Raises:
        ConfigError: if the file of names is broken.
        InputError: if there is no structure file.
    """
    names = read_names(wish.names_file, organs=wish.organs)
    with TemporaryDirectory(prefix="thoar-") as stage:
        inventory = take_inventory(_folder(folder), Path(stage))
        return _found_names(Source(inventory=inventory, stage=Path(stage), names=names, options=wish.options))


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name the one that holds the DICOM files")
    return folder


def _imported(source: Source, new: Path, *, wish: Wish) -> Imported:
    """Make every case, then the manifest and the report."""
    found = _found_names(source)
    _warn_of_doubles(source)
    made: list[Made] = []
    refused: list[Refusal] = []
    for file, name in zip(source.inventory.structures, _case_names(source.inventory), strict=True):
        result = _tried(file, source, name=name, out=new)
        _log.info("%d/%d %s", len(made) + len(refused) + 1, len(source.inventory.structures), _said(result))
        made += [result] if isinstance(result, Made) else []
        refused += [result] if isinstance(result, Refusal) else []
    if not made:
        reasons = "; ".join(dict.fromkeys(refusal.reason for refusal in refused[:3]))
        raise InputError(f"none of {len(refused)} structure files makes a case: {reasons}")
    cases = tuple(result.case for result in made)
    write_dataset(new, Dataset(root=new, label_set=source.names.label_set, cases=cases))
    report = _report(source, made, refused=refused, wish=wish)
    atomic_bytes(new / REPORT, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return Imported(report=report, names=found, key=_key(source.inventory))


def _warn_of_doubles(source: Source) -> None:
    counts = Counter(uid for file in source.inventory.structures for uid in _series_uids(file, source))
    for uid, count in counts.items():
        if count > 1:
            _log.warning(
                "series %s: %d structure files were drawn on it; each makes a case", code_of(uid), count
            )


def _series_uids(file: StructureFile, source: Source) -> list[str]:
    with suppress(InputError):
        return [series_of(file, source).uid]
    return []


def _tried(file: StructureFile, source: Source, *, name: CaseName, out: Path) -> Made | Refusal:
    try:
        return make_case(file, source, name=name, out=out)
    except (InputError, PeerError) as error:
        shutil.rmtree(out / name.id, ignore_errors=True)
        return Refusal(
            id=name.id, kind=file.kind, structures=file.code, reason=source.told(" ".join(str(error).split()))
        )


def _said(result: Made | Refusal) -> str:
    if isinstance(result, Refusal):
        return f"{result.id} refused: {result.reason}"
    return f"{result.case.id}: {', '.join(result.case.organs)}"


def _case_names(inventory: Inventory) -> list[CaseName]:
    """Number the cases, and the patients in the order that they turn up in."""
    patients = list(dict.fromkeys(file.patient for file in inventory.structures))
    return [
        CaseName(id=f"case_{k:04d}", group=f"patient_{patients.index(file.patient):04d}")
        for k, file in enumerate(inventory.structures)
    ]


def _found_names(source: Source) -> tuple[FoundName, ...]:
    """Count the names in all structure files that can be read."""
    if not source.inventory.structures:
        raise InputError("the folder holds no RTSTRUCT and no DICOM-SEG; put them beside their CT series")
    sets: Counter[str] = Counter()
    for file in source.inventory.structures:
        with staged(file.number, source) as path, suppress(InputError):
            sets.update(set(names_of(read_structures(path, file.kind))))
    return tuple(
        FoundName(name=name, sets=sets[name], meaning=meaning_of(name, source.names))
        for name in sorted(sets, key=str.casefold)
    )


def _report(source: Source, made: Sequence[Made], *, refused: Sequence[Refusal], wish: Wish) -> ImportReport:
    return ImportReport(
        thoar=version_of("thoar"),
        organs=source.names.label_set.names,
        priority=source.names.priority,
        names_sha256=None if wish.names_file is None else sha256_of(wish.names_file),
        options=_told_options(wish.options),
        cases=tuple(result.record for result in made),
        refused=tuple(refused),
        unreadable_files=tuple(source.told(reason) for reason in source.inventory.unreadable.values()),
        series_without_structures=_bare_series(source),
    )


def _told_options(options: ReadOptions) -> ReadOptions:
    """Return the options without the value that slices were selected by, which may be anything."""
    keyword = options.select and options.select[0]
    return msgspec.structs.replace(options, select=(keyword, "...") if keyword else None)


def _bare_series(source: Source) -> int:
    """Count the series that no structure file belongs to."""
    drawn_on = {uid for file in source.inventory.structures for uid in _series_uids(file, source)}
    return sum(scan.uid not in drawn_on for scan in source.inventory.scans)


def _key(inventory: Inventory) -> dict[str, str]:
    files = {alias_name(number): str(path) for number, path in enumerate(inventory.paths)}
    names = _case_names(inventory)
    cases = {name.id: alias_name(file.number) for file, name in zip(inventory.structures, names, strict=True)}
    return {**cases, **files}
