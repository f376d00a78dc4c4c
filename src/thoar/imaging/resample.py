"""Linear interpolation between two grids whose axes are parallel.

Positions are compared in patient space, by the two grids' matrices; no rounded zoom factor is involved, so
there is no drift towards the far end (as ``ndimage.zoom`` and ``F.interpolate(size=...)`` have).

The work goes plane by plane along the target's first axis, the axes that shrink most first: what is held
beside source and target is a few planes, and they stay in the processor's cache.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped, UInt

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry, Vector3
from thoar.imaging.slabs import in_slabs

Plane = Float32[np.ndarray, "_ _"]
Planes = Callable[[int], Plane]
"""Gives a grid's planes along its first axis by their index, in any order but fastest in sequence.

A plane may be given out again and is not to be changed. For one thread; each makes its own.
"""

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

    def part(self, which: slice | Int[np.ndarray, "m"]) -> "_Samples":
        """Return some of the samples."""
        return _Samples(
            lower=self.lower[which],
            upper=self.upper[which],
            fraction=self.fraction[which],
            outside=self.outside[which],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampling:
    """How one grid's values follow from another's.

    Attributes:
        source_axes: the source's axis along each of the target's.
        along: the samples of each target axis.
        order: in which the axes are interpolated: those that shrink most first.
    """

    source_axes: tuple[int, int, int]
    along: tuple[_Samples, _Samples, _Samples]
    order: tuple[int, ...]

    def part(self, box: Box) -> "_Sampling":
        """Return the sampling of a box of the target alone; the values are the same to the bit."""
        z, y, x = (samples.part(which) for samples, which in zip(self.along, box.slices, strict=True))
        return replace(self, along=(z, y, x))


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
    threads: int = 1,
) -> Float32[np.ndarray, "tz ty tx"]:
    """Interpolate an array linearly at the voxel centres of another grid.

    The source's field of view ends at its voxels' outer edges: up to half a voxel beyond the outermost
    centres a sample takes the edge's value, farther out it is ``outside``.

    Args:
        voxels: on the source grid; numbers or booleans.
        source: the grid that is read.
        target: the grid that is filled; its axes may be permuted and flipped against the source's.
        outside: value beyond the source's field of view.
        threads: how many work at it; the values do not depend on it.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    result = np.empty(target.shape_zyx, dtype=np.float32)

    def fill(levels: range) -> None:
        plane_at = resampled_planes(voxels, source, target, outside=outside)
        for level in levels:
            result[level] = plane_at(level)

    in_slabs(fill, len(result), threads=threads)
    return result


def resample_mask(
    mask: Bool[np.ndarray, "z y x"], source: Geometry, target: Geometry, *, threads: int = 1
) -> Bool[np.ndarray, "tz ty tx"]:
    """Bring a mask to another grid: true where its interpolated share is at least one half.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    result = np.empty(target.shape_zyx, dtype=np.bool_)

    def fill(levels: range) -> None:
        share_at = resampled_planes(mask, source, target, outside=0.0)
        for level in levels:
            np.greater_equal(share_at(level), _HALF, out=result[level])

    in_slabs(fill, len(result), threads=threads)
    return result


def resampled_planes(
    voxels: Shaped[np.ndarray, "z y x"],
    source: Geometry,
    target: Geometry,
    *,
    outside: float,
    box_zyx: Box | None = None,
) -> Planes:
    """Return what gives the planes of :func:`resample_linear` one by one.

    Args:
        voxels: as there, like the next three.
        source: the grid that is read.
        target: the grid that is filled.
        outside: value beyond the source's field of view.
        box_zyx: the part of the target that is wanted, whose planes are given; all of it by default.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    sampling = _sampling(source, target)
    if box_zyx is not None:
        sampling = sampling.part(box_zyx)
    return _interpolated(_planes_of(voxels, sampling), sampling, outside=outside)


def coarsened_planes(
    voxels: Shaped[np.ndarray, "z y x"],
    source: Geometry,
    *,
    between: Geometry,
    coarse: Geometry,
    outside: float,
) -> Planes:
    """Return what gives the planes of an array that is brought to one grid and from there to a coarser one.

    The same values as of two calls of :func:`resample_linear`, but of the grid between only those rows and
    columns are made that the coarse one asks for.

    Args:
        voxels: on the source grid.
        source: the grid that is read.
        between: the grid in the middle.
        coarse: the grid that is filled; its axes run as those of the grid between.
        outside: value beyond a grid's field of view.

    Raises:
        GeometryError: if the grids' axes are not parallel.
        ValueError: if the coarse grid's axes are permuted.
    """
    first, second = _sampling(source, between), _sampling(between, coarse)
    if second.source_axes != (0, 1, 2):
        raise ValueError(f"the coarse grid's axes are the other's {second.source_axes}")
    z, *in_plane = second.along
    needed = [np.union1d(samples.lower, samples.upper) for samples in in_plane]
    rows, columns = (
        replace(
            samples, lower=np.searchsorted(some, samples.lower), upper=np.searchsorted(some, samples.upper)
        )
        for samples, some in zip(in_plane, needed, strict=True)
    )
    z_between, y_between, x_between = first.along
    first = replace(first, along=(z_between, y_between.part(needed[0]), x_between.part(needed[1])))
    planes = _interpolated(_planes_of(voxels, first), first, outside=outside)
    return _interpolated(planes, replace(second, along=(z, rows, columns)), outside=outside)


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
        here = resample_mask(mask[near.slices], source.cropped(near), target.cropped(covered))
        result[covered.slices][here] = label
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


def _sampling(source: Geometry, target: Geometry) -> _Sampling:
    z, y, x = _axis_maps(source, target)
    source_axes = (z.source_axis, y.source_axis, x.source_axis)
    sizes = [source.shape_zyx[axis] for axis in source_axes]
    along = [_samples(m, n, size) for m, n, size in zip((z, y, x), target.shape_zyx, sizes, strict=True)]
    return _Sampling(
        source_axes=source_axes,
        along=(along[0], along[1], along[2]),
        order=tuple(sorted(range(3), key=lambda axis: target.shape_zyx[axis] / sizes[axis])),
    )


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


def _planes_of(voxels: Shaped[np.ndarray, "z y x"], sampling: _Sampling) -> Planes:
    array = voxels.transpose(sampling.source_axes)
    return lambda index: array[index].astype(np.float32, copy=False)


def _interpolated(planes: Planes, sampling: _Sampling, *, outside: float) -> Planes:
    levels, rows, columns = sampling.along
    in_plane = {1: (0, rows), 2: (1, columns)}
    first = sampling.order.index(0)
    before = [in_plane[axis] for axis in sampling.order[:first]]
    after = [in_plane[axis] for axis in sampling.order[first + 1 :]]
    kept: dict[int, Plane] = {}  # the source's planes on either side of the last level

    def plane_at(level: int) -> Plane:
        if levels.outside[level]:
            return np.full((len(rows.lower), len(columns.lower)), outside, dtype=np.float32)
        lower, upper = int(levels.lower[level]), int(levels.upper[level])
        for index in kept.keys() - {lower, upper}:
            del kept[index]
        for index in {lower, upper} - kept.keys() if levels.fraction[level] else {lower} - kept.keys():
            kept[index] = _stretched(planes(index), before)
        plane = kept[lower]
        if levels.fraction[level]:
            plane = _between(plane, kept[upper], levels.fraction[level])
        plane = _stretched(plane, after)
        if rows.outside.any() or columns.outside.any():
            plane = np.where(rows.outside[:, None] | columns.outside, np.float32(outside), plane)
        return plane

    return plane_at


def _stretched(plane: Plane, steps: Iterable[tuple[int, _Samples]]) -> Plane:
    """Interpolate a plane along some of its axes, one after the other."""
    for axis, samples in steps:
        lower = plane.take(samples.lower, axis)
        weight = np.expand_dims(samples.fraction, 1 - axis)
        plane = _between(lower, plane.take(samples.upper, axis), weight) if weight.any() else lower
    return plane


def _between(lower: Plane, upper: Plane, weight: np.float32 | Plane) -> Plane:
    result = upper - lower
    result *= weight
    result += lower
    return result


_HALF = np.float32(0.5)
_SNAP = 1e-6
"""Coordinates this near to a voxel's centre or edge are meant to lie on it."""
