"""Columns: shapes that rise through the slices, such as the windpipe and the gullet."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.parametric.shapes import Distance, Grid, Window

Levels = Float[np.ndarray, " level"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One oval section per level, with a front and a back half of their own depth.

    Attributes:
        z_mm: levels, rising.
        x_mm, y_mm: the sections' middles.
        half_x_mm: half width.
        front_mm, back_mm: depth of the half in front of the middle, and of the one behind it.
    """

    z_mm: Levels
    x_mm: Levels
    y_mm: Levels
    half_x_mm: Levels
    front_mm: Levels
    back_mm: Levels

    def at(self, z_mm: float) -> tuple[float, float]:
        """Return the middle (x, y) at a height."""
        return float(np.interp(z_mm, self.z_mm, self.x_mm)), float(np.interp(z_mm, self.z_mm, self.y_mm))


def narrowed(column: Column, half_mm: float) -> Column:
    """Return a round column of one width along the same middle line."""
    half = np.full_like(column.z_mm, half_mm)
    return replace(column, half_x_mm=half, front_mm=half, back_mm=half)


def column_window(grid: Grid, column: Column, *, reach_mm: float) -> Window:
    """Return the window that holds a column and ``reach_mm`` around it."""
    wide = column.half_x_mm + reach_mm
    low = ((column.x_mm - wide).min(), (column.y_mm - column.front_mm).min() - reach_mm, column.z_mm[0])
    high = ((column.x_mm + wide).max(), (column.y_mm + column.back_mm).max() + reach_mm, column.z_mm[-1])
    return grid.window([float(v) for v in low], [float(v) for v in high])


def column_distance(grid: Grid, column: Column) -> Distance:
    """Return about the signed distance to a column, slice by slice."""
    x, y = grid.x - _level(grid, column, column.x_mm), grid.y - _level(grid, column, column.y_mm)
    half_x = _level(grid, column, column.half_x_mm)
    front, back = _level(grid, column, column.front_mm), _level(grid, column, column.back_mm)
    half_y = torch.where(y < 0, front, back)
    away = ((x / half_x) ** 2 + (y / half_y) ** 2).sqrt()
    slope = ((x / half_x**2) ** 2 + (y / half_y**2) ** 2).sqrt() / away.clamp(min=1e-3)
    inside = (away - 1) / slope.clamp(min=1e-3)
    ends = torch.maximum(float(column.z_mm[0]) - grid.z, grid.z - float(column.z_mm[-1]))
    return torch.maximum(inside, ends)


def _level(grid: Grid, column: Column, values: Levels) -> Tensor:
    at = grid.z.flatten().cpu().double().numpy()
    found = np.interp(at, column.z_mm, values)
    return torch.as_tensor(found, dtype=torch.float32, device=grid.z.device)[:, None, None]
