"""How much of each pixel a polygon covers, exactly.

Every edge is cut where it crosses a pixel's border. A piece inside one pixel takes its height times the way
to the pixel's right side off that pixel, and its whole height off all pixels to the right (the accumulation
that draws fonts). What sums up is each pixel's winding number, averaged over the pixel.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from thoar.core.errors import InputError

WOUND_TOLERANCE = 1e-6
_MOST_PIECES = 1 << 22
"""No contour crosses so many pixels; more would be a file made to exhaust the memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A polygon drawn on the part of an image that it touches.

    Attributes:
        points_yx: its corners, (row, column), whole numbers being centres of pixels.
        start_yx: the part's first pixel.
        share: how much of each pixel lies inside, 0 to 1.
        centre: whether its centre does; of centres on a straight line through them, those on one side.
        crossing: the polygon crosses itself or winds around a part more than once.
        cut: it reaches beyond the image.
    """

    points_yx: Float[np.ndarray, "point 2"]
    start_yx: tuple[int, int]
    share: Float[np.ndarray, "y x"]
    centre: Bool[np.ndarray, "y x"]
    crossing: bool
    cut: bool

    @property
    def stop_yx(self) -> tuple[int, int]:
        """The pixel after the part's last."""
        return (self.start_yx[0] + self.share.shape[0], self.start_yx[1] + self.share.shape[1])


def patch_of(points_yx: Float[np.ndarray, "point 2"], shape_yx: tuple[int, int]) -> Patch | None:
    """Draw a closed polygon, even-odd: what is wound around twice, such as the hole of a keyhole, is outside.

    Args:
        points_yx: corners, (row, column); pixel (0, 0) is the square from (−0.5, −0.5) to (0.5, 0.5).
        shape_yx: of the image; what lies beyond it is cut off.

    Returns:
        None where the polygon lies wholly outside the image.

    Raises:
        InputError: if it crosses millions of pixels.

    >>> patch_of(np.array([[0.0, -0.5], [-0.5, 0.0], [0.0, 0.5], [0.5, 0.0]]), (9, 9)).share
    array([[0.5]], dtype=float32)
    """
    corners = points_yx + 0.5
    start = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    stop = np.minimum(np.ceil(corners.max(axis=0)), shape_yx).astype(int)
    if (stop <= start).any():
        return None
    shape = (int(stop[0] - start[0]), int(stop[1] - start[1]))
    winding = _winding(corners - start, shape)
    winding *= np.sign(winding.sum()) or 1.0
    return Patch(
        points_yx=points_yx,
        start_yx=(int(start[0]), int(start[1])),
        share=np.abs(winding - 2 * np.rint(winding / 2)).astype(np.float32),
        centre=_centres_inside(corners - start, shape),
        crossing=bool(winding.min() < -WOUND_TOLERANCE or winding.max() > 1 + WOUND_TOLERANCE),
        cut=bool(corners.min() < 0 or (corners.max(axis=0) > shape_yx).any()),
    )


def points_inside(
    points_yx: Float[np.ndarray, "point 2"], polygon_yx: Float[np.ndarray, "corner 2"]
) -> float:
    """Return the share of points that lie inside a polygon, even-odd."""
    here, there = polygon_yx, np.roll(polygon_yx, -1, axis=0)
    y, x = points_yx[:, :1], points_yx[:, 1:]
    spans = (here[:, 0] > y) != (there[:, 0] > y)
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges span nothing
        slope = (there[:, 1] - here[:, 1]) / (there[:, 0] - here[:, 0])
        left_of = x < here[:, 1] + (y - here[:, 0]) * slope
    return float((np.count_nonzero(spans & left_of, axis=1) % 2).mean())


def _winding(corners_yx: Float[np.ndarray, "point 2"], shape_yx: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    """Return each pixel's mean winding number; pixel (0, 0) is the square from (0, 0) to (1, 1)."""
    rows, columns = shape_yx
    ends = _cut(corners_yx, shape_yx)
    height = ends[1, :, 0] - ends[0, :, 0]
    y, x = ends.mean(axis=0).T
    kept = (y > 0) & (y < rows) & (height != 0)
    height, row, x = height[kept], y[kept].astype(int), np.clip(x[kept], 0, columns)
    column = x.astype(int)
    beyond = height * (x - column)
    place, size = row * (columns + 2) + column, rows * (columns + 2)
    steps = np.bincount(place, height - beyond, size) + np.bincount(place + 1, beyond, size)
    return steps.astype(np.float64).reshape(rows, columns + 2).cumsum(axis=1)[:, :columns]


def _centres_inside(
    corners_yx: Float[np.ndarray, "point 2"], shape_yx: tuple[int, int]
) -> Bool[np.ndarray, "y x"]:
    rows, columns = shape_yx
    ways = np.roll(corners_yx, -1, axis=0) - corners_yx
    edge, along = _crossings(corners_yx[:, 0] - 0.5, ways[:, 0], rows - 1)
    row = np.rint(corners_yx[edge, 0] + along * ways[edge, 0] - 0.5).astype(int)
    column = np.ceil(np.clip(corners_yx[edge, 1] + along * ways[edge, 1] - 0.5, 0, columns)).astype(int)
    turns = np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1))
    return turns.reshape(rows, columns + 1).cumsum(axis=1)[:, :columns] % 2 == 1


def _cut(
    corners_yx: Float[np.ndarray, "point 2"], shape_yx: tuple[int, int]
) -> Float[np.ndarray, "2 piece 2"]:
    """Return both ends of the edges' pieces, cut at all borders of pixels."""
    edges = np.arange(len(corners_yx))
    ways = np.roll(corners_yx, -1, axis=0) - corners_yx
    crossings = [_crossings(corners_yx[:, a], ways[:, a], shape_yx[a]) for a in (0, 1)]
    edge = np.concatenate([edges, edges, *(c[0] for c in crossings)])
    along = np.concatenate([np.zeros(len(edges)), np.ones(len(edges)), *(c[1] for c in crossings)])
    order = np.lexsort((along, edge))
    edge, along = edge[order], along[order]
    points = corners_yx[edge] + along[:, None] * ways[edge]
    same = edge[1:] == edge[:-1]
    return np.stack([points[:-1][same], points[1:][same]])


def _crossings(
    start: Float[np.ndarray, "edge"], way: Float[np.ndarray, "edge"], size: int
) -> tuple[Int[np.ndarray, "crossing"], Float[np.ndarray, "crossing"]]:
    """Return which edges cross the whole numbers 0 to size along one axis, and where on their way, 0 to 1.

    An edge's lower end belongs to it, its upper end does not.
    """
    low, high = np.minimum(start, start + way), np.maximum(start, start + way)
    first = np.clip(np.ceil(low), 0, size + 1).astype(int)
    last = np.clip(np.ceil(high) - 1, -1, size).astype(int)
    counts = np.maximum(last - first + 1, 0)
    total = int(counts.sum())
    if total > _MOST_PIECES:
        raise InputError(f"a contour of {len(start)} points crosses {total} rows or columns: it is none")
    edge = np.repeat(np.arange(len(start)), counts)
    line = first[edge] + np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return edge, (line - start[edge]) / way[edge]
