"""Smoothing and smooth chance on regular grids."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage
from torch import Tensor


def blurred(voxels: Float[Tensor, "z y x"], sigma_zyx: tuple[float, float, float]) -> Float[Tensor, "z y x"]:
    """Return the voxels under a Gaussian of so many voxels' width per axis, edges repeated."""
    for axis, sigma in enumerate(sigma_zyx):
        if sigma > 0.05:  # noqa: PLR2004 (a narrower one weighs the neighbours by less than 1e-9)
            voxels = filtered(voxels, _gaussian(sigma), axis)
    return voxels


def filtered(voxels: Float[Tensor, "z y x"], weights: list[float], axis: int) -> Float[Tensor, "z y x"]:
    """Return the voxels under a filter of odd length along one axis, edges repeated."""
    radius, size = len(weights) // 2, voxels.shape[axis]
    first = voxels.narrow(axis, 0, 1)
    last = voxels.narrow(axis, size - 1, 1)
    padded = torch.cat([first] * radius + [voxels] + [last] * radius, dim=axis)
    out = weights[0] * padded.narrow(axis, 0, size)
    for offset, weight in enumerate(weights[1:], start=1):
        out.add_(padded.narrow(axis, offset, size), alpha=weight)
    return out


def widely_blurred(
    voxels: Float[Tensor, "*batch z y x"], sigma_zyx: Sequence[float]
) -> Float[Tensor, "*batch z y x"]:
    """Return a small grid under a Gaussian that may be as wide as the grid; what is beyond has no weight.

    One dense matrix per axis: for lattices of at most a few hundred cells an axis.
    """
    z, y, x = (
        _gaussian_matrix(n, sigma, voxels.device)
        for n, sigma in zip(voxels.shape[-3:], sigma_zyx, strict=True)
    )
    return (z @ (y @ voxels @ x.T).flatten(-2)).reshape(voxels.shape)


def soft_noise(
    rng: np.random.Generator,
    cells: tuple[int, ...],
    *,
    sigma_zyx: Sequence[float],
    device: torch.device | str = "cpu",
) -> Float[Tensor, "..."]:
    """Return smooth Gaussian chance of mean square one on a small grid (the last three axes).

    The chance is numpy's, so that it is the same on every device.
    """
    noise = torch.from_numpy(rng.standard_normal(cells, dtype=np.float32)).to(device)
    smooth = widely_blurred(noise, sigma_zyx)
    return smooth / smooth.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt().clamp(min=1e-6)


def unit_noise(
    rng: np.random.Generator, cells: tuple[int, ...], *, sigma: float | tuple[float, ...]
) -> Float32[np.ndarray, "..."]:
    """Return smooth Gaussian chance of mean square one, correlated over ``sigma`` voxels.

    Meant for coarse lattices and profiles, where the filter may be as wide as the grid.
    """
    noise = rng.standard_normal(cells, dtype=np.float32)
    smooth = np.asarray(ndimage.gaussian_filter(noise, sigma, mode="reflect"))
    return (smooth / max(float(np.sqrt(np.mean(smooth**2))), 1e-6)).astype(np.float32)


def _gaussian(sigma: float) -> list[float]:
    radius = max(1, math.ceil(2.5 * sigma))
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return [w / sum(weights) for w in weights]


def _gaussian_matrix(size: int, sigma: float, device: torch.device) -> Tensor:
    at = torch.arange(size, dtype=torch.float32, device=device)
    weights = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / max(sigma, 1e-3)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)
