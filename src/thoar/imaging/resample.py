"""Linear interpolation between two grids whose axes are parallel.

Positions are compared in patient space, by the two grids' matrices; no rounded zoom factor is involved, so
there is no drift towards the far end (as ``ndimage.zoom`` and ``F.interpolate(size=...)`` have).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped, UInt

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry, Vector3

PARALLEL_TOLERANCE = 0.01
"""How many source voxels a target axis may stray sideways over its whole length and still be parallel."""

COVER_TOLERANCE = 0.01
"""Part of a target voxel by which a field of view may exceed a whole number of voxels unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _AxisMap:
    """Where the samples of one target axis lie: source coordinate = shift + scale · index."""

    source_axis: int
    scale: float
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    """Interpolation along one axis: ``(1 - fraction) · array[lower] + fraction · array[upper]``."""

    lower: Int[np.ndarray, "n"]
    upper: Int[np.ndarray, "n"]
    fraction: Float32[np.ndarray, "n"]
    outside: Bool[np.ndarray, "n"]


def grid_of_spacing(geometry: Geometry, spacing_zyx_mm: Vector3) -> Geometry:
    """Return the grid of another spacing that is centred on a grid's field of view and covers it.

    Each axis has the least number of voxels that reach both edges, so every voxel centre of either grid
    lies within the field of view of the other.

    >>> grid_of_spacing(Geometry.axial((10, 20, 30), (3.0, 1.0, 1.0)), (2.0, 2.0, 4.0)).shape_zyx
    (15, 10, 8)
    """
    ratio = np.array(spacing_zyx_mm) / np.array(geometry.spacing_zyx_mm)
    z, y, x = (
        max(1, math.ceil(n / r - COVER_TOLERANCE)) for n, r in zip(geometry.shape_zyx, ratio, strict=True)
    )
    old_from_new = np.diag([*ratio, 1.0])
    old_from_new[:3, 3] = (np.array(geometry.shape_zyx) - 1) / 2 - ratio * (np.array((z, y, x)) - 1) / 2
    return Geometry(shape_zyx=(z, y, x), lps_from_index=geometry.lps_from_index @ old_from_new)


def resample_linear(
    voxels: Shaped[np.ndarray, "z y x"],
    source: Geometry,
    target: Geometry,
    *,
    outside: float,
) -> Float32[np.ndarray, "tz ty tx"]:
    """Interpolate an array linearly at the voxel centres of another grid.

    The source's field of view ends at its voxels' outer edges: up to half a voxel beyond the outermost
    centres a sample takes the edge's value, farther out it is ``outside``.

    Args:
        voxels: on the source grid; numbers or booleans.
        source: the grid that is read.
        target: the grid that is filled; its axes may be permuted and flipped against the source's.
        outside: value beyond the source's field of view.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    maps = _axis_maps(source, target)
    array = voxels.transpose([m.source_axis for m in maps])
    samples = [_samples(m, n, size) for m, n, size in zip(maps, target.shape_zyx, array.shape, strict=True)]
    for axis in sorted(range(3), key=lambda a: target.shape_zyx[a] / array.shape[a]):
        array = _interpolated(array, axis, samples[axis])
    for axis, sample in enumerate(samples):
        if sample.outside.any():
            array[(slice(None),) * axis + (sample.outside,)] = outside
    return array


def resample_labels(
    labels: UInt[np.ndarray, "z y x"],
    source: Geometry,
    target: Geometry,
    *,
    ids: Iterable[int],
) -> UInt[np.ndarray, "tz ty tx"]:
    """Bring a label map to another grid: each label's indicator is interpolated and cut at one half.

    Only the labels of ``ids`` are kept. Where two labels meet at exactly one half, the later id wins.
    Each label is interpolated within its own box alone.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    result = np.zeros(target.shape_zyx, dtype=labels.dtype)
    for label in ids:
        mask = labels == label
        box = Box.of_mask(mask)
        near = box and box.expanded((1, 1, 1), (1, 1, 1)).intersection(Box.of_shape(mask.shape))
        covered = near and covered_box(source.cropped(near), target)
        if near is None or covered is None:
            continue
        share = resample_linear(mask[near.slices], source.cropped(near), target.cropped(covered), outside=0.0)
        result[covered.slices][share >= 0.5] = label  # noqa: PLR2004 (the majority)
    return result


def covered_box(source: Geometry, target: Geometry) -> Box | None:
    """Return the box of target voxels whose centres lie in the source's field of view, if there are any.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    start: list[int] = []
    stop: list[int] = []
    for axis, n in zip(_axis_maps(source, target), target.shape_zyx, strict=True):
        edges = [
            (edge - axis.shift) / axis.scale for edge in (-0.5, source.shape_zyx[axis.source_axis] - 0.5)
        ]
        first, last = math.ceil(min(edges) - _SNAP), math.floor(max(edges) + _SNAP)
        start.append(max(first, 0))
        stop.append(min(last + 1, n))
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        return None
    z, y, x = zip(start, stop, strict=True)
    return Box(start_zyx=(z[0], y[0], x[0]), stop_zyx=(z[1], y[1], x[1]))


def _axis_maps(source: Geometry, target: Geometry) -> tuple[_AxisMap, _AxisMap, _AxisMap]:
    relative = np.linalg.solve(source.lps_from_index, target.lps_from_index)
    axes = [int(a) for a in np.abs(relative[:3, :3]).argmax(axis=0)]
    sideways = np.abs(relative[:3, :3]) * np.array(target.shape_zyx)
    sideways[axes, range(3)] = 0.0
    if sorted(axes) != [0, 1, 2] or sideways.max() > PARALLEL_TOLERANCE:
        raise GeometryError(
            "two grids are not parallel, so no separable interpolation can join them: "
            f"source voxels per target voxel {relative[:3, :3].round(4).tolist()}"
        )
    z, y, x = (
        _AxisMap(source_axis=a, scale=float(relative[a, i]), shift=float(relative[a, 3]))
        for i, a in enumerate(axes)
    )
    return z, y, x


def _samples(axis: _AxisMap, count: int, size: int) -> _Samples:
    coordinate = axis.shift + axis.scale * np.arange(count)
    halves = np.rint(coordinate * 2) / 2  # the nearest centre or edge
    coordinate = np.where(np.abs(coordinate - halves) < _SNAP, halves, coordinate)
    inside = np.clip(coordinate, 0, size - 1)
    lower = np.floor(inside).astype(np.intp)
    return _Samples(
        lower=lower,
        upper=np.minimum(lower + 1, size - 1),
        fraction=(inside - lower).astype(np.float32),
        outside=np.abs(coordinate - inside) > 0.5,  # noqa: PLR2004 (the outermost voxels' outer edges)
    )


def _interpolated(
    array: Shaped[np.ndarray, "z y x"], axis: int, samples: _Samples
) -> Float32[np.ndarray, "a b c"]:
    shape = list(array.shape)
    shape[axis] = len(samples.fraction)
    result = np.empty(shape, dtype=np.float32)
    across = 1 if axis == 0 else 0  # plane by plane, so that only planes are copied
    along = max(axis - 1, 0)
    weight = np.expand_dims(samples.fraction, 1 - along)
    for index in range(array.shape[across]):
        plane = np.moveaxis(array, across, 0)[index].astype(np.float32)
        lower, upper = plane.take(samples.lower, along), plane.take(samples.upper, along)
        np.moveaxis(result, across, 0)[index] = lower + weight * (upper - lower)
    return result


_SNAP = 1e-6
"""Coordinates this near to a voxel's centre or edge are meant to lie on it."""
