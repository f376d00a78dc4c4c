"""What goes wrong along rays: beams harden, photons run out at the shoulders, metal hides what is behind it.

Each error is made on the rays and reconstructed, so that it lies in the picture as a scanner would put it:
dark bands between dense things, streaks along the longest ways, stars round metal.
"""

import math

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.phantoms.scanning.rays import Rays, mean_along, projected, ramped, rays_over, reconstructed

HARDENING_MM, METAL_MM = 8.0, 3.0
"""Pixels on which hardening, and streaks from metal, are reconstructed."""
HARDENING_ANGLES, METAL_ANGLES = 48, 90
FAN_DEG = (-16.0, -10.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 16.0)
"""Directions, about the horizontal, in which photons run out."""
STARVED_M, SPENT_M = 0.22, 0.45
"""Metres of water beyond which they begin to, and after which ``starved_hu`` counts."""
DENSE_HU, THROWS_HU = 600.0, 1300.0
"""What lies above the first adds to streaks, in slices that hold any of the second."""
BONE_HU = 180.0
STREAK_GAIN = 3.1
"""Makes streaks of unit strength of ramped chance that neighbouring rays share (found by trial)."""
METAL_LOSS = 5e4
"""Of a ray through metal, in Hounsfield units times millimetres, of which ``metal`` is missed."""


class Streaks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Errors along rays.

    Attributes:
        cupping_hu: by which the middle of 30 cm of water is too dark.
        banding_hu: the dark band between two dense things that rays of 3 cm of bone each join.
        starved_hu: standard deviation of streaks where rays have passed 45 cm of water.
        metal: share of the loss in metal that the scanner misses.
        metal_noise: the noise of rays through metal, relative to the loss they miss.
    """

    cupping_hu: float
    banding_hu: float
    starved_hu: float
    metal: float
    metal_noise: float


def draw_streaks(rng: np.random.Generator) -> Streaks:
    """Draw how well a scanner corrects."""
    starves = bool(rng.random() < 0.6)  # noqa: PLR2004 (a share)
    return Streaks(
        cupping_hu=float(rng.normal(0, 8)),
        banding_hu=float(rng.exponential(12)),
        starved_hu=float(rng.uniform(8, 80)) if starves else 0.0,
        metal=float(rng.uniform(0.15, 0.7)),
        metal_noise=float(rng.uniform(0.1, 0.6)),
    )


def hardening(
    hu: Float[Tensor, "z y x"], streaks: Streaks, *, spacing_yx_mm: tuple[float, float]
) -> Float[Tensor, "z y x"]:
    """Return what beam hardening adds: the square of the loss is missing on every ray."""
    coarse, rays = _coarse(hu, spacing_yx_mm, pixel_mm=HARDENING_MM, angles=HARDENING_ANGLES)
    water = projected((coarse + 1000).clamp(min=0), rays)
    bone = projected((coarse - BONE_HU).clamp(min=0), rays)
    # a cylinder of radius R: the error b L^2 gives 8 b R / pi too little in its middle
    cupped = streaks.cupping_hu * math.pi / (8 * 150 * 1000**2)
    banded = streaks.banding_hu * 3.2e-7
    error = reconstructed(-cupped * water.square() - banded * bone.square(), rays)
    return _widened(error, hu, pixel_mm=HARDENING_MM, spacing_yx_mm=spacing_yx_mm)


def with_starvation(
    hu: Float[Tensor, "z y x"],
    streaks: Streaks,
    *,
    spacing_yx_mm: tuple[float, float],
    chance: torch.Generator,
) -> Float[Tensor, "z y x"]:
    """Return slices with streaks along nearly horizontal rays that have passed much."""
    if streaks.starved_hu == 0:
        return hu
    shape = (hu.shape[1], hu.shape[2])
    rays = rays_over(shape, spacing_yx_mm, angles_deg=[90 + a for a in FAN_DEG], device=hu.device)
    water_m = projected((hu + 1000).clamp(min=0).flatten(1).T.contiguous(), rays) / 1e6
    weight = ((water_m - STARVED_M) / (SPENT_M - STARVED_M)).clamp(min=0).square()
    held = weight.amax(dim=(0, 1)) > 0.02  # noqa: PLR2004 (streaks that nobody sees)
    if not held.any():
        return hu
    weight = weight[:, :, held].clamp(max=4)
    white = torch.randn(
        (len(weight), weight.shape[1] + 2, weight.shape[2]), generator=chance, device=hu.device
    )
    soft = white[:, :-2] + 2 * white[:, 1:-1] + white[:, 2:]
    unit = math.sqrt(len(FAN_DEG)) * STREAK_GAIN
    lines = ramped(soft * weight, step_mm=1.0) * (unit * streaks.starved_hu)
    out = hu.clone()
    out[held] += mean_along(lines, rays).T.unflatten(1, shape)
    return out


def with_metal(
    hu: Float[Tensor, "z y x"],
    streaks: Streaks,
    *,
    spacing_yx_mm: tuple[float, float],
    chance: torch.Generator,
) -> Float[Tensor, "z y x"]:
    """Return slices with the stars round metal and dense contrast."""
    held = hu.amax(dim=(1, 2)) > THROWS_HU
    if not held.any():
        return hu
    part = hu[held]
    coarse, rays = _coarse(
        (part - DENSE_HU).clamp(min=0), spacing_yx_mm, pixel_mm=METAL_MM, angles=METAL_ANGLES
    )
    loss = projected(coarse, rays)
    white = torch.randn(loss.shape, generator=chance, device=hu.device)
    root = (loss * METAL_LOSS).sqrt()
    spent = root * loss / (loss + 0.1 * METAL_LOSS)
    missed = streaks.metal * loss * root / METAL_LOSS + 0.4 * streaks.metal_noise * spent * white
    error = reconstructed(-missed, rays)
    starred = part + _widened(error, part, pixel_mm=METAL_MM, spacing_yx_mm=spacing_yx_mm)
    out = hu.clone()
    out[held] = torch.where(part > THROWS_HU, torch.maximum(starred, 0.7 * part), starred)
    return out


def _coarse(
    hu: Tensor, spacing_yx_mm: tuple[float, float], *, pixel_mm: float, angles: int
) -> tuple[Tensor, Rays]:
    """Return slices on larger pixels, as columns, and rays over them."""
    size = _coarse_size(hu, spacing_yx_mm, pixel_mm)
    step = [n * s / m for n, s, m in zip(hu.shape[1:], spacing_yx_mm, size, strict=True)]
    coarse = interpolate(hu[None], size=size, mode="area")[0].flatten(1).T.contiguous()
    turn = (np.arange(angles) * 180 / angles).tolist()
    return coarse, rays_over(size, (step[0], step[1]), angles_deg=turn, device=hu.device)


def _widened(
    error: Tensor, hu: Tensor, *, pixel_mm: float, spacing_yx_mm: tuple[float, float]
) -> Float[Tensor, "z y x"]:
    """Return columns of large pixels as slices on the grid of ``hu``."""
    size = _coarse_size(hu, spacing_yx_mm, pixel_mm)
    return interpolate(error.T.unflatten(1, size)[None], size=hu.shape[1:], mode="bilinear")[0]


def _coarse_size(hu: Tensor, spacing_yx_mm: tuple[float, float], pixel_mm: float) -> tuple[int, int]:
    y, x = (max(2, round(n * s / max(s, pixel_mm))) for n, s in zip(hu.shape[1:], spacing_yx_mm, strict=True))
    return y, x
