"""The rib cage as a surface, and smooth fields that are worked out coarsely and then refined."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.phantoms.parametric.build import APEX_MM, Build, cage_half_mm, spine_left_mm
from thoar.phantoms.parametric.shapes import Distance, Grid, Window

POWER, EGG = 2.1, 0.05
"""The cage's section is a superellipse of this power, wider at the back than in front by this share."""
COARSE = 3
"""A smooth field is worked out on every third voxel."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wall:
    """Signed distances to the trunk's surfaces, negative inside.

    Attributes:
        cage: the inside of the ribs, closed above the lungs' tops.
        girdle: the same without closing there: the chest wall under the shoulder blades.
        muscle: the outside of the muscles.
        skin: the outside of the body.
    """

    cage: Distance
    girdle: Distance
    muscle: Distance
    skin: Distance


def coarsened(grid: Grid) -> Grid:
    """Return the grid of every ``COARSE`` voxels' middles, reaching at least as far."""
    z, y, x = (_coarse_axis(axis.flatten(), grid.spacing_mm) for axis in (grid.z, grid.y, grid.x))
    return Grid(z=z[:, None, None], y=y[None, :, None], x=x[None, None], spacing_mm=COARSE * grid.spacing_mm)


def _coarse_axis(axis: Tensor, spacing_mm: float) -> Tensor:
    count = -(-axis.numel() // COARSE)
    return axis[0] + spacing_mm * (COARSE * torch.arange(count, device=axis.device) + (COARSE - 1) / 2)


def refined(field: Tensor, grid: Grid) -> Distance:
    """Return a field on the coarsened grid as one on the grid, between its values linearly."""
    fine = interpolate(field[None, None], scale_factor=COARSE, mode="trilinear", align_corners=False)[0, 0]
    nz, ny, nx = grid.shape_zyx
    return fine[:nz, :ny, :nx]


def smoothly(grid: Grid, field: Callable[[Grid], Tensor]) -> Distance:
    """Return a smooth field, worked out coarsely."""
    return refined(field(coarsened(grid)), grid)


def thinned(field: Tensor) -> Tensor:
    """Return a field's values on the coarsened grid."""
    for axis in range(3):
        count = -(-field.shape[axis] // COARSE)
        middles = torch.arange(count, device=field.device) * COARSE + COARSE // 2
        field = field.index_select(axis, middles.clamp(max=field.shape[axis] - 1))
    return field


def cage_window(grid: Grid, build: Build, *, low_mm: float, high_mm: float) -> Window:
    """Return the window that holds what lies inside the ribs between two heights."""
    x, y = build.cage_half_x_mm + build.scoliosis_mm, build.cage_half_y_mm
    return grid.window((-x, -y, low_mm), (x, 1.1 * y, high_mm))


def cage_distance(grid: Grid, build: Build) -> Distance:
    """Return the signed distance to the rib cage's inside."""
    closed = _unit_slope(_section(grid, build, z_mm=grid.z), spacing_mm=grid.spacing_mm)
    return torch.maximum(closed, grid.z - APEX_MM + 2.0)


def girdle_distance(grid: Grid, build: Build) -> Distance:
    """Return the signed distance to the cage as it would be if it closed later, under the shoulders."""
    open_section = _section(grid, build, z_mm=grid.z.clamp(max=205.0))
    return open_section + 0.014 * (grid.z - 230.0).clamp(min=0) ** 2


def around_deg(build: Build, x: Tensor, y: Tensor, *, z: Tensor) -> Tensor:
    """Return the angle about the cage's middle: 0 at the breast bone, 90 at either side, 180 at the back."""
    x, y = _across(build, x, y, z=z)
    return torch.rad2deg(torch.atan2(*torch.broadcast_tensors(x.abs(), -y)))


def places_of(grid: Grid, index: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y and z of voxels given by their numbers along z, y and x."""
    z, y, x = index
    return grid.x.flatten()[x], grid.y.flatten()[y], grid.z.flatten()[z]


def _across(build: Build, x: Tensor, y: Tensor, *, z: Tensor) -> tuple[Tensor, Tensor]:
    _, _, middle = cage_half_mm(build, z)
    return x - 0.5 * spine_left_mm(build, z), y - middle


def _section(grid: Grid, build: Build, *, z_mm: Tensor) -> Distance:
    half_x, half_y, _ = cage_half_mm(build, z_mm)
    x, y = _across(build, grid.x, grid.y, z=grid.z)
    half_x = half_x * (1 + EGG * (y / half_y.clamp(min=20.0)).clamp(-1.2, 1.2))
    away = ((x / half_x).abs() ** POWER + (y / half_y).abs() ** POWER) ** (1 / POWER)
    reach = torch.hypot(x, y) / away.clamp(min=1e-3)
    return (away - 1) * reach.clamp(max=200.0)


def _unit_slope(field: Tensor, *, spacing_mm: float) -> Distance:
    """Return a field divided by its slope, so that it grows by about one millimetre per millimetre."""
    slopes = torch.gradient(field, spacing=spacing_mm)
    slope = torch.stack(slopes).norm(dim=0)
    return field / slope.clamp(0.8, 4.0)
