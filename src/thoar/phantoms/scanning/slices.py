"""Slices of another thickness and distance than the grid's, as matrices along z."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Matrix = Float[Tensor, "out in"]


def slice_places(levels: int, *, step: float, start: float, device: torch.device) -> Float[Tensor, " slice"]:
    """Return where, in levels of the grid, the middles of slices ``step`` levels apart lie.

    Slices no farther apart than levels are taken at the levels themselves.
    """
    if step <= 1:
        return torch.arange(levels, dtype=torch.float32, device=device)
    count = max(2, math.ceil((levels - 1) / step) + 1)
    return torch.arange(count, dtype=torch.float32, device=device) * step - start * step


def averaging(places: Float[Tensor, " slice"], levels: int, *, thickness: float) -> Matrix:
    """Return the matrix that averages levels over a slice's thickness; the ends repeat."""
    at = torch.arange(levels, dtype=torch.float32, device=places.device)
    half = max(thickness, 1.0) / 2
    middle = places.clamp(0, levels - 1)[:, None]
    high = torch.minimum(middle + half, at + 0.5)
    low = torch.maximum(middle - half, at - 0.5)
    weights = (high - low).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def interpolating(places: Float[Tensor, " slice"], levels: int) -> Matrix:
    """Return the matrix from slices back to levels, linear between neighbours."""
    at = torch.arange(levels, dtype=torch.float32, device=places.device)
    step = float(places[1] - places[0]) if len(places) > 1 else 1.0
    weights = (1 - (at[:, None] - places[None, :]).abs() / step).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)


def along_z(matrix: Matrix, voxels: Float[Tensor, "in y x"]) -> Float[Tensor, "out y x"]:
    """Return the voxels under a matrix along z."""
    return (matrix @ voxels.flatten(1)).unflatten(1, voxels.shape[1:])
