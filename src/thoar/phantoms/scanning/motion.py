"""Motion while the scanner turns: the beating heart in two places at once, the breathing diaphragm too."""

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from thoar.phantoms.smooth import blurred

REACH_MM = 40.0
"""So far above and below the heart's lower face breathing is seen."""
SEEN = 0.5


class Motion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much moves.

    Attributes:
        heart: by which share of its size the heart swells and shrinks about its middle.
        beat_mm: distance along z from one beat to the next.
        phase: of the beat at the lowest slice.
        breath_mm: amplitude of the diaphragm's way.
    """

    heart: float
    beat_mm: float
    phase: float
    breath_mm: float


def draw_motion(rng: np.random.Generator) -> Motion:
    """Draw the motion of a scan that no heartbeat gates and that a breath may spoil."""
    beats, breathes = rng.random(2) < (0.6, 0.3)
    return Motion(
        heart=float(rng.uniform(0.01, 0.07)) if beats else 0.0,
        beat_mm=float(rng.uniform(8, 60)),
        phase=float(rng.uniform(0, 1)),
        breath_mm=float(rng.uniform(1, 8)) if breathes else 0.0,
    )


def breathing(
    heart: Float[Tensor, "z y x"], motion: Motion, *, step_mm: float
) -> Float[Tensor, "z z"] | None:
    """Return the matrix along z that shows the diaphragm's surroundings in two places, or None."""
    held = (heart.amax(dim=(1, 2)) > SEEN).nonzero()[:, 0]
    if motion.breath_mm == 0 or len(held) == 0:
        return None
    levels = heart.shape[0]
    at = torch.arange(levels, dtype=torch.float32, device=heart.device)
    near = torch.exp(-(((at - held[0]) * step_mm / REACH_MM) ** 2))
    way = near * (motion.breath_mm / step_mm)
    return (_shifted(at, way) + _shifted(at, -way)) / 2


def _shifted(at: Tensor, way: Tensor) -> Tensor:
    """Return the matrix that looks up each level so far away."""
    place = (at + way).clamp(0, len(at) - 1)
    return (1 - (place[:, None] - at[None, :]).abs()).clamp(min=0)


def with_heartbeat(
    hu: Float[Tensor, "z y x"],
    heart: Float[Tensor, "z y x"],
    motion: Motion,
    *,
    spacing_zyx_mm: tuple[float, float, float],
) -> Float[Tensor, "z y x"]:
    """Return slices in which the heart is seen at two sizes at once, as one turn sees it."""
    held = (heart.amax(dim=(1, 2)) > SEEN).nonzero()[:, 0]
    if motion.heart == 0 or len(held) == 0:
        return hu
    part = slice(int(held[0]), int(held[-1]) + 1)
    dz, dy, dx = spacing_zyx_mm
    near = (blurred(heart[part], (0.0, 7 / dy, 7 / dx)) * 2.5).clamp(max=1)
    levels = torch.arange(part.start, part.stop, device=hu.device)
    swing = torch.sin(2 * torch.pi * (levels * dz / motion.beat_mm + motion.phase))
    middle = _middle(heart[part])
    large = _resized(hu[part], 1 + motion.heart * (0.3 + swing), middle)
    small = _resized(hu[part], 1 - motion.heart * (0.3 - swing), middle)
    out = hu.clone()
    out[part] += near * ((large + small) / 2 - hu[part])
    return out


def _middle(heart: Tensor) -> tuple[float, float]:
    """Return the heart's middle in the slice, (x, y), as shares of the way to the edges."""
    _, height, width = heart.shape
    at_y = torch.linspace(-1, 1, height, device=heart.device)
    at_x = torch.linspace(-1, 1, width, device=heart.device)
    total = heart.sum()
    return float((heart.sum((0, 1)) * at_x).sum() / total), float((heart.sum((0, 2)) * at_y).sum() / total)


def _resized(slices: Tensor, scale: Tensor, middle: tuple[float, float]) -> Tensor:
    """Return each slice scaled about a point."""
    look = torch.zeros((len(slices), 2, 3), device=slices.device)
    for axis in (0, 1):
        look[:, axis, axis] = 1 / scale
        look[:, axis, 2] = middle[axis] * (1 - 1 / scale)
    grid = affine_grid(look, [len(slices), 1, *slices.shape[1:]], align_corners=True)
    return grid_sample(slices[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
