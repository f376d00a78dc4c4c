"""DICOM files found by content, and only plain files that lie in the folder given."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from thoar.core.errors import InputError

_log = logging.getLogger(__name__)

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
_PREAMBLE = 128
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""A zip archive begins with its first entry; one without entries, with its end."""
_SUFFIXES = (".dcm", ".dicom", ".ima")


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files in a folder and those below it, by content, in order of name.

    Links to folders are not followed, nor links to files outside; pipes, sockets and devices are passed by
    unopened. Other files are logged. There is a warning of links and of files named like slices.

    Raises:
        InputError: if a file or folder cannot be opened, or a file that seems to have been DICOM is none.
    """
    skipped: list[Path] = []
    for path in plain_files(folder, skipped):
        head = _head(path)
        if _is_dicom(head):
            yield path
        elif fault := _fault(path, head):
            raise InputError(f"{path}: {fault}; fetch it again, or take it out of the folder")
        else:
            skipped.append(path)
    links = [path for path in skipped if path.is_symlink()]
    if links:
        _log.warning(
            "%s: links that lead out of the folder or nowhere, not followed: %s", folder, _few(links)
        )
    files = [path for path in skipped if path not in links]
    for level, named in ((logging.WARNING, True), (logging.INFO, False)):
        if kind := [path for path in files if _named_like_a_slice(path) == named]:
            _log.log(level, "%s: no DICOM file, left out: %s", folder, _few(kind))


def holds_dicom(folder: Path) -> bool:
    """Say whether a folder, or one below it, holds a DICOM file, told by content."""
    return any(is_dicom_file(path) for path in plain_files(folder, []))


def is_dicom_file(path: Path) -> bool:
    """Say whether a plain file is DICOM, told by content.

    Raises:
        InputError: if it cannot be opened.
    """
    return path.is_file() and _is_dicom(_head(path))


def is_zip(path: Path) -> bool:
    """Say whether a plain file is a zip archive, told by content; DICOM with such a preamble is none.

    Raises:
        InputError: if it cannot be opened.
    """
    if not path.is_file():
        return False
    head = _head(path)
    return head.startswith(_ZIP) and not _is_dicom(head)


def plain_files(folder: Path, skipped: list[Path]) -> Iterator[Path]:
    """Yield the plain files of a folder and those below it, in order of name.

    Args:
        folder: where to look; links out of it are not followed.
        skipped: takes what else there is, but for links to folders inside.

    Raises:
        InputError: if a folder cannot be listed.
    """
    root = folder.resolve()
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        linked = [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        skipped += [path for path in linked if not path.resolve().is_relative_to(root)]
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and path.resolve().is_relative_to(root):
                yield path
            else:
                skipped.append(path)


def _named_like_a_slice(path: Path) -> bool:
    """Say whether a file bears a number and no ending, as exports of DICOM do: one may have been lost."""
    ending = path.suffix[1:]
    return path.name[0] != "." and any(map(str.isdigit, path.name)) and (not ending or ending.isdigit())


def _few(paths: Sequence[Path]) -> str:
    """Return the names of the first, and how many more there are."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""  # noqa: PLR2004 (names enough)
    return f"{', '.join(path.name for path in paths[:3])}{more}"


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _fault(path: Path, head: bytes) -> str | None:
    """Say what is wrong with a file that is no DICOM, though by its name it should be; None if it need not.

    DICOM files also bear names without an ending, or end in the last part of a UID; such a file must be
    empty, or as empty as a preamble is, to be taken for a slice that was lost.
    """
    suffix = path.suffix.lower()
    named = suffix in _SUFFIXES
    if path.name.startswith(".") or not (named or suffix == "" or suffix[1:].isdigit()):
        return None
    if not head:
        return "the file is empty"
    blank = len(head) < _PREAMBLE + 4 and not any(head[:_PREAMBLE])
    return "is named like DICOM but is none: it is damaged or cut short" if named or blank else None


def _is_dicom(head: bytes) -> bool:
    return head[_PREAMBLE:] == b"DICM" or _begins_with_an_element(head)


def _begins_with_an_element(head: bytes) -> bool:
    """Say whether a file without preamble begins with a short element of group 0002 or 0008."""
    if head[:2] not in _FIRST_GROUPS or len(head) < _PREAMBLE:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < _PREAMBLE


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
