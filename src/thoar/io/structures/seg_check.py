"""A DICOM-SEG read back and compared with the masks it was to hold, by code the writer has no part in.

What must hold:

- patient, study, frame of reference and pixel grid are the series', the grid within ``OFF_MM`` at its end;
- there is one segment of each organ, of its name, and of the left or right if the organ is;
- each frame lies on a slice of the series, within ``OFF_MM`` in the patient, and names that slice's image;
- each slice that an organ touches, be it by a probability of half a step, has one frame, whose pixels are the
  organ's, one by one: so volume, centroid and side are the mask's. Probabilities may differ by half the step
  that they are stored in.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from thoar.core.errors import InputError, ResourceError
from thoar.io.dicom.attributes import naming_faults
from thoar.io.dicom.records import Series
from thoar.io.structures.codes import structure_code
from thoar.io.structures.organ_mask import OrganMask
from thoar.io.structures.seg_object import SegmentationObject, SegmentFrame
from thoar.io.structures.seg_pixels import stored_frames
from thoar.io.structures.seg_places import grid_off_mm
from thoar.io.structures.seg_reader import read_segmentation
from thoar.io.structures.source_check import differing

OFF_MM = 0.01
_HALF_A_STEP = 0.501  # of rounding; the rest is for probabilities of 32 bits


class _Wrong(InputError):  # noqa: N818 (never leaves this file)
    """What is wrong with the file."""


def check_segmentation(
    path: Path,
    series: Series,
    organs: Sequence[OrganMask],
    *,
    fractional: bool,
    called: Path | None = None,
) -> None:
    """Read a DICOM-SEG and compare it with organs.

    Args:
        path: the file.
        series: what the organs were drawn on.
        organs: what must be in it, in this order, none of them empty.
        fractional: whether it must hold probabilities.
        called: what messages call the file.

    Raises:
        ResourceError: if it cannot be read or differs, saying how.
    """
    try:
        found = read_segmentation(path)
        with naming_faults(path):
            _check_space(found, series)
        _check_segments(found, organs, kind="FRACTIONAL" if fractional else "BINARY")
        _check_frames(found, series, organs)
    except InputError as error:
        raise ResourceError(
            f"{called or path}: what was written is not what was meant ({error}); it was removed: check disk "
            "and memory, and report it if it happens again"
        ) from error


def _check_space(found: SegmentationObject, series: Series) -> None:
    different = differing(found.item.header, series)
    if different:
        raise _Wrong(f"its {different[0]} is not the series'")
    planes = series.stack.planes
    if found.shape_yx != planes.shape_yx or grid_off_mm(found, planes) > OFF_MM:
        raise _Wrong("its pixel grid is not the series'")


def _check_segments(found: SegmentationObject, organs: Sequence[OrganMask], *, kind: str) -> None:
    if found.kind != kind or len(found.segments) != len(organs):
        raise _Wrong(f"it is {found.kind} of {len(found.segments)} segments, not {kind} of {len(organs)}")
    for k, (segment, mask) in enumerate(zip(found.segments, organs, strict=True), start=1):
        side = structure_code(mask.organ).side
        wanted = (k, (mask.organ.tg263 or mask.organ.name).strip(), side.value if side else "")
        if (segment.number, segment.label, segment.side) != wanted:
            raise _Wrong(f"segment {k} is not {mask.organ.name}, or of another side")


def _check_frames(found: SegmentationObject, series: Series, organs: Sequence[OrganMask]) -> None:
    seen = [set[int]() for _ in organs]
    for frame, stored in zip(found.frames, stored_frames(found), strict=True):
        k = (frame.segment or 0) - 1
        name = organs[k].organ.name
        index = _slice_of(frame, series, name=name)
        if index in seen[k]:
            raise _Wrong(f"{name} has two frames on slice {index + 1}")
        seen[k].add(index)
        _check_pixels(stored, organs[k], index, largest_value=found.largest_value)
    for organ, done in zip(organs, seen, strict=True):
        missing = _touched(organ, found.largest_value) - done
        if missing:
            raise _Wrong(f"{organ.organ.name} has no frame on slice {min(missing) + 1}")


def _touched(organ: OrganMask, largest_value: int) -> set[int]:
    first = organ.box_zyx.start_zyx[0]
    least = 0.5 if largest_value == 1 else _HALF_A_STEP / largest_value
    return {first + int(k) for k in np.flatnonzero((organ.probability >= least).any(axis=(1, 2)))}


def _slice_of(frame: SegmentFrame, series: Series, *, name: str) -> int:
    """Return the slice that a frame lies on, told by millimetres alone."""
    off_mm = np.linalg.norm(series.stack.planes.origins_xyz_mm - frame.origin_xyz_mm, axis=1)
    index = int(off_mm.argmin())
    if off_mm[index] > OFF_MM:
        raise _Wrong(f"a frame of {name} lies {off_mm[index]:.3f} mm off the nearest slice")
    reference = series.references[index]
    if frame.source != (reference.sop_instance_uid, reference.frame):
        raise _Wrong(f"a frame of {name} does not name the image of slice {index + 1}, on which it lies")
    return index


def _check_pixels(
    stored: Integer[np.ndarray, "y x"], organ: OrganMask, index: int, *, largest_value: int
) -> None:
    """Compare a frame with the organ's slice; outside the organ's box all must be 0."""
    place, box = index - organ.box_zyx.start_zyx[0], organ.box_zyx.slices[1:]
    inside = stored[box]
    if not 0 <= place < len(organ.probability) or np.count_nonzero(stored) != np.count_nonzero(inside):
        raise _Wrong(f"{organ.organ.name} reaches beyond its box on slice {index + 1}")
    probability = organ.probability[place]
    same = (2 * inside.astype(np.int64) >= largest_value) == (probability >= 0.5)  # noqa: PLR2004 (what a mask is)
    if largest_value > 1:
        same &= np.abs(inside / largest_value - probability) <= _HALF_A_STEP / largest_value
    if not same.all():
        raise _Wrong(f"{organ.organ.name} differs in {np.count_nonzero(~same)} pixels on slice {index + 1}")
