"""Slices that make no regular grid, resampled onto one by their true places; probabilities back onto them.

The grid keeps the slices' own row and column directions and pixel spacing; its third axis is their normal.
So each slice is laid onto the grid's rows and columns by a shift of its own, and only between neighbours is
there interpolation along the normal.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.core.volume import Volume
from thoar.imaging.boxed import padded_by_one
from thoar.imaging.resample import covered_box, resample_linear

AIR_HU = -1000.0
MAXIMUM_VOXELS = 2**30
"""Larger grids are refused before memory is taken."""

_RARE = 0.1
"""The smallest usual distance between slices: no more than this part of all is smaller."""
_SAME = 1.5
"""Distances up to so many times the smallest usual one are the same but for jitter."""
_EXACT = 1e-6
"""Of a pixel or a step: places nearer to one another are one."""


def rectify(stack: SliceStack, *, outside: float = AIR_HU) -> Volume:
    """Resample slices onto a regular grid by their true places, linearly.

    Args:
        stack: parallel slices, shifted against one another (gantry tilt), unevenly spaced, or with gaps.
        outside: fills what no slice covers.

    Returns:
        A volume of the slices' own dtype (integers are rounded), directions and pixel spacing; its planes
        run from the first slice to the last in even steps of about the smallest usual distance. It is widened
        by whole pixels until every slice lies inside.

    Raises:
        GeometryError: if there is one slice only, or the grid would be too large.
    """
    grid = rectified_grid(stack.planes)
    planes = stack.planes

    @lru_cache(maxsize=2)
    def laid(k: int) -> Float32[np.ndarray, "y x"]:
        source = _plane(planes, k)
        return resample_linear(stack.voxels[k : k + 1], source, _beside(grid, source), outside=outside)[0]

    voxels = np.empty(grid.shape_zyx, dtype=stack.voxels.dtype)
    for k, depth in enumerate(_depths(grid, planes)):
        below, part = int(depth), float(depth % 1)
        plane = laid(below) if part == 0 else (1 - part) * laid(below) + part * laid(below + 1)
        voxels[k] = np.rint(plane) if voxels.dtype.kind in "iu" else plane
    return Volume(voxels=voxels, geometry=grid)


def rectified_grid(planes: SlicePlanes) -> Geometry:
    """Return the grid that :func:`rectify` resamples such slices onto.

    Raises:
        GeometryError: if there is one slice only, or the grid would be too large.
    """
    if len(planes) < 2:  # noqa: PLR2004 (one slice has no step)
        raise GeometryError("one slice alone makes no grid")
    steps = max(1, round(float(planes.depths_mm[-1]) / usual_distance_mm(planes)))
    shifts = planes.shifts_yx_mm / planes.spacing_yx_mm
    first = np.ceil(shifts.min(axis=0) - 0.5 - _EXACT).astype(int)  # pixel centres within a slice's area
    last = np.floor(shifts.max(axis=0) + planes.shape_yx - 0.5 + _EXACT).astype(int)
    rows, columns = (int(n) for n in last - first + 1)
    if (steps + 1) * rows * columns > MAXIMUM_VOXELS:
        raise GeometryError(
            f"a regular grid for these slices would have {steps + 1} × {rows} × {columns} voxels, more than "
            f"{MAXIMUM_VOXELS}; are their positions (ImagePositionPatient) right?"
        )
    whole = _plane(planes, 0).cropped(
        Box(start_zyx=(0, int(first[0]), int(first[1])), stop_zyx=(1, int(last[0]) + 1, int(last[1]) + 1))
    )
    matrix = whole.lps_from_index.copy()
    matrix[:3, 0] *= planes.depths_mm[-1] / steps
    return Geometry(shape_zyx=(steps + 1, rows, columns), lps_from_index=matrix)


def onto_slices(
    probability: Float[np.ndarray, "z y x"], box_zyx: Box, *, grid: Geometry, planes: SlicePlanes
) -> tuple[Box, Float32[np.ndarray, "slice row column"]] | None:
    """Take an organ's probability back from the rectified grid onto the slices, linearly.

    Args:
        probability: fills the box; 0 outside.
        box_zyx: on the grid.
        grid: of :func:`rectify`'s volume.
        planes: the slices that it was made of.

    Returns:
        A box in slices, rows and columns, and the probability in it; None where it meets no slice.
    """
    source = grid.cropped(box_zyx.expanded((1, 1, 1), (1, 1, 1)))
    padded = padded_by_one(probability, box_zyx, grid=grid)
    met = {k: box for k in range(len(planes)) if (box := covered_box(source, _plane(planes, k)))}
    if not met:
        return None
    window = next(iter(met.values()))
    for box in met.values():
        window = window.union(box)
    parts = [
        resample_linear(padded, source, _plane(planes, k).cropped(window), outside=0.0)
        for k in range(min(met), max(met) + 1)
    ]
    start, stop = window.start_zyx, window.stop_zyx
    whole = Box(start_zyx=(min(met), *start[1:]), stop_zyx=(max(met) + 1, *stop[1:]))
    return whole, np.concatenate(parts)


def usual_distance_mm(planes: SlicePlanes) -> float:
    """Return the smallest usual distance between neighbours: 3 where slices lie 6, then 3 mm apart."""
    distances = planes.distances_mm
    smallest = float(np.quantile(distances, _RARE, method="nearest"))
    return float(np.median(distances[distances <= _SAME * smallest]))


def _plane(planes: SlicePlanes, k: int) -> Geometry:
    """Return one slice as a grid of one plane, a millimetre thick."""
    matrix = np.eye(4)
    matrix[:3, 0] = planes.normal_xyz
    matrix[:3, 1] = planes.along_column_xyz * planes.spacing_yx_mm[0]
    matrix[:3, 2] = planes.along_row_xyz * planes.spacing_yx_mm[1]
    matrix[:3, 3] = planes.origins_xyz_mm[k]
    return Geometry(shape_zyx=(1, *planes.shape_yx), lps_from_index=matrix)


def _beside(grid: Geometry, plane: Geometry) -> Geometry:
    """Return the grid's rows and columns at a parallel plane's own depth."""
    matrix = grid.lps_from_index.copy()
    normal = plane.lps_from_index[:3, 0]
    matrix[:3, 3] += ((plane.lps_from_index[:3, 3] - matrix[:3, 3]) @ normal) * normal
    return Geometry(shape_zyx=(1, *grid.shape_zyx[1:]), lps_from_index=matrix)


def _depths(grid: Geometry, planes: SlicePlanes) -> Float[np.ndarray, "plane"]:
    """Return where the grid's planes lie among the slices: 2.5 is midway between the third and the next."""
    at_mm = np.linspace(0, float(planes.depths_mm[-1]), grid.shape_zyx[0])
    places = np.interp(at_mm, planes.depths_mm, np.arange(len(planes)))
    whole = np.rint(places)
    return np.where(np.abs(places - whole) < _EXACT, whole, places)
