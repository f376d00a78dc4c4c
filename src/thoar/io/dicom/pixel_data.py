"""One slice's pixels as its file stores them (PS3.5 section 8 and annex A)."""

import io
import logging
import re
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Integer
from pydicom.encaps import get_frame
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, numbers
from thoar.io.dicom.bounded import BoundedFile
from thoar.io.dicom.decoders import PixelLayout, decoded
from thoar.io.dicom.parse import MAXIMUM_FRAME_PIXELS, content_of

_log = logging.getLogger(__name__)

_PIXEL_DATA = 0x7FE00010
_FLOATS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_LONG_VALUES = (b"OB", b"OW", b"OF", b"OD", b"OV", b"UN")
_UNDEFINED = 0xFFFFFFFF
_PLAIN_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_PHOTOMETRIC = (None, *(str(term) for term in PhotometricInterpretation))
"""What may be shown of the attribute; the text of a damaged file may be anyone's."""
_UID = re.compile(r"[0-2](\.\d+){3,}")
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def stored_pixels(item: Slice) -> Integer[np.ndarray, "y x"]:
    """Return a slice's stored values, their unused bits masked; of a file of many frames, one is read.

    Raises:
        UnsupportedFormatError: if they are no whole numbers, one a pixel, or have no decoder here.
        InputError: if they are damaged or cut short, or contradict the attributes.
    """
    _log.debug("%s: its pixels", item.name)
    if item.pixels_at is None:
        raise _without_pixels(item)
    syntax = syntax_of(item)
    with naming_faults(item.path), content_of(item.path) as content:
        length = _seek_value(content, item, big_endian=syntax == ExplicitVRBigEndian)
        layout = _layout_of(item)
        _check_syntax(item, syntax, encapsulated=length is None)
        if length is None:
            data = _compressed(content, item, layout)
            return decoded(data, layout, syntax=syntax, name=item.name)
        _check_length(content, item, layout, length=length)
        return _plain(content, item, layout, syntax=syntax)


def _check_syntax(item: Slice, syntax: UID, *, encapsulated: bool) -> None:
    if encapsulated == (syntax in _PLAIN_SYNTAXES):
        raise InputError(
            f"{item.path}: PixelData is {'' if encapsulated else 'not '}encapsulated, which its "
            f"TransferSyntaxUID {syntax.name} contradicts; export the series again"
        )


def syntax_of(item: Slice) -> UID:
    """Return a file's transfer syntax; without meta information it shows in how the file is encoded.

    Raises:
        UnsupportedFormatError: if it is no UID; what else stands there may be personal and is not shown.
    """
    with naming_faults(item.path):
        meta = item.header.file_meta
        if "TransferSyntaxUID" in meta:
            if not _UID.fullmatch(str(meta.TransferSyntaxUID)):
                raise UnsupportedFormatError(
                    f"{item.path}: its TransferSyntaxUID is unreadable; export the series again"
                )
            return UID(meta.TransferSyntaxUID)
        implicit, little = item.header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        return ImplicitVRLittleEndian if implicit else explicit


def _layout_of(item: Slice) -> PixelLayout:
    photometric, samples = (attribute(item, k) for k in ("PhotometricInterpretation", "SamplesPerPixel"))
    if samples not in (1, None) or photometric != "MONOCHROME2":
        found = str(photometric) if photometric in _PHOTOMETRIC else "unreadable"
        raise UnsupportedFormatError(
            f"{item.name}: its PhotometricInterpretation is {found}; CT slices are MONOCHROME2, and no "
            "other has HU that are sure: export the original series"
        )
    keywords = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
    rows, columns, allocated, stored, signed = (int(numbers(item, k, 1)[0]) for k in keywords)
    high = attribute(item, "HighBit")
    if allocated not in (8, 16, 32) or not 1 < stored <= allocated or high not in (None, stored - 1):
        raise UnsupportedFormatError(
            f"{item.name}: its pixels have BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}; "
            "8, 16 or 32 bits, those stored the lowest of them, are read: export the series again"
        )
    if signed not in (0, 1) or min(rows, columns) < 1 or rows * columns > MAXIMUM_FRAME_PIXELS:
        raise InputError(
            f"{item.name}: declares {rows} × {columns} pixels (Rows, Columns) of PixelRepresentation "
            f"{signed}; at most {MAXIMUM_FRAME_PIXELS} pixels a slice are read"
        )
    return PixelLayout(
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        pixel_representation=signed,
    )


def _seek_value(content: io.BufferedIOBase, item: Slice, *, big_endian: bool) -> int | None:
    """Go to the value of PixelData; return its length, or None where it is encapsulated.

    Raises:
        UnsupportedFormatError: if the file has no PixelData.
    """
    order = "big" if big_endian else "little"
    content.seek(cast("int", item.pixels_at))
    head = content.read(8)
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag != _PIXEL_DATA:
        raise _without_pixels(item, f" but {_FLOATS[tag]}" if tag in _FLOATS else "")
    field = content.read(4) if head[4:6] in _LONG_VALUES else head[4:]
    length = int.from_bytes(field, order)
    return None if length == _UNDEFINED else length


def _without_pixels(item: Slice, found: str = "") -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{item.path}: has no PixelData{found}; it is cut short or no CT image: fetch it again"
    )


def _frames(item: Slice) -> int:
    return 1 if item.frame is None else int(numbers(item, "NumberOfFrames", 1)[0])


def _check_length(content: io.BufferedIOBase, item: Slice, layout: PixelLayout, *, length: int) -> None:
    start = content.tell()
    held = min(length, content.seek(0, 2) - start)
    content.seek(start)
    needed = _frames(item) * layout.frame_bytes
    if held < needed:
        raise InputError(
            f"{item.path}: PixelData holds {held} bytes where Rows × Columns × BitsAllocated × "
            f"NumberOfFrames need {needed}: it is cut short; fetch it again"
        )
    surplus = length - needed
    if surplus >= layout.frame_bytes:
        raise InputError(
            f"{item.path}: PixelData is {surplus} bytes longer than Rows × Columns × BitsAllocated × "
            "NumberOfFrames need, a frame or more: one of them is wrong; export the series again"
        )
    if surplus > needed % 2 and not item.frame:
        _log.warning("%s: PixelData is %d bytes longer than its pixels", item.path, surplus)


def _plain(
    content: io.BufferedIOBase, item: Slice, layout: PixelLayout, *, syntax: UID
) -> Integer[np.ndarray, "y x"]:
    options = {**layout.options(frames=_frames(item)), "pixel_vr": "OW"}
    stored = get_decoder(syntax).as_array(
        cast("BinaryIO", content), index=item.frame or 0, raw=True, **options
    )[0]
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _compressed(content: io.BufferedIOBase, item: Slice, layout: PixelLayout) -> bytes:
    """Return one frame's compressed bytes, its fragments joined."""
    if not item.frame:
        _check_fragments(content, item)
    file = BoundedFile(content, item.path, maximum_bytes=2 * layout.frame_bytes + (64 << 20))
    tables = [item.header.get(k) for k in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    return get_frame(
        cast("BinaryIO", file),
        item.frame or 0,
        number_of_frames=_frames(item),
        extended_offsets=(tables[0], tables[1]) if all(tables) else None,
    )


def _check_fragments(content: io.BufferedIOBase, item: Slice) -> None:
    """Refuse a file that ends before its last fragment does."""
    start = content.tell()
    size = content.seek(0, 2)
    content.seek(start)
    while (head := content.read(8))[:4] == _ITEM:
        content.seek(int.from_bytes(head[4:8], "little"), 1)
    if content.tell() > size or (head and head[:4] != _END):
        raise InputError(f"{item.path}: PixelData is cut short or damaged; fetch it again")
    if not head:
        _log.warning("%s: PixelData has no end mark", item.path)
    content.seek(start)
