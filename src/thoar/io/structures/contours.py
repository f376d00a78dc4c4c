"""From an organ's probabilities on one slice to rings of points along their 0.5 level.

A ring is an array of (row, column) points, closed without repeating the first. Rings around what is inside
have a positive :func:`signed_area`, rings around holes a negative one.

Rings keep their distance from pixel centres. Marching squares puts a point only between a pixel centre inside
and a neighbour outside, and :func:`level_rings` moves it along that line until it is a tenth of a pixel or
more from both. A side that cuts a corner between two such points passes the pixel centre at 0.1 / √2 = 0.0707
pixels or more. :func:`simplified` moves a ring by less than that, and rounding to 0.0001 mm by far less: so
the pixel centres inside the rings are exactly the mask, and no two rings touch. The price is that a ring
departs from the 0.5 level by a tenth of a pixel at most where that comes so near to a pixel centre.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from skimage.measure import find_contours

Ring = Float[np.ndarray, "_ 2"]

FROM_CENTRE = 0.1
"""Pixels that a ring's points keep from pixel centres."""
LARGEST_MOVE = 0.05
"""Pixels, and millimetres, that simplification may move a ring by."""
_LEVEL, _CLEARLY = 0.5, 1e-6


def level_rings(probability_yx: Float[np.ndarray, "y x"]) -> list[Ring]:
    """Return the rings along the 0.5 level, by marching squares; beyond the array all is outside.

    Pixels inside that touch at a corner only are apart, each with a ring of its own; pixels outside that do
    are together. No ring crosses itself or another.
    """
    values = probability_yx.astype(np.float64)
    high = np.clip(values, _LEVEL + _CLEARLY, 1.0)
    low = np.fmin(np.fmax(values, 0.0), _LEVEL - _CLEARLY)  # 0 for what is no number
    padded = np.pad(np.where(probability_yx >= _LEVEL, high, low), 1)
    rings = find_contours(padded, _LEVEL, fully_connected="low", positive_orientation="low")
    return [_off_centres(ring[:-1]) - 1.0 for ring in rings]


def _off_centres(ring: Ring) -> Ring:
    whole = np.floor(ring)
    part = ring - whole  # of the two coordinates one is whole, being that of a line of centres
    return whole + np.where(part > 0, np.clip(part, FROM_CENTRE, 1 - FROM_CENTRE), 0)


def signed_area(ring: Ring) -> float:
    """Return the area inside a ring in pixels, negative for a hole."""
    y, x = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def simplified(rings: Sequence[Ring], tolerance: float) -> list[Ring]:
    """Return the rings without the points that can go while all points stay so near to what is left.

    Douglas and Peucker's rule, applied to all rings at once: a chord is split at the point farthest from
    it, until no point is farther than the tolerance from its chord. With a tolerance under 0.0707 pixels a
    ring of :func:`level_rings` is thus not drawn across a pixel centre; tests hold that it does not come to
    cross itself or another one either.

    Args:
        rings: at least one point each.
        tolerance: pixels.
    """
    if not rings:
        return []
    points = np.concatenate([np.concatenate([ring, ring[:1]]) for ring in rings])
    sizes = np.array([len(ring) + 1 for ring in rings])
    ends = np.cumsum(sizes) - 1
    starts = ends - sizes + 1
    inner = np.setdiff1d(np.arange(len(points)), [starts, ends])
    first, last = np.repeat(starts, sizes - 2), np.repeat(ends, sizes - 2)
    kept = _corners(points, inner, first=first, last=last, tolerance=tolerance)
    kept[starts] = True
    return [points[a:b][kept[a:b]] for a, b in zip(starts, ends, strict=True)]


def _corners(
    points: Ring,
    inner: Int[np.ndarray, "inner"],
    *,
    first: Int[np.ndarray, "inner"],
    last: Int[np.ndarray, "inner"],
    tolerance: float,
) -> Bool[np.ndarray, "_"]:
    """Return which inner points stay, given the ends of the chord that each now lies between."""
    kept = np.zeros(len(points), np.bool_)
    while inner.size:
        distance = _distances(points[inner], points[first], points[last])
        groups = np.flatnonzero(np.diff(first, prepend=-1))  # where the points of each chord begin
        chord = np.repeat(np.arange(len(groups)), np.diff(groups, append=inner.size))
        farthest = np.lexsort((-distance, chord))[groups]
        split = distance[farthest] > tolerance
        kept[inner[farthest[split]]] = True
        middle = inner[farthest][chord]
        goes_on = split[chord] & (inner != middle)
        first, last = np.where(middle < inner, middle, first), np.where(middle > inner, middle, last)
        inner, first, last = inner[goes_on], first[goes_on], last[goes_on]
    return kept


def _distances(points: Ring, starts: Ring, ends: Ring) -> Float[np.ndarray, "_"]:
    """Return how far each point lies from its chord, which may be a single point."""
    chord = ends - starts
    length2 = np.maximum((chord**2).sum(axis=1), np.finfo(np.float64).tiny)
    along = np.clip(((points - starts) * chord).sum(axis=1) / length2, 0.0, 1.0)
    return np.linalg.norm(points - starts - along[:, None] * chord, axis=1)
