"""Slices that a series holds twice: copies are dropped, contradictions refused."""

import filecmp
import logging
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Int16

from thoar.core.errors import IncompleteSeriesError, InputError
from thoar.io.dicom.attributes import Slice, text
from thoar.io.dicom.kinds import first_of
from thoar.io.dicom.planes import Plane
from thoar.io.dicom.several import refuse_several

_log = logging.getLogger(__name__)

SAME_PLACE_MM = 0.05
"""No scanner's slices follow so closely; positions are written with fewer digits than they were taken."""

_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")

HuSlice = Int16[np.ndarray, "y x"] | Float32[np.ndarray, "y x"]
Decode = Callable[[Slice], HuSlice]


def without_copies(slices: Sequence[Slice], decode: Decode) -> list[Slice]:
    """Drop slices whose SOPInstanceUID (and frame) came before.

    Raises:
        IncompleteSeriesError: if slices of one SOPInstanceUID differ in pixels or place.
    """
    kept: dict[tuple[str, int | None], Slice] = {}
    copies: list[Slice] = []
    for number, item in enumerate(slices):
        uid = text(item, "SOPInstanceUID") or f"the slice without, number {number}"
        first = kept.setdefault((uid, item.frame), item)
        if first is item:
            continue
        if not _same_file_or_slice(first, item, decode):
            raise IncompleteSeriesError(
                f"{item.name}: has the SOPInstanceUID of {first.short_name} but other pixels or another "
                "place; take out the one that does not belong, or export the series again"
            )
        copies.append(item)
    _report(copies, "copies of other files (SOPInstanceUID)")
    return list(kept.values())


def without_doubles(planes: Sequence[Plane], decode: Decode) -> list[Plane]:
    """Drop slices that repeat the one before them, place and pixels.

    Raises:
        IncompleteSeriesError: if two slices in one place differ: several volumes in one series.
    """
    kept: list[Plane] = []
    doubles: list[Slice] = []
    for plane in planes:
        if not kept or _apart_mm(kept[-1], plane) > SAME_PLACE_MM:
            kept.append(plane)
        elif _same_place(kept[-1], plane) and np.array_equal(decode(kept[-1].item), decode(plane.item)):
            doubles.append(plane.item)
        else:
            refuse_several(planes, at=(kept[-1], plane), same_place_mm=SAME_PLACE_MM)
    _report(doubles, "slices that repeat others, place and pixels")
    return kept


def _same_file_or_slice(one: Slice, other: Slice, decode: Decode) -> bool:
    try:
        if one.frame == other.frame and filecmp.cmp(one.path, other.path, shallow=False):
            return True
    except OSError as error:
        raise InputError(f"{other.path}: cannot be read ({error.strerror})") from error
    alike = all(text(one, keyword) == text(other, keyword) for keyword in _PLACE)
    return alike and np.array_equal(decode(one), decode(other))


def _same_place(one: Plane, other: Plane) -> bool:
    return float(np.linalg.norm(other.origin_xyz_mm - one.origin_xyz_mm)) <= SAME_PLACE_MM


def _apart_mm(one: Plane, other: Plane) -> float:
    return abs(float((other.origin_xyz_mm - one.origin_xyz_mm) @ one.normal_xyz))


def _report(items: Sequence[Slice], what: str) -> None:
    if items:
        _log.warning("%s: %s, left out", first_of(items), what)
