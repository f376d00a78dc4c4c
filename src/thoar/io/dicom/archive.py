"""The files of a zip archive, unpacked within bounds into a folder that does not outlive its use.

Names in the archive are never used as paths: each file lies in a folder with its number, by what is plain of
its name, and messages get the whole name back.
"""

import io
import logging
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from thoar.core.errors import InputError, ResourceError, ThoarError, UnsupportedFormatError, foreseen
from thoar.io.streams import opened

_log = logging.getLogger(__name__)

MAXIMUM_ENTRIES = 20_000
MAXIMUM_BYTES = 8 << 30
"""All files unpacked."""
MAXIMUM_RATIO = 100
"""Of bytes unpacked to those of the archive, above ``SMALL_BYTES``; a CT shrinks to a half or a third."""
SMALL_BYTES = 256 << 20

_DIRECTORY_BYTES = 8 << 20
"""The archive's list of entries: 20,000 with names of 350 characters."""
_CHUNK_BYTES = 1 << 20
_NAME_LENGTH = 80
"""A UID and an ending, after the two signs that macOS puts before names of its own."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


@contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Unpack a zip archive and yield the folder with its files; the folder is removed on leaving.

    Where errors and log lines from within name a file in the folder, they name the archive and the entry.

    Raises:
        InputError: if the archive is damaged, a bomb, or has entries that are no plain files inside it.
        UnsupportedFormatError: if it is encrypted, or packed by another method than deflate.
        ResourceError: if the disk has no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="thoar-zip-") as name:
        folder = Path(name).resolve()
        names = _unpack(path, folder)
        with _naming_entries(path, folder, names):
            yield folder


def _unpack(path: Path, folder: Path) -> Mapping[str, tuple[str, str]]:
    """Write an archive's files into a folder; return their names there and in the archive by number."""
    try:
        with opened(path) as file, zipfile.ZipFile(cast("IO[bytes]", _ShortReads(file, path))) as archive:
            entries = {
                f"{number:06d}": info
                for number, info in enumerate(_checked(archive.infolist(), path))
                if not info.is_dir()
            }
            _check_room(entries.values(), path, folder)
            for number, info in entries.items():
                (folder / number).mkdir()
                _write(archive, info, path, folder / number / _plain_name(info))
    except _DAMAGE as error:
        raise InputError(f"{path}: the archive is damaged ({error}); fetch it again") from error
    return {number: (_plain_name(info), _shown(info)) for number, info in entries.items()}


class _ShortReads:
    """A file of which no read takes more than an archive's list of entries may."""

    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        self._file, self._path = file, path
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or to the end."""
        data = self._file.read(_DIRECTORY_BYTES + 1 if size < 0 else min(size, _DIRECTORY_BYTES + 1))
        if len(data) > _DIRECTORY_BYTES:
            raise InputError(
                f"{self._path}: the archive's list of entries takes more than {_DIRECTORY_BYTES >> 20} MiB; "
                "pack the series alone"
            )
        return data


def _checked(infos: Sequence[zipfile.ZipInfo], path: Path) -> Sequence[zipfile.ZipInfo]:
    """Return the entries if they are few enough and each is one that could lie in a folder."""
    if len(infos) > MAXIMUM_ENTRIES:
        raise InputError(
            f"{path}: the archive has {len(infos)} entries; at most {MAXIMUM_ENTRIES} are read: pack the "
            "series alone"
        )
    seen: set[str] = set()
    for info in infos:
        _check(info, path)
        if info.filename in seen:
            raise InputError(f"{path}: holds {_shown(info)} twice; pack the series again")
        seen.add(info.filename)
    return infos


def _check(info: zipfile.ZipInfo, path: Path) -> None:
    name = info.orig_filename.replace("\\", "/")
    outside = name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/") or "\0" in name
    kind = stat.S_IFMT(info.external_attr >> 16)
    if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        found = "leads out of it" if outside else "is a link or device"
        raise InputError(f"{path}: its entry {_shown(info)} {found}; such an archive is not unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise UnsupportedFormatError(f"{path}: its entry {_shown(info)} is encrypted; unpack it first")
    if info.compress_type not in _METHODS:
        raise UnsupportedFormatError(
            f"{path}: its entry {_shown(info)} is packed by method {info.compress_type}; pack it by deflate"
        )


def _check_room(infos: Collection[zipfile.ZipInfo], path: Path, folder: Path) -> None:
    needed = sum(info.file_size for info in infos)
    most = min(MAXIMUM_BYTES, max(SMALL_BYTES, MAXIMUM_RATIO * path.stat().st_size))
    if needed > most:
        raise InputError(
            f"{path}: would unpack to {needed >> 20} MiB, where {most >> 20} MiB are the most for an archive "
            f"of {path.stat().st_size} bytes; unpack it first, if it is no bomb"
        )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(f"{path}: needs {needed >> 20} MiB to unpack; {folder.parent} has {free >> 20}")


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, target: Path) -> None:
    _log.debug("%s: its entry %s", path, _shown(info))
    try:
        with archive.open(info) as source, target.open("xb") as out:
            shutil.copyfileobj(source, out, _CHUNK_BYTES)
    except OSError as error:
        raise foreseen(error, target.parent) or InputError(f"{path}: cannot be unpacked ({error})") from error
    if target.stat().st_size != info.file_size:
        raise InputError(f"{path}: its entry {_shown(info)} is not of the size declared; fetch it again")


def _plain_name(info: zipfile.ZipInfo) -> str:
    """Return an entry's own name in plain letters; of a long one, its first (a hidden file's dot) and end."""
    last = re.sub(r"[^A-Za-z0-9._-]", "_", re.split(r"[/\\]", info.filename)[-1])
    name = last[:1] + last[1:][1 - _NAME_LENGTH :]
    return name if name.strip(".") else "_"


def _shown(info: zipfile.ZipInfo) -> str:
    return "".join(c if c.isprintable() else "?" for c in info.filename)


@contextmanager
def _naming_entries(path: Path, folder: Path, names: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Put the archive and its entries in the place of the folder and its files in errors and log lines."""
    numbered = re.compile(re.escape(f"{folder}{os.sep}") + r"(\d{6})" + re.escape(os.sep) + r"([\w.-]+)")

    def entry(found: re.Match[str]) -> str:
        plain, shown = names[found[1]]
        return f"{path}/{shown}{found[2].removeprefix(plain)}"

    def named(text: str) -> str:
        return numbered.sub(entry, text).replace(str(folder), str(path))

    def rename(record: logging.LogRecord) -> bool:
        record.msg = named(str(record.msg))
        if isinstance(record.args, tuple):
            record.args = tuple(named(str(a)) if isinstance(a, str | Path) else a for a in record.args)
        return True

    handlers = [*logging.getLogger("thoar").handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(rename)
    try:
        yield
    except ThoarError as error:
        raise type(error)(named(str(error))) from error
    finally:
        for handler in handlers:
            handler.removeFilter(rename)
