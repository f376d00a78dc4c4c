"""What lies in a folder of DICOM files of any number of patients: series of slices, and structures on them.

File and folder names are often patients' names, and readers name files in their messages. So every file is
read under another name, ``file_000017`` for the seventeenth of the folder, by a link in a folder of ours.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from thoar.core.errors import InputError
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, text
from thoar.io.dicom.files import is_dicom_file, plain_files
from thoar.io.dicom.parse import SCANS, read_slice
from thoar.io.digest import sha256_of

_CODE_DIGITS = 12
_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_FRAME_KEYWORDS = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID")

StructureKind = Literal["rtstruct", "seg"]
_STRUCTURES: Mapping[str, StructureKind] = MappingProxyType({"RTSTRUCT": "rtstruct", "SEG": "seg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFiles:
    """The files of one series.

    Attributes:
        uid: SeriesInstanceUID.
        frame_uid: FrameOfReferenceUID; empty where there is none.
        modality: such as CT.
        numbers: which files of the folder.
    """

    uid: str
    frame_uid: str
    modality: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureFile:
    """An RTSTRUCT or DICOM-SEG.

    Attributes:
        number: which file of the folder it is.
        kind: which of the two.
        code: what stands for its SOPInstanceUID, or without one, for its content.
        content: SHA-256 of the file.
        patient: equal for files of one patient; tells nothing else.
        series_uids: the series that it refers to.
        frame_uids: frames of reference that it speaks of.
    """

    number: int
    kind: StructureKind
    code: str
    content: str
    patient: str
    series_uids: tuple[str, ...]
    frame_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a folder holds.

    Attributes:
        scans: series of slices.
        structures: in the order of their codes, which depends on no name; copies of a file count once.
        unreadable: DICOM files that cannot be read, by number, and why.
        paths: of all files, by number.
    """

    scans: tuple[ScanFiles, ...]
    structures: tuple[StructureFile, ...]
    unreadable: Mapping[int, str]
    paths: tuple[Path, ...]


def code_of(uid: str) -> str:
    """Return what stands for a UID in reports: whoever has the UID can find it there, nobody else.

    >>> code_of("1.2.3")
    'c47f5b18b8a4'
    """
    return sha256(uid.encode()).hexdigest()[:_CODE_DIGITS]


def alias_name(number: int) -> str:
    """Return what a file of the folder is called in messages.

    >>> alias_name(17)
    'file_000017'
    """
    return f"file_{number:06d}"


def take_inventory(folder: Path, aliases: Path) -> Inventory:
    """Read the attributes of every DICOM file in a folder and those below it, no pixels.

    Args:
        folder: links out of it are not followed; archives are not opened.
        aliases: an empty folder of ours.

    Raises:
        InputError: if a folder cannot be listed, or there is no DICOM file.
    """
    paths = _all_files(folder)
    slices: dict[str, list[_SliceFile]] = {}
    structures: dict[str, StructureFile] = {}
    unreadable: dict[int, str] = {}
    dicom = 0
    for number, path in enumerate(paths):
        try:
            found = _what_is(path, number, aliases=aliases)
        except InputError as error:
            unreadable[number] = str(error).replace(f"{aliases}{os.sep}", "")
            continue
        dicom += found is not None
        if isinstance(found, StructureFile):
            structures.setdefault(found.content, found)
        elif isinstance(found, _SliceFile):
            slices.setdefault(found.series_uid, []).append(found)
    if not dicom and not unreadable:
        raise InputError("the folder holds no DICOM file; name the one that does")
    return Inventory(
        scans=tuple(_scan(files) for files in slices.values()),
        structures=tuple(sorted(structures.values(), key=lambda file: (file.code, file.content))),
        unreadable=unreadable,
        paths=paths,
    )


@contextmanager
def alias_of(path: Path, alias: Path) -> Iterator[Path]:
    """Give a file another name for a while: a link, or where there are none, a copy."""
    for make in (os.symlink, os.link, shutil.copyfile):
        with suppress(OSError, NotImplementedError):
            make(path.resolve(), alias)
            break
    try:
        yield alias
    finally:
        alias.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SliceFile:
    number: int
    series_uid: str
    frame_uid: str
    modality: str


def _all_files(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(plain_files(folder, []))
    except InputError:
        raise InputError("a folder below the one given cannot be listed; check who may read it") from None


def _what_is(path: Path, number: int, *, aliases: Path) -> _SliceFile | StructureFile | Path | None:
    """Return what a file holds; the path of DICOM of other kinds, None for other files."""
    with alias_of(path, aliases / alias_name(number)) as alias:
        if not alias.stat().st_size and path.suffix.lower() in _SUFFIXES:
            raise InputError(f"{alias}: the file is empty; fetch it again, or take it out of the folder")
        if not is_dicom_file(alias):
            return None
        item = read_slice(alias)
        modality, series_uid = text(item, "Modality"), text(item, "SeriesInstanceUID")
        if not modality and attribute(item, "DirectoryRecordSequence") is None:
            raise InputError(f"{alias}: has no Modality; it is damaged or cut short: fetch it again")
        if modality in _STRUCTURES:
            return _structure_file(item, number)
        if modality in SCANS and series_uid and attribute(item, "Rows") is not None:
            frame_uid = text(item, "FrameOfReferenceUID")
            return _SliceFile(number=number, series_uid=series_uid, frame_uid=frame_uid, modality=modality)
        return path


def _scan(files: Sequence[_SliceFile]) -> ScanFiles:
    first = files[0]
    return ScanFiles(
        uid=first.series_uid,
        frame_uid=first.frame_uid,
        modality=first.modality,
        numbers=tuple(file.number for file in files),
    )


def _structure_file(item: Slice, number: int) -> StructureFile:
    with naming_faults(item.path):
        header = item.header
        frames = _items(header, "ReferencedFrameOfReferenceSequence")
        studies = [s for frame in frames for s in _items(frame, "RTReferencedStudySequence")]
        series = [s for study in studies for s in _items(study, "RTReferencedSeriesSequence")]
        series = [*series, *_items(header, "ReferencedSeriesSequence")]
        drawn = [*frames, header, *_items(header, "StructureSetROISequence")]
        frame_uids = [d.get(k) for d in drawn for k in _FRAME_KEYWORDS]
        patient = [text(item, keyword) for keyword in ("IssuerOfPatientID", "PatientID")]
        known = patient if any(patient) else [text(item, "StudyInstanceUID")]
        content = sha256_of(item.path)
        return StructureFile(
            number=number,
            kind=_STRUCTURES[text(item, "Modality")],
            code=code_of(text(item, "SOPInstanceUID") or content),
            content=content,
            patient=code_of("\n".join(known)),
            series_uids=_distinct(s.get("SeriesInstanceUID") for s in series),
            frame_uids=_distinct(frame_uids),
        )


def _items(dataset: Any, sequence: str) -> Sequence[Any]:
    return dataset.get(sequence) or ()


def _distinct(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))
