"""Values in a box of a grid, 0 outside it, taken to another grid."""

import numpy as np
from jaxtyping import Float32, Num

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.imaging.resample import covered_box, resample_linear


def same_points(
    values: Num[np.ndarray, "z y x"], box_zyx: Box, *, source: Geometry, target: Geometry, tolerance_mm: float
) -> tuple[Box, Num[np.ndarray, "a b c"]] | None:
    """Take values to a grid of the same points whose axes may be permuted and reversed; none is interpolated.

    Returns:
        The box on the target and the values in it; None where the grids are not of the same points.
    """
    cosines = (source.lps_from_index[:3, :3] / source.spacing_zyx_mm).T @ target.lps_from_index[:3, :3]
    axes = [int(axis) for axis in np.abs(cosines).argmax(axis=0)]
    if sorted(axes) != [0, 1, 2]:
        return None
    flipped = [bool(cosines[axis, new] < 0) for new, axis in enumerate(axes)]
    if not source.reordered(axes, flipped=flipped).same_grid(target, tolerance_mm=tolerance_mm):
        return None
    spans = [
        (n - box_zyx.stop_zyx[a], n - box_zyx.start_zyx[a])
        if back
        else (box_zyx.start_zyx[a], box_zyx.stop_zyx[a])
        for a, back, n in zip(axes, flipped, target.shape_zyx, strict=True)
    ]
    (z, y, x) = spans
    box = Box(start_zyx=(z[0], y[0], x[0]), stop_zyx=(z[1], y[1], x[1]))
    return box, np.flip(values.transpose(axes), tuple(axis for axis in range(3) if flipped[axis]))


def resampled(
    values: Num[np.ndarray, "z y x"], box_zyx: Box, *, source: Geometry, target: Geometry
) -> tuple[Box, Float32[np.ndarray, "a b c"]] | None:
    """Take values to another grid, linearly; None where nothing of the box lies on it.

    Raises:
        GeometryError: if the grids' axes are not parallel.
    """
    around = source.cropped(box_zyx.expanded((1, 1, 1), (1, 1, 1)))
    near, in_view = covered_box(around, target), covered_box(source, target)
    box = near and in_view and near.intersection(in_view)
    if box is None:
        return None
    padded = padded_by_one(values, box_zyx, grid=source)
    return box, resample_linear(padded, around, target.cropped(box), outside=0.0)


def padded_by_one(
    values: Num[np.ndarray, "z y x"], box_zyx: Box, *, grid: Geometry
) -> Float32[np.ndarray, "a b c"]:
    """Return values with a voxel more around: 0, but beyond the grid's own faces what lies next to it."""
    padded = np.pad(values.astype(np.float32), 1)
    for axis in range(3):
        ends = np.moveaxis(padded, axis, 0)  # a view
        if box_zyx.start_zyx[axis] == 0:
            ends[0] = ends[1]
        if box_zyx.stop_zyx[axis] == grid.shape_zyx[axis]:
            ends[-1] = ends[-2]
    return padded
