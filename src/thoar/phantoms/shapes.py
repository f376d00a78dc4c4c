"""Shapes as signed distances, negative inside, and a canvas that paints them with soft edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.interpolate import CubicSpline
from scipy.spatial import KDTree

FAR_MM = 1e3
"""Signed distance where nobody has to know it exactly."""

Points = Float32[np.ndarray, "xyz z y x"]
Distance = Float32[np.ndarray, "z y x"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tube:
    """A tube along a smooth centre line.

    Attributes:
        points_xyz_mm: centres, close together.
        radius_mm: at each centre.
        flat: height (y) of the cross-section relative to its width.
    """

    points_xyz_mm: Float[np.ndarray, "n xyz"]
    radius_mm: Float[np.ndarray, " n"]
    flat: float = 1.0


def tube(
    way: Sequence[tuple[float, float, float, float]], *, flat: float = 1.0, step_mm: float = 1.5
) -> Tube:
    """Return the tube through (x, y, z, radius) knots along a cubic spline."""
    knots = np.array(way, dtype=np.float64)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step_mm)))
    line = np.asarray(CubicSpline(length, knots, bc_type="natural")(at))
    return Tube(points_xyz_mm=line[:, :3], radius_mm=line[:, 3].clip(0.5), flat=flat)


def joined(tubes: Sequence[Tube]) -> Tube:
    """Return several round tubes as one shape."""
    return Tube(
        points_xyz_mm=np.concatenate([t.points_xyz_mm for t in tubes]),
        radius_mm=np.concatenate([t.radius_mm for t in tubes]),
    )


def tube_distance(points: Points, shape: Tube, *, reach_mm: float = 8.0) -> Distance:
    """Return the signed distance to a tube, exact up to ``reach_mm`` outside it and far beyond."""
    squash = np.array([1.0, 1.0 / shape.flat, 1.0])
    centres = shape.points_xyz_mm * squash
    widest = float(shape.radius_mm.max()) + reach_mm
    low, high = shape.points_xyz_mm.min(axis=0) - widest, shape.points_xyz_mm.max(axis=0) + widest
    near = np.ones(points.shape[1:], dtype=bool)
    for axis in range(3):
        near &= (points[axis] > low[axis]) & (points[axis] < high[axis])
    out = np.full(points.shape[1:], FAR_MM, dtype=np.float32)
    wanted = points[:, near].T * squash
    away, which = KDTree(centres).query(wanted, distance_upper_bound=widest)
    reached = np.isfinite(away)
    values = np.full(len(away), FAR_MM, dtype=np.float32)
    values[reached] = away[reached] - shape.radius_mm[np.asarray(which)[reached]]
    out[near] = values * min(1.0, shape.flat) if shape.flat != 1.0 else values
    return out


def ellipsoid_distance(
    points: Points,
    *,
    centre_xyz_mm: Sequence[float],
    radius_xyz_mm: Sequence[float],
    turn: Float[np.ndarray, "3 3"] | None = None,
) -> Distance:
    """Return about the signed distance to an ellipsoid; ``turn`` takes the patient's axes to its own."""
    offset = points - np.reshape(centre_xyz_mm, (3, 1, 1, 1)).astype(np.float32)
    if turn is not None:
        offset = np.einsum("ij,jzyx->izyx", turn.astype(np.float32), offset)
    radius = np.reshape(radius_xyz_mm, (3, 1, 1, 1)).astype(np.float32)
    away = np.sqrt(((offset / radius) ** 2).sum(axis=0))
    slope = np.sqrt(((offset / radius**2) ** 2).sum(axis=0)) / np.maximum(away, 1e-3)
    return (away - 1) / np.maximum(slope, 1e-3)


def blended(a: Distance, b: Distance, *, radius_mm: float) -> Distance:
    """Return the union of two shapes with the crease rounded (polynomial smooth minimum, Quilez)."""
    h = np.clip(radius_mm - np.abs(a - b), 0, None) / radius_mm
    return np.minimum(a, b) - h * h * radius_mm / 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """Hounsfield units and labels under the brush; later shapes cover earlier ones.

    Attributes:
        hu: values.
        label: label ids.
        edge_mm: width of a shape's soft edge: about a voxel.
    """

    hu: Float32[np.ndarray, "z y x"]
    label: UInt8[np.ndarray, "z y x"]
    edge_mm: float

    @classmethod
    def blank(cls, shape_zyx: tuple[int, int, int], *, hu: float, edge_mm: float) -> "Canvas":
        """Return a canvas of one value without labels."""
        return cls(
            hu=np.full(shape_zyx, hu, dtype=np.float32),
            label=np.zeros(shape_zyx, dtype=np.uint8),
            edge_mm=edge_mm,
        )

    def share(self, distance: Distance) -> Distance:
        """Return how much of each voxel a shape fills."""
        return np.clip(0.5 - distance / self.edge_mm, 0, 1)

    def paint(self, distance: Distance, hu: float | Distance) -> Bool[np.ndarray, "z y x"]:
        """Paint a shape over what is there and return where it fills at least half a voxel."""
        share = self.share(distance)
        where = share > 0
        value = hu[where] if isinstance(hu, np.ndarray) else hu
        self.hu[where] += share[where] * (value - self.hu[where])
        return distance <= 0


def jittered(
    rng: np.random.Generator, way: Sequence[tuple[float, float, float, float]], *, spread_mm: float
) -> list[tuple[float, float, float, float]]:
    """Return the knots moved by chance in x and y and a little in z; the radius stays."""
    moves = rng.normal(0, spread_mm, (len(way), 3)) * (1.0, 1.0, 0.5)
    return [
        (x + float(a), y + float(b), z + float(c), r)
        for (x, y, z, r), (a, b, c) in zip(way, moves, strict=True)
    ]
