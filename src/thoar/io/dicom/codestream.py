"""What a compressed image says of itself: checked against the attributes before a decoder sees it."""

from dataclasses import dataclass

_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG = b"\xff\xd8"
_END = b"\xff\xd9"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start of frame, of JPEG (ITU-T T.81, table B.1) and of JPEG-LS (T.87)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """Size, components and bits of a compressed image, and whether its end is there."""

    rows: int
    columns: int
    components: int
    bits: int
    ended: bool


def codestream_of(data: bytes) -> Codestream | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 stream declares; None where it is none of them.

    >>> codestream_of(b"not an image") is None
    True
    """
    ended = _END in data[-16:]
    if data.startswith(_JPEG_2000):
        right, bottom, left, top = (int.from_bytes(data[at : at + 4]) for at in (8, 12, 16, 20))
        components, bits = int.from_bytes(data[40:42]), (data[42] & 0x7F) + 1
        return Codestream(
            rows=bottom - top, columns=right - left, components=components, bits=bits, ended=ended
        )
    return _jpeg(data, ended=ended) if data.startswith(_JPEG) else None


def _jpeg(data: bytes, *, ended: bool) -> Codestream | None:
    at = len(_JPEG)
    while at + 10 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 (what every marker begins with)
        if data[at + 1] in _FRAME_MARKERS:
            rows, columns = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            return Codestream(
                rows=rows, columns=columns, components=data[at + 9], bits=data[at + 4], ended=ended
            )
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
