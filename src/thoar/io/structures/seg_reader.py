"""DICOM-SEG files of any kind, read within bounds (PS3.3 A.51)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float
from pydicom.uid import UID, SegmentationStorage

from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, naming_faults, numbers, text
from thoar.io.dicom.parse import MAXIMUM_FRAME_PIXELS, read_slice
from thoar.io.dicom.records import Series
from thoar.io.dicom.values import shown
from thoar.io.structures.seg_object import Kind, Segment, SegmentationObject, SegmentFrame
from thoar.io.structures.seg_pieces import Piece, box_of, check_size, joined, piece_of, shown_in
from thoar.io.structures.seg_pixels import stored_frames
from thoar.io.structures.seg_places import places_of, refuse_other_space
from thoar.io.structures.structure_mask import StructureMask

_LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # pydicom 3.0 does not know its name
_KINDS: Mapping[str, Kind] = {"BINARY": "BINARY", "FRACTIONAL": "FRACTIONAL", "LABELMAP": "LABELMAP"}
_BACKGROUND = 0  # the pixels of a LABELMAP that are of no segment
_MOST_FRAMES = 1 << 16
_GEOMETRY = {"ImageOrientationPatient": 6, "PixelSpacing": 2}
_SAME_GEOMETRY = 1e-4


def read_segmentation(path: Path) -> SegmentationObject:
    """Read what a BINARY, FRACTIONAL or LABELMAP segmentation says, pixels left in the file.

    Raises:
        UnsupportedFormatError: if the file is no segmentation of these kinds.
        InputError: if it is damaged, or contradicts itself.
        GeometryError: if it does not say where its frames lie, or they differ in direction or spacing.
    """
    item = read_slice(path)
    with naming_faults(path):
        kind = _kind_of(item)
        if kind == "LABELMAP":
            item.header.PhotometricInterpretation = "MONOCHROME2"  # a palette only colours the numbers
        shape_yx, count = _checked_sizes(item)
        items = [
            Slice(path=path, header=item.header, frame=k, pixels_at=item.pixels_at) for k in range(count)
        ]
        segments = tuple(
            _segment(ds) for ds in item.header.SegmentSequence if ds.SegmentNumber != _BACKGROUND
        )
        direction, spacing = _geometry(items)
        frames = tuple(_frame(frame, numbered=kind != "LABELMAP") for frame in items)
        _check_numbers(item, segments, frames)
        return SegmentationObject(
            item=item,
            kind=kind,
            segments=segments,
            frames=frames,
            largest_value=_largest_value(item, kind),
            along_row_xyz=direction[:3],
            along_column_xyz=direction[3:],
            spacing_yx_mm=(float(spacing[0]), float(spacing[1])),
            shape_yx=shape_yx,
            frame_of_reference_uid=text(item, "FrameOfReferenceUID"),
        )


def segment_masks(segmentation: SegmentationObject, series: Series | None) -> tuple[StructureMask, ...]:
    """Return every segment as a mask; of FRACTIONAL ones, where the fraction is at least 0.5.

    Frames are put on the slices that they lie on, whatever images they name. One that lies on no slice is
    left out; that, and naming another slice's image, are faults of the segment.

    Args:
        segmentation: what ``read_segmentation`` returned.
        series: whose slices the masks are for; None for the object's own (``segmentation.planes()``).

    Raises:
        InputError: if the frame of reference is not the series', pixels are damaged, or masks are too large.
        GeometryError: if the pixel grid is not the series', or no frame lies on its slices.
        LabelError: if a pixel of a LABELMAP is of no segment.
        UnsupportedFormatError: if there is no decoder for the pixels.
    """
    planes = segmentation.planes() if series is None else series.stack.planes
    if series is not None:
        refuse_other_space(segmentation, series)
    places = places_of(segmentation, planes, series)
    pieces: dict[int, list[Piece]] = {segment.number: [] for segment in segmentation.segments}
    size = 0
    for k, stored in enumerate(stored_frames(segmentation)):
        for number, mask in shown_in(segmentation, k, stored):
            pieces[number].append(piece_of(k, mask, places[k]))
            size += 8 * pieces[number][-1].bits.size
            check_size(segmentation, size)
    boxes = {number: box_of(found) for number, found in pieces.items()}
    check_size(segmentation, sum(box.voxels for box in boxes.values() if box))
    return tuple(
        joined(segment, boxes[segment.number], pieces[segment.number], places)
        for segment in segmentation.segments
    )


def _kind_of(item: Slice) -> Kind:
    sop_class, kind = text(item, "SOPClassUID"), text(item, "SegmentationType")
    if sop_class not in (SegmentationStorage, _LABEL_MAP_STORAGE):
        raise UnsupportedFormatError(
            f"{item.path}: is no DICOM-SEG: its SOPClassUID is {shown(sop_class, 'SOPClassUID')}"
        )
    if kind not in _KINDS:
        raise UnsupportedFormatError(
            f"{item.path}: its SegmentationType is {shown(kind)}; {', '.join(_KINDS)} are read"
        )
    return _KINDS[kind]


def _checked_sizes(item: Slice) -> tuple[tuple[int, int], int]:
    """Return rows and columns, and the number of frames."""
    keywords = ("Rows", "Columns", "NumberOfFrames")
    rows, columns, frames = (int(numbers(item, keyword, 1)[0]) for keyword in keywords)
    groups = len(item.header.get("PerFrameFunctionalGroupsSequence") or ())
    if min(rows, columns) < 1 or rows * columns > MAXIMUM_FRAME_PIXELS or not 1 <= frames <= _MOST_FRAMES:
        raise InputError(
            f"{item.path}: declares {frames} frames of {rows} × {columns} pixels (NumberOfFrames, Rows, "
            f"Columns); at most {_MOST_FRAMES} of {MAXIMUM_FRAME_PIXELS} pixels are read"
        )
    if groups != frames:
        raise InputError(
            f"{item.path}: NumberOfFrames is {frames}, but PerFrameFunctionalGroupsSequence has "
            f"{groups} items; it is damaged, or tiled without positions: export it again"
        )
    return (rows, columns), frames


def _largest_value(item: Slice, kind: Kind) -> int:
    if kind != "FRACTIONAL":
        return 1
    value = int(numbers(item, "MaximumFractionalValue", 1)[0])
    if value < 1:
        raise InputError(f"{item.path}: its MaximumFractionalValue is {value}; export it again")
    return value


def _segment(ds: pydicom.Dataset) -> Segment:
    kind = ds.get("SegmentedPropertyTypeCodeSequence") or [pydicom.Dataset()]
    side = kind[0].get("SegmentedPropertyTypeModifierCodeSequence") or [pydicom.Dataset()]
    return Segment(
        number=int(ds.SegmentNumber),
        label=str(ds.get("SegmentLabel", "")),
        kind=str(kind[0].get("CodeValue", "")),
        side=str(side[0].get("CodeValue", "")),
    )


def _geometry(items: Sequence[Slice]) -> list[Float[np.ndarray, "number"]]:
    """Return ImageOrientationPatient and PixelSpacing, which all frames must share."""
    found: list[np.ndarray] = []
    for keyword, count in _GEOMETRY.items():
        values = np.array([numbers(item, keyword, count, kind=GeometryError) for item in items])
        off = np.abs(values - values[0]).max(axis=1)
        if off.max() > _SAME_GEOMETRY:
            raise GeometryError(
                f"{items[int(off.argmax())].name}: its {keyword} differs from that of frame 1; write one "
                "segmentation per orientation"
            )
        found.append(values[0])
    return found


def _frame(item: Slice, *, numbered: bool) -> SegmentFrame:
    return SegmentFrame(
        segment=int(numbers(item, "ReferencedSegmentNumber", 1)[0]) if numbered else None,
        origin_xyz_mm=np.array(numbers(item, "ImagePositionPatient", 3, kind=GeometryError)),
        source=_source(item),
    )


def _source(item: Slice) -> tuple[str, int | None] | None:
    derivation = item.header.PerFrameFunctionalGroupsSequence[item.frame].get("DerivationImageSequence") or ()
    images = [image for ds in derivation for image in ds.get("SourceImageSequence") or ()]
    if len(images) != 1:
        return None
    frame = images[0].get("ReferencedFrameNumber")
    return str(images[0].ReferencedSOPInstanceUID), None if frame is None else int(frame)


def _check_numbers(item: Slice, segments: Sequence[Segment], frames: Sequence[SegmentFrame]) -> None:
    known = [segment.number for segment in segments]
    if len(set(known)) < len(known):
        raise InputError(f"{item.path}: two segments have one SegmentNumber (of {known}); export it again")
    for k, frame in enumerate(frames, start=1):
        if frame.segment is not None and frame.segment not in known:
            raise InputError(
                f"{item.path} frame {k}: its ReferencedSegmentNumber {frame.segment} is no segment of the "
                f"file's ({known}); export it again"
            )
