"""Reading bytes a stranger wrote: bounded, checked to the last byte, each error naming its file."""

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thoar.core.errors import InputError

_log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
SLACK_BYTES = 1 << 20
"""So many bytes past the voxels are put up with (and logged); more is taken for an attack or a mix-up."""


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading, and turn every error met while it is read into an InputError.

    Raises:
        InputError: if it is no plain file, cannot be opened, is empty, or is damaged.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; fetch it again")
        with path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed data are damaged or cut short ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def unzipped(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """Return the stream inside a gzip file, or the file itself where it is none (told by content).

    Reading to the end checks the CRC of every member.
    """
    start = file.tell()
    magic = file.read(2)
    file.seek(start)
    return gzip.GzipFile(fileobj=file, mode="rb") if magic == b"\x1f\x8b" else file


def inflated(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """Return the stream inside a bare zlib stream (MetaImage's); its end checks the Adler-32 sum."""
    return io.BufferedReader(_Inflated(file), CHUNK_BYTES)


def take(stream: io.BufferedIOBase, count: int, *, path: Path) -> bytearray:
    """Read exactly so many bytes; memory grows only with bytes that are really there.

    Raises:
        InputError: if the stream ends before.
    """
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(CHUNK_BYTES, count - len(data)))
        if not chunk:
            raise InputError(f"{path}: cut short: {len(data)} of {count} bytes are there; fetch it again")
        data += chunk
    return data


def finish(stream: io.BufferedIOBase, path: Path) -> None:
    """Read a stream to its end, which checks its sum.

    Raises:
        InputError: if much more follows than the header declared.
    """
    extra = 0
    while chunk := stream.read(CHUNK_BYTES):
        extra += len(chunk)
        if extra > SLACK_BYTES:
            raise InputError(f"{path}: holds far more data than its header declares; it is not what it says")
    if extra:
        _log.warning("%s: %d bytes after the voxels are ignored", path, extra)


class _Inflated(io.RawIOBase):
    """A zlib stream as a readable file that never holds more than one chunk."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._decoder = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = b""
        while not data and not self._decoder.eof:
            packed = self._decoder.unconsumed_tail or self._file.read(CHUNK_BYTES)
            if not packed:
                raise EOFError("the stream ends before its end mark")
            data = self._decoder.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)
