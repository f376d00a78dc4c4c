"""DICOM files found by content, and their attributes read so that every fault names its file."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from thoar.core.errors import InputError, ThoarError, UnsupportedFormatError

_log = logging.getLogger(__name__)

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_PREAMBLE = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """One image file of a series.

    Attributes:
        path: the file.
        header: its attributes, without the pixels.
    """

    path: Path
    header: pydicom.Dataset


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files in a folder and those below it, by content, in order of name.

    Links to folders are not followed, nor links to files outside. How many other files there are is logged.

    Raises:
        InputError: if a file cannot be opened, or is empty and named like a DICOM file.
    """
    skipped: list[str] = []
    for path in _plain_files(folder, skipped):
        if _is_dicom(path):
            yield path
        else:
            skipped.append(path.name)
    if skipped:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""  # noqa: PLR2004 (names enough)
        _log.info("%s: no DICOM file, left out: %s%s", folder, ", ".join(skipped[:3]), more)


def holds_dicom(folder: Path) -> bool:
    """Say whether a folder, or one below it, holds a DICOM file, told by content."""
    return any(_is_dicom(path) for path in _plain_files(folder, []))


def _plain_files(folder: Path, skipped: list[str]) -> Iterator[Path]:
    """Yield the files of a folder and those below it; the names of what is no plain file of it are noted."""
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and path.resolve().is_relative_to(root):
                yield path
            else:
                skipped.append(name)


def read_slice(path: Path) -> Slice:
    """Read a file's attributes, without its pixels.

    Raises:
        InputError: if it is damaged.
        UnsupportedFormatError: if the whole file is deflated, which cannot be read within a bound.
    """
    with naming_faults(path):
        if _has_preamble(path):
            syntax = read_file_meta_info(path).get("TransferSyntaxUID")
            if syntax == DeflatedExplicitVRLittleEndian:
                raise UnsupportedFormatError(f"{path}: is in {syntax.name}; store it uncompressed")
        return Slice(path=path, header=pydicom.dcmread(path, stop_before_pixels=True, force=True))


def numbers(
    item: Slice, keyword: str, count: int, *, kind: type[InputError] = InputError
) -> tuple[float, ...]:
    """Return an attribute of so many finite numbers.

    Raises:
        InputError: of the given kind, if it is absent or anything else.
    """
    value = attribute(item, keyword)
    if value is None or value == "":
        raise kind(f"{item.path}: {keyword} is missing; export the series again")
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        found = tuple(float(str(v)) for v in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(abs(v) < float("inf") for v in found):
        raise kind(f"{item.path}: {keyword} is {value}, not {count} numbers; export the series again")
    return found


def attribute(item: Slice, keyword: str) -> object:
    """Return an attribute's value, or None where the file has none."""
    with naming_faults(item.path):
        return item.header.get(keyword)


@contextmanager
def naming_faults(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and its decoders let out into an InputError that names the file.

    Values are not held against the letter of the standard, and no warning of theirs is passed on: they
    quote attributes, which may be personal; only their number is logged.
    """
    with disable_value_validation(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ThoarError:
            raise
        except Exception as error:
            raise InputError(
                f"{path}: cannot be read as DICOM ({type(error).__name__}); it is damaged or cut short: "
                "fetch it again"
            ) from error
    if caught:
        _log.info("%s: pydicom had %d remarks", path, len(caught))


def _is_dicom(path: Path) -> bool:
    head = _head(path)
    if not head and path.suffix.lower() in (".dcm", ".ima"):
        raise InputError(f"{path}: the file is empty; fetch it again")
    return head[_PREAMBLE:] == b"DICM" or _begins_with_an_element(head)


def _begins_with_an_element(head: bytes) -> bool:
    """Say whether a file without preamble begins with a short element of group 0002 or 0008."""
    if head[:2] not in _FIRST_GROUPS or len(head) < _PREAMBLE:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < _PREAMBLE


def _has_preamble(path: Path) -> bool:
    return _head(path)[_PREAMBLE:] == b"DICM"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
