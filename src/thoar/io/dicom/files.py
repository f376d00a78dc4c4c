"""DICOM files found by content, and their attributes read so that every fault names its file."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from thoar.core.errors import InputError

_log = logging.getLogger(__name__)

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_PREAMBLE = 128


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


def has_preamble(path: Path) -> bool:
    """Say whether a file begins as DICOM files on media do (PS3.10, 7.1)."""
    return _head(path)[_PREAMBLE:] == b"DICM"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
