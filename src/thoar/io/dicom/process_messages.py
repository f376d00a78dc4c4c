"""What a reader process and its parent say to each other: length, then MessagePack."""

import io

import msgspec
import numpy as np

from thoar.core.errors import InputError
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.records import ReadOptions, SliceReference

MAXIMUM_MESSAGE_BYTES = 80 << 20
"""A slice of ``parse.MAXIMUM_FRAME_PIXELS`` as float32, and room for what goes with it."""

_LENGTH_BYTES = 8

Vector = tuple[float, float, float]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to read."""

    path: bytes
    options: ReadOptions


class Opened(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """The series is in order; so many slices follow."""

    origins_xyz_mm: tuple[Vector, ...]
    along_row_xyz: Vector
    along_column_xyz: Vector
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]
    references: tuple[SliceReference, ...]
    identity: bytes

    def planes(self) -> SlicePlanes:
        """Return where the slices lie."""
        return SlicePlanes(
            origins_xyz_mm=np.array(self.origins_xyz_mm, dtype=np.float64).reshape(-1, 3),
            along_row_xyz=np.array(self.along_row_xyz),
            along_column_xyz=np.array(self.along_column_xyz),
            spacing_yx_mm=self.spacing_yx_mm,
            shape_yx=self.shape_yx,
        )


class Voxels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """The next slice: little-endian int16, or float32."""

    whole: bool
    data: bytes


class Remark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """A line for the log; those of level DEBUG say which file is being read."""

    logger: str
    level: int
    text: bytes


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """The series was refused: class in ``core.errors``, and message."""

    kind: str
    text: bytes


class Done(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """All slices were sent."""


Message = Opened | Voxels | Remark | Fault | Done

_MESSAGES = msgspec.msgpack.Decoder(Message)
_REQUEST = msgspec.msgpack.Decoder(Request)


def to_bytes(text: str) -> bytes:
    """Return text for the wire; it may hold parts of file names that are no text (``os.fsdecode``)."""
    return text.encode(errors="surrogatepass")


def to_text(data: bytes) -> str:
    r"""Return the text that :func:`to_bytes` was given.

    >>> to_text(to_bytes("CT\udcff.dcm")) == "CT\udcff.dcm"
    True
    """
    return data.decode(errors="surrogatepass")


def send(stream: io.BufferedIOBase, message: Request | Message) -> None:
    """Write one message."""
    data = msgspec.msgpack.encode(message)
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: io.BufferedIOBase) -> Message | None:
    """Read the next message of a reader process; None where the stream ends.

    Raises:
        InputError: if what comes is no message, or cut short.
    """
    data = _take(stream)
    try:
        return None if data is None else _MESSAGES.decode(data)
    except msgspec.DecodeError as error:
        raise InputError(f"the reader process sent what is no message ({error})") from error


def receive_request(stream: io.BufferedIOBase) -> Request:
    """Read what to do."""
    return _REQUEST.decode(_take(stream) or b"")


def _take(stream: io.BufferedIOBase) -> bytes | None:
    head = stream.read(_LENGTH_BYTES)
    if not head:
        return None
    length = int.from_bytes(head, "little")
    if len(head) < _LENGTH_BYTES or length > MAXIMUM_MESSAGE_BYTES:
        raise InputError(f"the reader process announced a message of {length} bytes")
    data = stream.read(length)
    if len(data) < length:
        raise InputError("the reader process was cut short")
    return data
