"""Shapes as signed distances, negative inside, and the block of structures that they are carved into.

Everything is evaluated in windows: the part of the grid that a shape can reach. A grid's axes broadcast
against each other, so that a distance is an expression in ``grid.x``, ``grid.y`` and ``grid.z``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.interpolate import CubicSpline
from torch import Tensor

from thoar.phantoms.structures import IDS, chosen

FAR_MM = 1e3
"""Signed distance where nobody has to know it exactly."""

Knots = Sequence[tuple[float, float, float, float]]
"""(x, y, z, radius) along a centre line, in millimetres."""
Corner = tuple[float, float, float]
Distance = Float[Tensor, "z y x"]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where voxels lie in the patient's frame: x to the left, y to the back, z to the head, in millimetres.

    Attributes:
        z, y, x: coordinates of the voxels' middles along each axis, shaped to broadcast.
        spacing_mm: edge of the cubic voxels.
    """

    z: Float[Tensor, "z 1 1"]
    y: Float[Tensor, "1 y 1"]
    x: Float[Tensor, "1 1 x"]
    spacing_mm: float

    @classmethod
    def over(
        cls, low_xyz_mm: Corner, high_xyz_mm: Corner, *, spacing_mm: float, device: torch.device
    ) -> "Grid":
        """Return the grid that fills a box."""
        x, y, z = (
            torch.arange(low + spacing_mm / 2, high, spacing_mm, device=device)
            for low, high in zip(low_xyz_mm, high_xyz_mm, strict=True)
        )
        return cls(z=z[:, None, None], y=y[None, :, None], x=x[None, None, :], spacing_mm=spacing_mm)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Number of voxels per axis."""
        return (self.z.numel(), self.y.numel(), self.x.numel())

    @property
    def first_xyz_mm(self) -> Corner:
        """Middle of the first voxel."""
        return (float(self.x[0, 0, 0]), float(self.y[0, 0, 0]), float(self.z[0, 0, 0]))

    def window(self, low_xyz_mm: Sequence[float], high_xyz_mm: Sequence[float]) -> Window:
        """Return the slices (z, y, x) of the voxels within a box; empty ones where it lies outside."""
        found = []
        for first, count, low, high in zip(
            self.first_xyz_mm, self.shape_zyx[::-1], low_xyz_mm, high_xyz_mm, strict=True
        ):
            start = min(count, max(0, int(np.floor((low - first) / self.spacing_mm))))
            stop = min(count, max(start, int(np.ceil((high - first) / self.spacing_mm)) + 1))
            found.append(slice(start, stop))
        return (found[2], found[1], found[0])

    def part(self, window: Window) -> "Grid":
        """Return the grid of a window."""
        z, y, x = window
        return Grid(z=self.z[z], y=self.y[:, y], x=self.x[:, :, x], spacing_mm=self.spacing_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A map of structures under the chisel; later shapes cover earlier ones."""

    structure: UInt8[Tensor, "z y x"]
    grid: Grid

    @classmethod
    def empty(cls, grid: Grid) -> "Block":
        """Return a block of air."""
        device = grid.x.device
        return cls(structure=torch.zeros(grid.shape_zyx, dtype=torch.uint8, device=device), grid=grid)

    def carve(
        self,
        inside: Bool[Tensor, "z y x"],
        name: str,
        *,
        window: Window | None = None,
        only: Sequence[str] | None = None,
    ) -> None:
        """Make voxels of a window (the whole block where none is given) the structure named.

        Args:
            inside: which voxels of the window.
            name: of the structure.
            window: slices (z, y, x).
            only: replace these structures alone.
        """
        part = self.structure if window is None else self.structure[window]
        inside = torch.broadcast_to(inside, part.shape)
        if only is not None:
            inside = inside & chosen(part, *only)
        part.masked_fill_(inside, IDS[name])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tube:
    """A tube along smooth centre lines, as many overlapping balls.

    Attributes:
        centres_xyz_mm: middles of the balls, close together.
        radius_mm: of each ball.
        flat: height (y) of the balls relative to their width.
    """

    centres_xyz_mm: Float[np.ndarray, "n xyz"]
    radius_mm: Float[np.ndarray, " n"]
    flat: float = 1.0


def tube(way: Knots, *, flat: float = 1.0, step_mm: float = 1.0) -> Tube:
    """Return the tube through (x, y, z, radius) knots along a natural cubic spline."""
    knots = np.asarray(way, dtype=np.float64)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step_mm)))
    line = np.asarray(CubicSpline(length, knots, bc_type="natural")(at))
    return Tube(centres_xyz_mm=line[:, :3], radius_mm=line[:, 3].clip(0.5), flat=flat)


def joined(tubes: Sequence[Tube]) -> Tube:
    """Return several tubes of one flatness as one shape."""
    return Tube(
        centres_xyz_mm=np.concatenate([t.centres_xyz_mm for t in tubes]),
        radius_mm=np.concatenate([t.radius_mm for t in tubes]),
        flat=tubes[0].flat,
    )


def tube_window(grid: Grid, shape: Tube, *, reach_mm: float) -> Window:
    """Return the window that holds a tube and ``reach_mm`` around it."""
    wide = shape.radius_mm[:, None] + reach_mm
    low, high = (shape.centres_xyz_mm - wide).min(axis=0), (shape.centres_xyz_mm + wide).max(axis=0)
    return grid.window(low.tolist(), high.tolist())


def tube_distance(grid: Grid, shape: Tube, *, reach_mm: float = 3.0) -> Distance:
    """Return the signed distance to a tube: right up to ``reach_mm`` outside it, far beyond.

    Every ball writes its distances into the voxels around it; each voxel keeps the least one. Balls are taken
    together by their size, so that the number of steps does not depend on how many there are.
    """
    nz, ny, nx = grid.shape_zyx
    device = grid.x.device
    out = torch.full((nz * ny * nx,), FAR_MM, device=device)
    if not len(out):
        return out.reshape(nz, ny, nx)
    first = np.asarray(grid.first_xyz_mm)
    place = (shape.centres_xyz_mm - first) / grid.spacing_mm
    cells = np.ceil((shape.radius_mm + reach_mm) / grid.spacing_mm).astype(int)
    for size in np.unique(cells):
        chosen_balls = cells == size
        centre = torch.as_tensor(place[chosen_balls], dtype=torch.float32, device=device)
        radius = torch.as_tensor(shape.radius_mm[chosen_balls], dtype=torch.float32, device=device)
        _splat(out, centre, radius, size=int(size), grid=grid, flat=shape.flat)
    return out.reshape(nz, ny, nx)


BALLS_AT_ONCE = 2_000_000
"""Voxels written in one step: bounds the memory of it."""


def _splat(out: Tensor, centre: Tensor, radius: Tensor, *, size: int, grid: Grid, flat: float) -> None:
    nz, ny, nx = grid.shape_zyx
    span = torch.arange(-size, size + 1, device=out.device)
    dz, dy, dx = (o.flatten() for o in torch.meshgrid(span, span, span, indexing="ij"))
    for c, r in zip(
        centre.split(max(1, BALLS_AT_ONCE // dz.numel())), radius.split(max(1, BALLS_AT_ONCE // dz.numel())),
        strict=True,
    ):  # fmt: skip
        middle = c.round().long()
        x, y, z = (middle[:, axis, None] + offset for axis, offset in enumerate((dx, dy, dz)))
        away = (
            (x - c[:, 0, None]) ** 2 + ((y - c[:, 1, None]) / flat) ** 2 + (z - c[:, 2, None]) ** 2
        ).sqrt() * grid.spacing_mm - r[:, None]
        held = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & (z >= 0) & (z < nz)
        index = ((z * ny + y) * nx + x)[held]
        out.scatter_reduce_(0, index, away[held] * min(1.0, flat), "amin")


def ellipsoid_distance(
    grid: Grid,
    *,
    centre_xyz_mm: Sequence[float],
    radius_xyz_mm: Sequence[float],
    turn: Float[np.ndarray, "3 3"] | None = None,
) -> Distance:
    """Return about the signed distance to an ellipsoid; ``turn`` takes the patient's axes to its own."""
    x, y, z = turned(grid, centre_xyz_mm=centre_xyz_mm, turn=turn)
    rx, ry, rz = radius_xyz_mm
    away = ((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2).sqrt()
    slope = ((x / rx**2) ** 2 + (y / ry**2) ** 2 + (z / rz**2) ** 2).sqrt() / away.clamp(min=1e-3)
    return (away - 1) / slope.clamp(min=1e-3)


def turned(
    grid: Grid, *, centre_xyz_mm: Sequence[float], turn: Float[np.ndarray, "3 3"] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (x, y, z) of the voxels in a frame about a centre, turned if wanted."""
    x, y, z = (a - c for a, c in zip((grid.x, grid.y, grid.z), centre_xyz_mm, strict=True))
    if turn is None:
        return x, y, z
    a, b, c = (float(row[0]) * x + float(row[1]) * y + float(row[2]) * z for row in turn)
    return a, b, c


def ellipsoid_window(
    grid: Grid, *, centre_xyz_mm: Sequence[float], radius_xyz_mm: Sequence[float], turned: bool = False
) -> Window:
    """Return the window that holds an ellipsoid, turned in any way if ``turned``."""
    radius = [max(radius_xyz_mm)] * 3 if turned else list(radius_xyz_mm)
    low = [c - r for c, r in zip(centre_xyz_mm, radius, strict=True)]
    high = [c + r for c, r in zip(centre_xyz_mm, radius, strict=True)]
    return grid.window(low, high)


def blended(a: Tensor, b: Tensor, *, radius_mm: float) -> Tensor:
    """Return the union of two shapes with the crease rounded (polynomial smooth minimum, Quilez)."""
    h = (radius_mm - (a - b).abs()).clamp(min=0) / radius_mm
    return torch.minimum(a, b) - h * h * radius_mm / 4
