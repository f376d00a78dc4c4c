"""Files parsed within bounds: whatever a file claims, memory and time stay small and errors name it."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
)

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, numbers
from thoar.io.dicom.bounded import MAXIMUM_HEADER_BYTES, MAXIMUM_READS, BoundedFile, inflated
from thoar.io.dicom.sequences import open_sequences
from thoar.io.grids import MAXIMUM_VOXELS
from thoar.io.streams import opened

_log = logging.getLogger(__name__)

MAXIMUM_FRAME_PIXELS = 2**24
"""Rows × Columns of one frame; 4096 × 4096."""
SCANS = ("CT", "MR", "PT", "NM")
"""Modalities whose frames are slices."""

_MAXIMUM_ITEMS = 100_000
"""Items of sequences that are parsed only when they are asked for, as those of defined length are."""
_OF_IMAGES = (MAXIMUM_HEADER_BYTES, MAXIMUM_HEADER_BYTES, MAXIMUM_READS)
"""Bytes of one element, a larger one is left in the file; bytes read in all; reads."""
_OF_STRUCTURES = (64 << 20, 256 << 20, 1_200_000)
"""The same for contours and the places of a segmentation's frames; each level of sequences is read again.

65,000 contours of twenty points fit; as many reads of nothing but tiny items take less than 512 MB.
"""
_STRUCTURES = tuple(uid.encode() for uid in (RTStructureSetStorage, SegmentationStorage))
_UNDEFINED = 0xFFFFFFFF
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_PREAMBLE = bytes(128) + b"DICM"
_META_BYTES = 4096
"""Transfer syntax and SOP class stand within the first so many bytes."""


def read_header(path: Path) -> pydicom.Dataset:
    """Read a file's attributes up to its pixels; private ones are left out.

    Raises:
        InputError: if it is damaged, or larger than any image's attributes.
    """
    return read_slice(path).header


def slices_of(path: Path) -> tuple[Slice, ...]:
    """Return a file's slices: one, or each frame of a multi-frame image (PS3.3 A.38, C.7.6.16).

    A file of another modality than ``SCANS`` is one slice, whatever it says of frames.

    Raises:
        InputError: if the file is damaged, or its numbers of rows, columns and frames are impossible or
            contradict its functional groups.
        UnsupportedFormatError: if it has several frames and does not say where each lies.
    """
    whole = read_slice(path)
    with naming_faults(path):
        image = whole.header.get("Modality") in SCANS and "Rows" in whole.header
    frames = _number_of_frames(whole) if image else None
    if frames is None:
        return (whole,)
    return tuple(
        Slice(path=path, header=whole.header, frame=k, pixels_at=whole.pixels_at) for k in range(frames)
    )


def read_slice(path: Path) -> Slice:
    """Read a file as one slice, whatever number of frames it has.

    Raises:
        InputError: if it is damaged, or larger than any image's attributes.
    """
    _log.debug("%s: its attributes", path)
    with content_of(path) as content, naming_faults(path):
        header = _parsed(content, path)
        pixels_at = content.tell()
        check_whole(header, content, path)
        _check_items(header, path)
        header.buffer = None  # an inflated file's bytes would live as long as the header
        for tag in list(header.keys()):
            if tag.is_private:
                del header[tag]
        return Slice(path=path, header=header, pixels_at=pixels_at if content.read(1) else None)


def _parsed(content: io.BufferedIOBase, path: Path) -> pydicom.FileDataset:
    structures = _holds_structures(content)
    one_bytes, all_bytes, reads = _OF_STRUCTURES if structures else _OF_IMAGES
    file = BoundedFile(content, path, maximum_bytes=all_bytes, maximum_reads=reads)
    try:
        header = pydicom.dcmread(
            cast("BinaryIO", file), stop_before_pixels=True, force=True, defer_size=one_bytes
        )
        if structures:
            open_sequences(header, file)
    except Exception:
        if file.fault is not None:
            raise file.fault from None
        raise
    return header


def _holds_structures(content: io.BufferedIOBase) -> bool:
    """Say by a file's first bytes whether it is a structure set or a segmentation."""
    start = content.tell()
    head = content.read(_META_BYTES)
    content.seek(start)
    return any(uid in head for uid in _STRUCTURES)


def check_whole(header: pydicom.FileDataset, content: io.BufferedIOBase, path: Path) -> None:
    """Refuse a file that ends within an element; pydicom takes what is there of it for all.

    Args:
        header: what was read of the file, its values not yet decoded.
        content: the file; where it stands does not change.
        path: what errors name.

    Raises:
        InputError: if an element claims more bytes than the file has left.
    """
    position = content.tell()
    size = content.seek(0, io.SEEK_END)
    content.seek(position)
    for element in (*header.file_meta.values(), *header.values()):
        if (
            isinstance(element, RawDataElement)
            and element.length != _UNDEFINED
            and element.value_tell + element.length > size
        ):
            name = keyword_for_tag(element.tag) or element.tag
            raise InputError(f"{path}: is cut short, it ends within {name}; fetch it again")


def _check_items(header: pydicom.FileDataset, path: Path) -> None:
    values = [element.value for element in header.values() if isinstance(element.value, bytes)]
    if sum(value.count(tag) for value in values for tag in _ITEM_TAGS) > _MAXIMUM_ITEMS:
        raise InputError(
            f"{path}: its sequences have more than {_MAXIMUM_ITEMS} items, which no image or "
            "structure set of its kind has; it is damaged, or something else"
        )


@contextmanager
def content_of(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file; one that is deflated as a whole is inflated in memory.

    Raises:
        InputError: if it cannot be read, or inflates beyond the bound.
    """
    with opened(path) as file:
        head = file.read(_META_BYTES)
        file.seek(0)
        deflated = DeflatedExplicitVRLittleEndian.encode() in head
        yield _plain(file, path) if deflated else file


def _plain(file: io.BufferedIOBase, path: Path) -> io.BytesIO:
    """Return a deflated file as the same file in explicit VR, little endian."""
    file.seek(len(_PREAMBLE) if file.read(len(_PREAMBLE)).endswith(b"DICM") else 0)
    plain = io.BytesIO()
    plain.write(_PREAMBLE)
    with naming_faults(path):
        elements = read_dataset(
            cast("BinaryIO", BoundedFile(file, path)),
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag.group != 2,  # noqa: PLR2004 (file meta information)
        )
        meta = FileMetaDataset(elements)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        write_file_meta_info(cast("Any", plain), meta, enforce_standard=False)
    plain.write(inflated(file, path))
    plain.seek(0)
    return plain


def _number_of_frames(whole: Slice) -> int | None:
    """Return how many frames an image has; None for a plain slice."""
    rows, columns = (int(numbers(whole, keyword, 1)[0]) for keyword in ("Rows", "Columns"))
    declared = attribute(whole, "NumberOfFrames")
    frames = 1 if declared in (None, "") else int(numbers(whole, "NumberOfFrames", 1)[0])
    if (
        min(rows, columns, frames) < 1
        or rows * columns > MAXIMUM_FRAME_PIXELS
        or (rows * columns * frames > MAXIMUM_VOXELS)
    ):
        raise InputError(
            f"{whole.path}: declares {rows} × {columns} pixels (Rows, Columns) in {frames} frames "
            f"(NumberOfFrames); at most {MAXIMUM_FRAME_PIXELS} pixels a frame and {MAXIMUM_VOXELS} in all "
            "are read: it is damaged, or to be cropped"
        )
    return _checked_groups(whole, frames)


def _checked_groups(whole: Slice, frames: int) -> int | None:
    with naming_faults(whole.path):
        groups = whole.header.get("PerFrameFunctionalGroupsSequence")
        count = None if groups is None else len(groups)
    if count is None and frames > 1:
        raise UnsupportedFormatError(
            f"{whole.path}: is a multi-frame image of {frames} frames without "
            "PerFrameFunctionalGroupsSequence, so where each lies is unknown; export single-frame CT"
        )
    if count is not None and count != frames:
        raise InputError(
            f"{whole.path}: NumberOfFrames is {frames} where PerFrameFunctionalGroupsSequence has {count} "
            "items; export the series again"
        )
    return count
