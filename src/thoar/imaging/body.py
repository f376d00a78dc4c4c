"""The patient's body in a chest CT (S2 and S3 of docs/explanation/method.md).

The paper thresholds by Otsu's method in the middle scan. That alone fails on real series (an empty middle
slice, padding far below air, a couch in the picture), hence the fallbacks and the clean-up here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Num
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from thoar.core.errors import InputError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.imaging.components import largest_component
from thoar.imaging.hull import filled_hull
from thoar.imaging.resample import (
    coarsened_planes,
    grid_of_spacing,
    resample_mask,
    resampled_planes,
)
from thoar.imaging.slabs import in_slabs

Method = Literal["otsu_middle_slice", "otsu_volume", "fixed"]

FIXED_THRESHOLD_HU = -500.0
PLAUSIBLE_THRESHOLD_HU = (-800.0, -150.0)
"""Between the lungs and fat: a threshold elsewhere has not parted a body from air."""

LEAST_PART = 0.005
"""A body takes at least this part of the field of view (a newborn in one of 700 mm takes 0.016)."""

COARSE_SPACING_MM = 3.0
"""The mask is found on a grid about this coarse: fine enough for the skin, and quick."""

OTSU_BINS = 256

PLATE_MM = 14.0
"""In an axial slice, things thinner than this are no part of a body by themselves: couch, mask, tubes."""

LEAST_CUT = 8
"""A body that lies against so many voxels without a value, in a slice of the coarse grid, is cut there."""

PADDING_HU = -1020.0
"""Air is brighter than this but for noise; scanners write -1024 and less around the field of view."""

FAT_HU = -50.0
"""Every CT of a person holds values below this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """Where the patient is.

    Attributes:
        mask: true inside the body, lungs and airways included.
        threshold_hu: what parted body from air.
        method: where the threshold came from.
    """

    mask: Bool[np.ndarray, "z y x"]
    threshold_hu: float
    method: Method


def find_body(
    volume: Volume, *, clip_hu: tuple[float, float], grid: Geometry | None = None, threads: int = 1
) -> Body:
    """Find the patient's body in a CT.

    Thresholds are tried in turn until one gives a body: Otsu's of the middle axial slice, Otsu's of the
    whole volume, -500 HU.

    Args:
        volume: CT in Hounsfield units, axis 0 from slice to slice (see ``core.volume.to_canonical``).
        clip_hu: values are clipped to this before Otsu's method.
        grid: that the body is wanted on, as if the volume were resampled onto it first; the volume's own by
            default.
        threads: how many work at it; the body does not depend on it.

    Raises:
        InputError: if the values are no Hounsfield units or there is no body.
        GeometryError: if the grid's axes are not parallel to the volume's.
    """
    low, high = _checked_range(volume.voxels, threads=threads)
    grid = grid or volume.geometry
    spacing_z, spacing_y, spacing_x = (max(s, COARSE_SPACING_MM) for s in grid.spacing_zyx_mm)
    coarse = grid_of_spacing(grid, (spacing_z, spacing_y, spacing_x))
    values_hu = _coarse_values(volume, grid, coarse, outside=low, threads=threads)
    middle_hu = resampled_planes(volume.voxels, volume.geometry, grid, outside=low)(grid.shape_zyx[0] // 2)
    for method, threshold_hu in _thresholds(middle_hu, values_hu, clip_hu):
        nothing = values_hu <= max(low + 1, PADDING_HU)
        mask = _body_above(values_hu > threshold_hu, nothing, coarse, threads=threads)
        if mask.mean() >= LEAST_PART:
            mask = resample_mask(mask, coarse, grid, threads=threads)
            return Body(mask=mask, threshold_hu=threshold_hu, method=method)
    raise InputError(
        f"no body found: values range from {low:g} to {high:g} HU, and nothing body-sized lies above "
        f"{FIXED_THRESHOLD_HU:g} HU; is this a chest CT?"
    )


def _coarse_values(
    volume: Volume, grid: Geometry, coarse: Geometry, *, outside: float, threads: int
) -> Float32[np.ndarray, "z y x"]:
    values = np.empty(coarse.shape_zyx, dtype=np.float32)

    def fill(levels: range) -> None:
        plane_at = coarsened_planes(
            volume.voxels, volume.geometry, between=grid, coarse=coarse, outside=outside
        )
        for level in levels:
            values[level] = plane_at(level)

    in_slabs(fill, len(values), threads=threads)
    return values


def _checked_range(voxels: Num[np.ndarray, "z y x"], *, threads: int) -> tuple[float, float]:
    lows, highs = np.empty((2, len(voxels)))

    def fill(levels: range) -> None:
        for level in levels:
            lows[level], highs[level] = voxels[level].min(), voxels[level].max()

    in_slabs(fill, len(voxels), threads=threads)
    low, high = float(lows.min()), float(highs.max())
    if not np.isfinite([low, high]).all():
        raise InputError("the volume holds values that are no numbers; mend or re-export it")
    if low == high:
        raise InputError(f"no body found: every voxel has the value {low:g}")
    if low > FAT_HU:
        raise InputError(
            f"no body found: values range from {low:g} to {high:g}, which are no Hounsfield units (air is "
            "-1000, water 0); undo windowing or rescaling, or apply the file's rescale slope and intercept"
        )
    return low, high


def _thresholds(
    middle_hu: Num[np.ndarray, "y x"],
    coarse_hu: Num[np.ndarray, "cz cy cx"],
    clip_hu: tuple[float, float],
) -> Iterator[tuple[Method, float]]:
    least, most = PLAUSIBLE_THRESHOLD_HU
    middle = _otsu_hu(middle_hu, clip_hu)
    if least <= middle <= most:
        yield "otsu_middle_slice", middle
    whole = _otsu_hu(coarse_hu, clip_hu)
    if least <= whole <= most:
        yield "otsu_volume", whole
    yield "fixed", FIXED_THRESHOLD_HU


def _otsu_hu(values_hu: Num[np.ndarray, "..."], clip_hu: tuple[float, float]) -> float:
    """Return Otsu's threshold (IEEE Trans. SMC 9(1), 1979), the middle one where several are as good.

    Between two well-parted materials every threshold is as good; the first would hug the lower one.
    """
    counts, edges = np.histogram(np.clip(values_hu, *clip_hu), bins=OTSU_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum()[:-1], counts.sum()
    sum_below, sum_total = (counts * centres).cumsum()[:-1], (counts * centres).sum()
    between = (sum_total * below - total * sum_below) ** 2 / np.maximum(below * (total - below), 1)
    best = between >= between.max() * (1 - 1e-9)
    return float(edges[1:-1][best].mean())


def _body_above(
    above: Bool[np.ndarray, "z y x"],
    nothing: Bool[np.ndarray, "z y x"],
    geometry: Geometry,
    *,
    threads: int,
) -> Bool[np.ndarray, "z y x"]:
    """Return the largest thick piece of a thresholded volume, with what it encloses.

    Args:
        above: where values lie above the threshold.
        nothing: where the scan holds padding, around the field of view, or its least value.
        geometry: of both.
        threads: how many work at it.
    """
    radius_y, radius_x = (max(1, round(PLATE_MM / 2 / s)) for s in geometry.spacing_zyx_mm[1:])
    plate = (radius_y, radius_x)
    solid, thick, body = (np.empty_like(above) for _ in range(3))

    def open_slices(levels: range) -> None:
        these = slice(levels.start, levels.stop)
        solid[these] = _filled(above[these])  # a thin chest wall is no plate: the lung stands behind it
        thick[these] = _dilated(_eroded(solid[these], plate), plate) & solid[these]

    def close_slices(levels: range) -> None:
        these = slice(levels.start, levels.stop)
        enclosed = _enclosed(_dilated(core[these], plate) & solid[these])
        body[these] = _closed_where_cut(enclosed, nothing=nothing[these])

    in_slabs(open_slices, len(above), threads=threads)
    core = largest_component(thick if thick.any() else solid)
    in_slabs(close_slices, len(above), threads=threads)
    return body


def _filled(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Fill the holes of each axial slice."""
    in_slice = ndimage.generate_binary_structure(2, 1)[None]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    filled = ndimage.binary_fill_holes(mask, in_slice)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return np.asarray(filled, dtype=bool)


def _eroded(mask: Bool[np.ndarray, "z y x"], reach_yx: tuple[int, int]) -> Bool[np.ndarray, "z y x"]:
    """Erode every slice by a rectangle; beyond the array's faces things go on."""
    return ~_dilated(~mask, reach_yx)


def _dilated(mask: Bool[np.ndarray, "z y x"], reach_yx: tuple[int, int]) -> Bool[np.ndarray, "z y x"]:
    """Dilate every slice by a rectangle that reaches so far to either side."""
    for axis, reach in zip((1, 2), reach_yx, strict=True):
        source, mask = np.moveaxis(mask, axis, 0), mask.copy()
        target = np.moveaxis(mask, axis, 0)  # a view
        for step in range(1, reach + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
    return mask


def _enclosed(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Return a mask with what lies between its parts: seen from there, it stands on three of four sides.

    Works in each axial slice, so lungs and airways that are open at the first or last slice are inside;
    three sides, so that they are even where the chest wall is broken or leaves the field of view.
    """
    sides = np.zeros(mask.shape, dtype=np.uint8)
    for axis in (1, 2):
        sides += np.logical_or.accumulate(mask, axis=axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    return sides >= 3  # noqa: PLR2004 (of four sides)


def _closed_where_cut(
    mask: Bool[np.ndarray, "z y x"], *, nothing: Bool[np.ndarray, "z y x"]
) -> Bool[np.ndarray, "z y x"]:
    """Return a mask that takes in its convex hull in every slice in which the field of view cuts the body.

    A lung that leaves the field has no wall on that side, and what lies behind it would be taken for air.

    Args:
        mask: the body.
        nothing: where the scan holds padding, around the field of view, or its least value.
    """
    beyond = _dilated(mask, (1, 1)) & nothing
    beyond[:, [0, -1]] = mask[:, [0, -1]]
    beyond[:, :, [0, -1]] = mask[:, :, [0, -1]]
    out = mask.copy()
    for level in np.flatnonzero(beyond.sum(axis=(1, 2)) >= LEAST_CUT):
        out[level] = filled_hull(mask[level])
    return out
