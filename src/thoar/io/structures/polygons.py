"""Rings with holes as single closed polygons, by keyholes (PS3.3 C.8.8.6.3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from thoar.io.structures.contours import Ring, signed_area

Sides = Float[np.ndarray, "_ 4"]
"""From (row, column) to (row, column), one line each."""
_OFF_CENTRE = 0.01
"""Pixels between a channel and the row of pixel centres it runs beside."""


def keyholed(rings: Sequence[Ring]) -> list[Ring]:
    """Return one polygon per outer ring, its holes joined to it by channels without width.

    From each hole a channel runs to the left, along a row of the image, to the nearest ring, and back on
    itself. Holes are joined from the top down, and from left to right: so the ring met is an outer one or a
    hole already joined, and islands in holes and holes in those need no thought. A channel keeps 0.01 pixels
    off the row of pixel centres: there it meets no centre, and no point of a ring, since those lie on a
    line of centres or at least 0.1 pixels off it.

    Args:
        rings: those of one slice, as ``contours`` makes them.
    """
    polygons = {number: ring for number, ring in enumerate(rings) if signed_area(ring) > 0}
    holes = [(number, _opened(ring)) for number, ring in enumerate(rings) if number not in polygons]
    if not holes:
        return list(polygons.values())
    sides = np.concatenate([_sides(ring) for ring in rings])
    ring_of = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    joined_to = {number: number for number in polygons}
    for number, hole in sorted(holes, key=lambda item: tuple(item[1][0])):
        side, _ = _nearest_to_the_left(sides, hole[0])
        polygon = joined_to[number] = joined_to[int(ring_of[side])]
        polygons[polygon] = _joined(polygons[polygon], hole)
    return list(polygons.values())


def _opened(hole: Ring) -> Ring:
    """Return a hole's ring begun where its channel does: leftmost, beside its uppermost pixel centres."""
    y = float(np.ceil(hole[:, 0].min())) + _OFF_CENTRE
    crossed, x = _crossings(_sides(hole), y)
    return _begun_at(hole, int(crossed[x.argmin()]), (y, float(x.min())))


def _joined(polygon: Ring, hole: Ring) -> Ring:
    """Return a polygon and a hole, which begins at its channel, as one polygon."""
    side, x = _nearest_to_the_left(_sides(polygon), hole[0])
    around = _begun_at(polygon, side, (float(hole[0, 0]), x))
    return np.concatenate([around, around[:1], hole, hole[:1]])


def _nearest_to_the_left(sides: Sides, point: Float[np.ndarray, "2"]) -> tuple[int, float]:
    """Return the side met first on the way to the left from a point, and the column where it is met."""
    crossed, x = _crossings(sides, float(point[0]))
    nearest = np.where(x < point[1], x, -np.inf).argmax()
    return int(crossed[nearest]), float(x[nearest])


def _crossings(sides: Sides, y: float) -> tuple[Int[np.ndarray, "crossing"], Float[np.ndarray, "crossing"]]:
    """Return which sides cross a row, and the columns where they do."""
    crossed = np.flatnonzero((sides[:, 0] < y) != (sides[:, 2] < y))
    y0, x0, y1, x1 = sides[crossed].T
    return crossed, x0 + (y - y0) / (y1 - y0) * (x1 - x0)


def _sides(ring: Ring) -> Sides:
    return np.hstack([ring, np.roll(ring, -1, axis=0)])


def _begun_at(ring: Ring, side: int, point_yx: tuple[float, float]) -> Ring:
    """Return a ring begun at a new point on one of its sides."""
    return np.concatenate([[point_yx], np.roll(ring, -side - 1, axis=0)])
