"""Where the elements of an explicit little endian DICOM file lie, byte by byte (PS3.5, 7.1 and 7.5)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
UNDEFINED = 0xFFFFFFFF
PREAMBLE = 132
_HEAD = 8
"""Bytes of an element's tag, VR and length, at least; of an item's tag and length."""
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element's place in its file.

    Attributes:
        tag: group and element in one number.
        vr: two letters; empty for items and their ends.
        start: first byte of the tag.
        value_at: first byte of the value.
        length: of the value as the file states it; ``UNDEFINED`` where it does not.
    """

    tag: int
    vr: bytes
    start: int
    value_at: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after the value; for undefined lengths, the first of the value."""
        return self.value_at + (0 if self.length == UNDEFINED else self.length)

    @property
    def length_at(self) -> tuple[int, int]:
        """Where the length field lies, and how many bytes it has."""
        size = 4 if not self.vr or self.vr in LONG else 2
        return self.value_at - size, size


def elements_of(data: bytes) -> tuple[Element, ...]:
    """Return the elements, those inside sequences too, in the file's order; none where it is no such file."""
    try:
        if data[PREAMBLE - 4 : PREAMBLE] != b"DICM":
            return ()
        found = tuple(_walk(data, PREAMBLE))
    except (struct.error, ValueError):
        return ()
    return found if found and found[-1].end <= len(data) else ()


def _walk(data: bytes, at: int) -> Iterator[Element]:
    """Yield one element after the other; sequences and items are entered, not skipped."""
    while at < len(data):
        element = _element(data, at)
        yield element
        entered = (
            element.length == UNDEFINED
            or element.vr == b"SQ"
            or (not element.vr and _holds_elements(data, element))
        )
        at = element.value_at if entered else element.end


def _element(data: bytes, at: int) -> Element:
    group, number = struct.unpack_from("<HH", data, at)
    tag = group << 16 | number
    if group == ITEM >> 16:
        return Element(
            tag=tag, vr=b"", start=at, value_at=at + 8, length=struct.unpack_from("<I", data, at + 4)[0]
        )
    vr = data[at + 4 : at + 6]
    if not (vr.isalpha() and vr.isupper()):
        raise ValueError("not explicit little endian")
    if vr in LONG:
        return Element(
            tag=tag, vr=vr, start=at, value_at=at + 12, length=struct.unpack_from("<I", data, at + 8)[0]
        )
    return Element(
        tag=tag, vr=vr, start=at, value_at=at + 8, length=struct.unpack_from("<H", data, at + 6)[0]
    )


def _holds_elements(data: bytes, item: Element) -> bool:
    """Say whether a defined-length item is one of a sequence; else it is a fragment of pixels."""
    head = data[item.value_at + 4 : item.value_at + 6]
    return item.tag == ITEM and item.length >= _HEAD and head.isalpha() and head.isupper()
