"""The pixels of a DICOM-SEG, one frame at a time."""

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer, UInt8

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, naming_faults, numbers
from thoar.io.dicom.parse import content_of
from thoar.io.dicom.pixel_data import stored_pixels, syntax_of
from thoar.io.structures.seg_object import SegmentationObject

_LONG_VALUES = (b"OB", b"OW", b"UN")


def stored_frames(segmentation: SegmentationObject) -> Iterator[Integer[np.ndarray, "y x"]]:
    """Yield every frame's stored values, in the file's order.

    Raises:
        UnsupportedFormatError: if there is no decoder for them.
        InputError: if they are damaged or cut short.
    """
    item = segmentation.item
    if int(numbers(item, "BitsAllocated", 1)[0]) == 1:
        yield from _single_bits(segmentation)
        return
    for k in range(len(segmentation.frames)):
        yield stored_pixels(Slice(path=item.path, header=item.header, frame=k, pixels_at=item.pixels_at))


def _single_bits(segmentation: SegmentationObject) -> Iterator[UInt8[np.ndarray, "y x"]]:
    """Yield frames of one bit a pixel, the first in a byte's lowest bit, without gaps (PS3.5, 8.1.1)."""
    item, shape_yx = segmentation.item, segmentation.shape_yx
    pixels = shape_yx[0] * shape_yx[1]
    with naming_faults(item.path), content_of(item.path) as content:
        start = _start_of_value(content, item, needed=-(-len(segmentation.frames) * pixels // 8))
        for k in range(len(segmentation.frames)):
            first, before = divmod(k * pixels, 8)
            content.seek(start + first)
            packed = content.read(-(-(before + pixels) // 8))
            bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
            yield bits[before : before + pixels].reshape(shape_yx)


def _start_of_value(content: io.BufferedIOBase, item: Slice, *, needed: int) -> int:
    """Return where the value of PixelData begins, once it is sure to hold so many bytes."""
    syntax = syntax_of(item)
    if syntax.is_compressed or not syntax.is_little_endian:
        raise UnsupportedFormatError(
            f"{item.path}: single bits in {syntax.name} are not read; store it uncompressed, little endian"
        )
    content.seek(item.pixels_at or 0)
    head = content.read(12)
    if item.pixels_at is None or head[:4] != b"\xe0\x7f\x10\x00":
        raise InputError(f"{item.path}: has no PixelData; it is cut short: fetch it again")
    long = head[4:6] in _LONG_VALUES
    length = int.from_bytes(head[8:] if long else head[4:8], "little")
    start = item.pixels_at + (12 if long else 8)
    held = min(length, content.seek(0, io.SEEK_END) - start)
    if held < needed:
        raise InputError(
            f"{item.path}: PixelData holds {held} bytes where its frames need {needed}: it is cut short; "
            "fetch it again"
        )
    return start
