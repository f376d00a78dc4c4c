"""A file whose parser believes what the file says, kept within bounds."""

import io
import zlib
from pathlib import Path
from typing import NoReturn

from thoar.core.errors import InputError

MAXIMUM_HEADER_BYTES = 16 << 20
"""Attributes before the pixels; those of an Enhanced CT take some kilobytes a frame."""
MAXIMUM_READS = 500_000
"""An element takes two or three reads; a thousand frames of an Enhanced CT took 130,000."""
MAXIMUM_INFLATED_BYTES = 64 << 20
"""Attributes and pixels of a file that is deflated as a whole; a slice of 512 × 512 takes half a megabyte."""

_CHUNK_BYTES = 1 << 16
"""Parsers look ahead by less than this; a longer read past the end is a length that lies."""


class BoundedFile:
    """A file that can neither be read past its end nor more than so much in all.

    Args:
        file: what is read, from where it stands.
        path: what errors name.
        maximum_bytes: of all reads together.
        maximum_reads: how many there may be.

    Attributes:
        fault: what it raised, which parsers may have turned into something else.
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        path: Path,
        *,
        maximum_bytes: int = MAXIMUM_HEADER_BYTES,
        maximum_reads: int = MAXIMUM_READS,
    ) -> None:
        self._path = path
        self._reads_left, self._bytes_left = maximum_reads, maximum_bytes
        self._bounds = f"{maximum_bytes >> 20} MiB or {maximum_reads // 3} elements"
        self.fault: InputError | None = None
        self.turn_to(file)

    def turn_to(self, file: io.BufferedIOBase) -> None:
        """Read another file from now on, from where it stands, by what is left of the same bounds."""
        start, self._file = file.tell(), file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(start)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position, which may lie past the end."""
        return self._file.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, fewer at the end of the file.

        Raises:
            InputError: if the size is far past the end, open, or too much in all.
        """
        left = max(0, self._size - self._file.tell())
        if size > max(left, _CHUNK_BYTES):
            self._refuse(
                f"is cut short, or a length in it is wrong: an element claims {size} bytes where {left} are "
                "left; fetch it again"
            )
        self._reads_left -= 1
        self._bytes_left -= min(size, left)
        if size < 0 or self._reads_left < 0 or self._bytes_left < 0:
            self._refuse(
                f"holds more than {self._bounds}, which no file of its kind does; it is damaged, or "
                "something else"
            )
        return self._file.read(size)

    def _refuse(self, why: str) -> NoReturn:
        self.fault = InputError(f"{self._path}: {why}")
        raise self.fault


def inflated(file: io.BufferedIOBase, path: Path) -> bytes:
    """Return what a bare deflate stream from the file's position on holds (PS3.5 A.5).

    Raises:
        InputError: if it holds more than ``MAXIMUM_INFLATED_BYTES``, or is damaged or cut short.
    """
    decompressor, found = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not decompressor.eof:
        chunk = decompressor.unconsumed_tail or file.read(_CHUNK_BYTES)
        try:
            piece = decompressor.decompress(chunk, _CHUNK_BYTES)
        except zlib.error as error:
            raise InputError(f"{path}: its deflated data are damaged ({error}); fetch it again") from error
        if not chunk and not piece:
            raise InputError(f"{path}: its deflated data are cut short; fetch it again")
        found += piece
        if len(found) > MAXIMUM_INFLATED_BYTES:
            raise InputError(
                f"{path}: is deflated as a whole (TransferSyntaxUID) and inflates to more than "
                f"{MAXIMUM_INFLATED_BYTES >> 20} MiB; store it uncompressed, if it is no bomb"
            )
    return bytes(found)
