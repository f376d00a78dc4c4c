"""Noise as filtered back-projection leaves it.

Projections hold white noise, stronger where rays lost more; the ramp filter takes its low frequencies away,
the kernel its high ones. So the picture's noise has a power of ``f`` times the kernel's squared response
(Riederer, Pelc, Chesler, Phys. Med. Biol. 23 (1978) 446), and a strength that follows the rays through each
pixel.
"""

import math

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.phantoms.scanning.rays import mean_along, projected, rays_over

RAYS_MM = 10.0
"""Pixels on which the loss along rays is followed."""
ANGLES = 12


class Noise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Noise of one scanner's picture.

    Attributes:
        hu: standard deviation in the patient, at the median of its voxels.
        cutoff_per_mm: frequency in the slice at which the kernel's response has fallen to a third.
        rise_per_m: growth of the noise's logarithm with the metres of water that rays pass.
    """

    hu: float
    cutoff_per_mm: float
    rise_per_m: float


def draw_noise(rng: np.random.Generator, *, sharp: bool) -> Noise:
    """Draw the noise of a smooth or sharp kernel."""
    low, high = (8, 70) if sharp else (4, 40)
    return Noise(
        hu=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        cutoff_per_mm=float(rng.uniform(0.45, 0.9) if sharp else rng.uniform(0.2, 0.5)),
        rise_per_m=float(rng.uniform(2.0, 8.0)),
    )


def noise_in(
    hu: Float[Tensor, "z y x"], noise: Noise, *, spacing_yx_mm: tuple[float, float], chance: torch.Generator
) -> Float[Tensor, "z y x"]:
    """Return the noise in a patient's slices, independent from slice to slice."""
    strength = noise.hu * relative_strength(hu, rise_per_m=noise.rise_per_m, spacing_yx_mm=spacing_yx_mm)
    texture = grain(
        (hu.shape[0], hu.shape[1], hu.shape[2]),
        noise.cutoff_per_mm,
        spacing_yx_mm=spacing_yx_mm,
        chance=chance,
    )
    return texture * strength


def grain(
    shape_zyx: tuple[int, int, int],
    cutoff_per_mm: float,
    *,
    spacing_yx_mm: tuple[float, float],
    chance: torch.Generator,
) -> Float[Tensor, "z y x"]:
    """Return noise of unit standard deviation with a ramp-filtered spectrum in the slice."""
    z, y, x = shape_zyx
    device = chance.device
    fy = torch.fft.fftfreq(y, spacing_yx_mm[0], device=device)[:, None]
    fx = torch.fft.rfftfreq(x, spacing_yx_mm[1], device=device)[None, :]
    away = (fy.square() + fx.square()).sqrt()
    response = away.sqrt() * torch.exp(-((away / cutoff_per_mm) ** 2))
    twice = torch.full_like(fx, 2.0)
    twice[:, [0, -1] if x % 2 == 0 else [0]] = 1.0
    power = (twice * response.square()).sum() / (y * x)
    white = torch.randn((z, *response.shape), generator=chance, device=device, dtype=torch.complex64)
    return torch.fft.irfft2(white * (response * math.sqrt(y * x) / power.sqrt()), s=(y, x))


def relative_strength(
    hu: Float[Tensor, "z y x"], *, rise_per_m: float, spacing_yx_mm: tuple[float, float]
) -> Float[Tensor, "z y x"]:
    """Return the noise's relative strength: the mean over directions of what rays lost, 1 at the median."""
    factor = [max(1, round(RAYS_MM / s)) for s in spacing_yx_mm]
    size = [max(1, math.ceil(n / f)) for n, f in zip(hu.shape[1:], factor, strict=True)]
    coarse = interpolate((hu[None] + 1000).clamp(min=0) / 1000, size=size, mode="area")[0]
    step = [n * s / m for n, s, m in zip(hu.shape[1:], spacing_yx_mm, size, strict=True)]
    angles = np.arange(ANGLES) * 180 / ANGLES
    rays = rays_over((size[0], size[1]), (step[0], step[1]), angles_deg=angles.tolist(), device=hu.device)
    water_m = projected(coarse.flatten(1).T.contiguous(), rays) / 1000
    lost = mean_along(torch.exp((2 * rise_per_m * water_m).clamp(max=12)), rays).sqrt()
    inside = lost[(coarse > 0.5).flatten(1).T]  # noqa: PLR2004 (half of water)
    lost = lost / (inside.median() if inside.numel() else 1.0)
    strength = lost.T.unflatten(1, coarse.shape[1:]).clamp(0.2, 6)
    return interpolate(strength[None], size=hu.shape[1:], mode="bilinear")[0]
