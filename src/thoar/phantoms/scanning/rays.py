"""Parallel rays through slices: line integrals, their ramp filter, and back onto the slices.

Filtered back-projection in its plainest form (Kak and Slaney, Principles of Computerized Tomographic
Imaging, 1988, chapter 3). Slices are columns here: pixels first, slices last, so that a ray's place is the
same in all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rays:
    """Rays of several directions through one grid of pixels.

    Attributes:
        bins: per direction, the ray at or before each pixel's middle.
        shares: how far the pixel's middle lies towards the next ray.
        count: rays per direction.
        step_mm: distance between rays.
        pixel_mm2: area of a pixel.
    """

    bins: Int64[Tensor, "angle pixel"]
    shares: Float[Tensor, "angle pixel 1"]
    count: int
    step_mm: float
    pixel_mm2: float


def rays_over(
    shape_yx: tuple[int, int],
    spacing_yx_mm: tuple[float, float],
    *,
    angles_deg: Sequence[float],
    device: torch.device,
) -> Rays:
    """Return rays over a grid; a ray's angle is that of its normal: 0 runs along y, 90 along x."""
    (height, width), (dy, dx) = shape_yx, spacing_yx_mm
    step = max(dy, dx)
    y = (torch.arange(height, device=device) - (height - 1) / 2)[:, None] * dy
    x = (torch.arange(width, device=device) - (width - 1) / 2)[None, :] * dx
    count = 2 * math.ceil(math.hypot(height * dy, width * dx) / 2 / step) + 3
    turn = torch.deg2rad(torch.tensor(list(angles_deg), dtype=torch.float32, device=device))[:, None, None]
    place = ((x * turn.cos() + y * turn.sin()) / step + (count - 1) / 2).flatten(1)
    bins = place.floor()
    return Rays(
        bins=bins.long(),
        shares=(place - bins)[:, :, None],
        count=count,
        step_mm=step,
        pixel_mm2=dy * dx,
    )


def projected(pixels: Float[Tensor, "pixel slice"], rays: Rays) -> Float[Tensor, "angle ray slice"]:
    """Return line integrals, in the pixels' unit times millimetres."""
    out = pixels.new_zeros((len(rays.bins), rays.count, pixels.shape[1]))
    held = pixels.any(dim=1)
    pixels = pixels[held]
    for sums, bins, share in zip(out, rays.bins[:, held], rays.shares[:, held], strict=True):
        after = share * pixels
        sums.index_add_(0, bins, pixels - after).index_add_(0, bins + 1, after)
    return out * (rays.pixel_mm2 / rays.step_mm)


def mean_along(lines: Float[Tensor, "angle ray slice"], rays: Rays) -> Float[Tensor, "pixel slice"]:
    """Return, at every pixel, the mean over directions of what its rays hold."""
    total = lines.new_zeros((rays.bins.shape[1], lines.shape[2]))
    for line, bins, share in zip(lines, rays.bins, rays.shares, strict=True):
        steps = line[1:] - line[:-1]
        total += torch.addcmul(line[bins], share, steps[bins])
    return total / len(lines)


def ramped(lines: Float[Tensor, "angle ray slice"], *, step_mm: float) -> Float[Tensor, "angle ray slice"]:
    """Return the lines under the ramp filter, such that pi times :func:`mean_along` inverts a projection."""
    count = lines.shape[1]
    at = torch.arange(-(count - 1), count, device=lines.device)
    kernel = -(at % 2) / (torch.pi * at.abs().clamp(min=1)) ** 2
    kernel[count - 1] = 0.25
    size = 3 * count
    spectrum = torch.fft.rfft(lines, n=size, dim=1) * torch.fft.rfft(kernel, n=size)[None, :, None]
    return torch.fft.irfft(spectrum, n=size, dim=1)[:, count - 1 : 2 * count - 1] / step_mm


def reconstructed(lines: Float[Tensor, "angle ray slice"], rays: Rays) -> Float[Tensor, "pixel slice"]:
    """Return the picture that filtered back-projection makes of line integrals."""
    return torch.pi * mean_along(ramped(lines, step_mm=rays.step_mm), rays)
