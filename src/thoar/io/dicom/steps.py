"""How a series' slices follow one another: evenly, with gaps, unevenly, tilted or shifted sideways."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thoar.core.errors import GeometryError, IncompleteSeriesError
from thoar.core.geometry import ORTHOGONALITY_TOLERANCE
from thoar.core.slices import POSITION_TOLERANCE_MM, SlicePlanes, depth_tolerance_mm
from thoar.io.dicom.planes import Plane
from thoar.io.dicom.records import ReadOptions

_log = logging.getLogger(__name__)

_GAP = 1.5
"""A step so many times as long as those around it leaves slices out."""
_RUN = 3
"""So many equal steps in a row are how the series was taken, no gap."""
_EQUAL = 0.1
"""Steps are equal within this share of their length."""

Steps = Float[np.ndarray, "step"]


def check_steps(planes: Sequence[Plane], placed: SlicePlanes, *, path: Path, options: ReadOptions) -> None:
    """Accept slices that make a regular grid, or what the options allow of others, with a warning.

    Args:
        planes: sorted, no two in one place.
        placed: the same.
        path: the series' folder or file, for messages about all of it.
        options: whether gaps may be filled, and tilted or uneven slices be resampled.

    Raises:
        IncompleteSeriesError: if slices are missing or lie at uneven distances.
        GeometryError: if they are tilted against their normal, or shifted sideways otherwise.
    """
    if placed.regular_geometry() is not None:
        return
    _refuse_shifts(planes, placed)
    missing = missing_slices(placed.distances_mm)
    tilted = np.sin(np.radians(placed.tilt_degrees())) > ORTHOGONALITY_TOLERANCE
    _check_gaps(planes, placed, missing=missing, options=options)
    if _uneven(placed, missing) or not (tilted or missing.any()):
        _allow(IncompleteSeriesError(_unevenness(planes, placed, missing=missing)), options)
    if tilted:
        _allow(
            GeometryError(
                f"{path}: ImagePositionPatient runs {placed.tilt_degrees():.1f}° off the slices' normal "
                f"(gantry tilt, from {planes[0].item.short_name} to {planes[-1].item.short_name}): the "
                "slices make no regular grid"
            ),
            options,
        )


def missing_slices(distances_mm: Steps) -> Int[np.ndarray, "step"]:
    """Return how many slices are missing in each step from a slice to the next.

    A step is compared with the nearest runs of equal steps before and after it, the longer of the two; so a
    lasting change of spacing is no gap.

    >>> missing_slices(np.array([3.0, 3.0, 3.0, 9.0, 3.0, 3.0])).tolist()
    [0, 0, 0, 2, 0, 0]
    >>> missing_slices(np.array([6.0, 6.0, 6.0, 3.0, 3.0, 3.0])).tolist()
    [0, 0, 0, 0, 0, 0]
    """
    usual = _usual_around(distances_mm)
    whole = np.maximum(np.rint(distances_mm / usual), 2)
    return np.where(distances_mm > _GAP * usual, whole - 1, 0).astype(np.int64)


def _usual_around(distances_mm: Steps) -> Steps:
    """Return the length of step that each step would have if no slice were missing."""
    lasting = np.full(len(distances_mm), np.nan)
    for start, stop in _runs(distances_mm):
        if stop - start >= _RUN:
            lasting[start:stop] = distances_mm[start:stop]
    known = np.flatnonzero(~np.isnan(lasting))
    if not len(known):
        return np.full(len(distances_mm), np.sort(distances_mm)[(len(distances_mm) - 1) // 2])
    steps = np.arange(len(distances_mm))
    after = np.searchsorted(known, steps).clip(max=len(known) - 1)
    before = (np.searchsorted(known, steps, side="right") - 1).clip(min=0)
    return np.maximum(lasting[known[before]], lasting[known[after]])


def _runs(distances_mm: Steps) -> list[tuple[int, int]]:
    """Return where steps that equal the one before begin and end."""
    changed = np.abs(np.diff(distances_mm)) > _EQUAL * np.minimum(distances_mm[1:], distances_mm[:-1])
    number = np.concatenate([[0], np.cumsum(changed)])
    runs = [list(group) for _, group in groupby(range(len(distances_mm)), key=lambda k: number[k])]
    return [(run[0], run[-1] + 1) for run in runs]


def _refuse_shifts(planes: Sequence[Plane], placed: SlicePlanes) -> None:
    """Refuse slices that lie sideways of one straight line, whatever its tilt."""
    share = (placed.depths_mm / placed.depths_mm[-1])[:, None]
    off = np.linalg.norm(placed.shifts_yx_mm - share * placed.shifts_yx_mm[-1], axis=1)
    if off.max() <= POSITION_TOLERANCE_MM:
        return
    slopes = np.diff(placed.shifts_yx_mm, axis=0) / placed.distances_mm[:, None]
    jumps = np.linalg.norm(slopes - np.median(slopes, axis=0), axis=1) * placed.distances_mm
    k = int(jumps.argmax())
    raise GeometryError(
        f"{planes[k + 1].item.name}: by ImagePositionPatient it lies {jumps[k]:.2f} mm sideways of where "
        f"{planes[k].item.short_name} and the other slices lead; slices shifted against one another are no "
        "volume: export the series again"
    )


def _check_gaps(
    planes: Sequence[Plane], placed: SlicePlanes, *, missing: Int[np.ndarray, "step"], options: ReadOptions
) -> None:
    for k in np.flatnonzero(missing):
        found = (
            f"{_between(planes, placed, int(k))} where the slices around them lie "
            f"{placed.distances_mm[k] / (missing[k] + 1):.3f} mm apart: {_slices(int(missing[k]))} missing"
        )
        if missing[k] > options.fill_gaps:
            raise IncompleteSeriesError(
                f"{found}; export the whole series again, or let them be interpolated (--fill-gaps "
                f"{int(missing.max())})"
            )
        _log.warning("%s, to be interpolated", found)


def _uneven(placed: SlicePlanes, missing: Int[np.ndarray, "step"]) -> bool:
    counted = np.concatenate([[0], np.cumsum(missing + 1)])
    step_mm = float(placed.depths_mm[-1] / counted[-1])
    off = np.abs(placed.depths_mm - counted * step_mm)
    return bool(off.max() > depth_tolerance_mm(step_mm))


def _unevenness(planes: Sequence[Plane], placed: SlicePlanes, *, missing: Int[np.ndarray, "step"]) -> str:
    steps = placed.distances_mm / (missing + 1)
    usual_mm = float(np.sort(steps)[(len(steps) - 1) // 2])
    return (
        f"{_between(planes, placed, int(np.abs(steps - usual_mm).argmax()))} where most lie {usual_mm:.3f} "
        "mm apart (ImagePositionPatient): slices at uneven distances make no regular grid"
    )


def _between(planes: Sequence[Plane], placed: SlicePlanes, k: int) -> str:
    below, above = (float(plane.origin_xyz_mm @ placed.normal_xyz) for plane in planes[k : k + 2])
    return (
        f"{planes[k].item.name} and {planes[k + 1].item.short_name} lie {placed.distances_mm[k]:.3f} mm "
        f"apart (at {below:.3f} and {above:.3f} mm)"
    )


def _slices(count: int) -> str:
    return "1 slice is" if count == 1 else f"{count} slices are"


def _allow(error: GeometryError | IncompleteSeriesError, options: ReadOptions) -> None:
    """Take what the options allow, with a warning."""
    if not options.rectify:
        kind = type(error)
        raise kind(f"{error}; export the series again, or let it be resampled by true geometry (--rectify)")
    _log.warning("%s; to be resampled by their true geometry", error)
