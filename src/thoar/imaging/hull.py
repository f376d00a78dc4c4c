"""The convex hull of a mask in one plane."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int

_Corner = tuple[float, float]
"""A row and a place in it."""

_EXACT = 1e-6
"""Where a hull's edge crosses a row is a fraction of whole numbers far below 1e6; float64 is finer."""


def filled_hull(mask: Bool[np.ndarray, "row column"]) -> Bool[np.ndarray, "row column"]:
    """Return the pixels whose centre lies in the convex hull of a mask's pixels, or on its edge.

    A pixel is taken for the diamond between the middles of its four edges.
    """
    hull = np.zeros_like(mask)
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return hull
    first = mask[rows].argmax(axis=1)
    width = int(mask.shape[1])
    last = width - 1 - mask[rows, ::-1].argmax(axis=1)
    within = np.arange(int(rows[0]), int(rows[-1]) + 1)
    left, right = _least_bound(rows, first, within), -_least_bound(rows, -last, within)
    columns = np.arange(width)
    hull[within] = (columns >= left[:, None] - _EXACT) & (columns <= right[:, None] + _EXACT)
    return hull


def _least_bound(
    rows: Int[np.ndarray, "some"], first: Int[np.ndarray, "some"], within: Int[np.ndarray, "all"]
) -> Float[np.ndarray, "all"]:
    """Return, for every row, the lower convex bound of the diamonds around the first pixels of some rows."""
    centres = _lower_chain(zip(rows.tolist(), first.tolist(), strict=True))
    diamonds = ((row + d, place - 0.5 + abs(d)) for row, place in centres for d in (-0.5, 0.0, 0.5))
    heights, places = np.array(_lower_chain(sorted(diamonds))).T
    return np.asarray(np.interp(within, heights, places), dtype=np.float64)


def _lower_chain(points: Iterable[_Corner]) -> list[_Corner]:
    """Return the corners of the lower convex bound of points, which come in order (Andrew's chain)."""
    corners: list[_Corner] = []
    for point in points:
        while len(corners) > 1 and _is_above(corners[-1], corners[-2], point):
            corners.pop()
        if not corners or corners[-1][0] < point[0]:  # of one row's points the first is the least
            corners.append(point)
    return corners


def _is_above(corner: _Corner, before: _Corner, after: _Corner) -> bool:
    """Say whether a corner lies on or above the line between its neighbours."""
    run, rise = after[0] - before[0], after[1] - before[1]
    return (corner[1] - before[1]) * run >= rise * (corner[0] - before[0])
