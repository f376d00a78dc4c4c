"""Segments of a DICOM-SEG put together from what each frame shows of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from thoar.core.box import Box
from thoar.core.errors import InputError, LabelError
from thoar.io.structures.seg_object import Segment, SegmentationObject
from thoar.io.structures.seg_places import Place, faults_of
from thoar.io.structures.structure_mask import StructureMask

_MOST_VOXELS = 2**29  # of all masks together, each within its box


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """What one frame shows of one segment, cut to its box, one bit a pixel; no box where it shows nothing."""

    frame: int
    box_zyx: Box | None
    bits: UInt8[np.ndarray, "byte"]


def shown_in(
    segmentation: SegmentationObject, index: int, stored: Integer[np.ndarray, "y x"]
) -> Iterator[tuple[int, Bool[np.ndarray, "y x"]]]:
    """Yield the number of each segment in a frame, and which pixels are of it.

    Raises:
        LabelError: if a pixel of a LABELMAP is of no segment.
    """
    number = segmentation.frames[index].segment
    if number is not None:
        yield number, stored >= -(-segmentation.largest_value // 2)
        return
    for value in _labels(segmentation, index, stored):
        yield value, stored == value


def _labels(segmentation: SegmentationObject, index: int, stored: Integer[np.ndarray, "y x"]) -> list[int]:
    """Return the segment numbers that occur in a frame of a LABELMAP."""
    known = np.array([0, *(segment.number for segment in segmentation.segments)])
    strange = max(int(stored.max()), -int(stored.min()))
    if strange <= known.max():
        occurs = np.zeros(int(known.max()) + 1, bool)
        for row in stored:  # whole frames would be indexed by eight bytes a pixel
            occurs[row] = True
        values = np.flatnonzero(occurs)
        if np.isin(values, known).all():
            return values[values > 0].tolist()
        strange = int(values[~np.isin(values, known)][0])
    raise LabelError(
        f"{segmentation.item.path} frame {index + 1}: has pixels of value {strange}, which is no "
        "SegmentNumber of the file's; export it again"
    )


def piece_of(frame: int, mask: Bool[np.ndarray, "y x"], place: Place) -> Piece:
    """Return what a frame shows, on the slice that it lies on."""
    box = Box.of_mask(mask[None]) if place.fits else None
    if box is None:
        return Piece(frame=frame, box_zyx=None, bits=np.empty(0, np.uint8))
    bits = np.packbits(mask[None][box.slices])
    return Piece(frame=frame, box_zyx=box.shifted((place.index, 0, 0)), bits=bits)


def box_of(pieces: Sequence[Piece]) -> Box | None:
    """Return the smallest box around all pieces, or None where none shows anything."""
    boxes = [piece.box_zyx for piece in pieces if piece.box_zyx is not None]
    return reduce(Box.union, boxes) if boxes else None


def check_size(segmentation: SegmentationObject, voxels: int) -> None:
    """Refuse masks of so many voxels that a crafted file could fill the memory with them.

    Raises:
        InputError: naming the file.
    """
    if voxels > _MOST_VOXELS:
        raise InputError(
            f"{segmentation.item.path}: its masks take more than {_MOST_VOXELS} voxels; split it"
        )


def joined(
    segment: Segment, box_zyx: Box | None, pieces: Sequence[Piece], places: Sequence[Place]
) -> StructureMask:
    """Return a segment's pieces as one mask, and what is odd about their frames."""
    mask = None
    if box_zyx is not None:
        mask = np.zeros(box_zyx.shape_zyx, bool)
        for piece in pieces:
            _add(mask, piece, box_zyx)
    return StructureMask(
        name=segment.label,
        number=segment.number,
        box_zyx=box_zyx,
        mask=mask,
        faults=tuple(faults_of([piece.frame for piece in pieces], places)),
    )


def _add(mask: Bool[np.ndarray, "z y x"], piece: Piece, box_zyx: Box) -> None:
    if piece.box_zyx is not None:
        bits = np.unpackbits(piece.bits, count=piece.box_zyx.voxels).astype(bool)
        inside = piece.box_zyx.shifted([-corner for corner in box_zyx.start_zyx])
        mask[inside.slices] |= bits.reshape(inside.shape_zyx)
