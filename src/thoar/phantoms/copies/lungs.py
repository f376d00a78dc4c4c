"""What else a chest holds: how dense the lungs are, tumours, fluid around the lungs."""

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thoar.core.geometry import Vector3
from thoar.phantoms.smooth import blurred


class Tumour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lump of soft tissue in or beside a lung.

    Attributes:
        place: which of the lungs' voxels, in order, is its middle: 0 the first, 1 the last.
        radius_xyz_mm: half axes.
        hu: its value.
    """

    place: float
    radius_xyz_mm: Vector3
    hu: float


class Lungs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State of both lungs.

    Attributes:
        shift_hu: added everywhere.
        back_hu: added at the lungs' lowest (hindmost) part, fading to none in front.
        fluid_share: share of the lungs' depth, from the back, that is fluid; 0 for none.
        fluid_left: the side that holds the fluid.
        fluid_hu: value of the fluid.
        tumours: lumps.
    """

    shift_hu: float
    back_hu: float
    fluid_share: float
    fluid_left: bool
    fluid_hu: float
    tumours: tuple[Tumour, ...]


def draw_lungs(rng: np.random.Generator) -> Lungs:
    """Draw the lungs of a patient who is sent for a chest CT."""
    ill, wet = bool(rng.random() < 0.4), bool(rng.random() < 0.12)  # noqa: PLR2004 (shares)
    return Lungs(
        shift_hu=float(rng.uniform(-40, 110)),
        back_hu=float(rng.exponential(60)),
        fluid_share=float(rng.uniform(0.08, 0.35)) if wet else 0.0,
        fluid_left=bool(rng.random() < 0.5),  # noqa: PLR2004 (a share)
        fluid_hu=float(rng.uniform(0, 30)),
        tumours=tuple(_draw_tumour(rng) for _ in range(int(rng.integers(1, 4)) if ill else 0)),
    )


def breathe(
    hu: Float[Tensor, "z y x"],
    lung: Float[Tensor, "z y x"],
    lungs: Lungs,
    *,
    spacing_zyx_mm: Vector3,
) -> Float[Tensor, "z y x"]:
    """Return the patient with lungs in the state given; ``lung`` is the share of lung in each voxel."""
    inside = lung > 0.5  # noqa: PLR2004 (half a voxel)
    rows = inside.any(dim=2).any(dim=0).nonzero()[:, 0]
    if len(rows) == 0:
        return hu
    front, back = float(rows[0]), float(rows[-1]) + 1
    depth = ((torch.arange(hu.shape[1], device=hu.device) - front) / (back - front)).clamp(0, 1)
    hu = hu + lung * (lungs.shift_hu + lungs.back_hu * depth**3)[None, :, None]
    for tumour in lungs.tumours:
        hu = _with_tumour(hu, inside, tumour, spacing_zyx_mm)
    if lungs.fluid_share > 0:
        hu = _with_fluid(hu, lung, lungs, depth)
    return hu


def _draw_tumour(rng: np.random.Generator) -> Tumour:
    radius = np.exp(rng.uniform(np.log(5), np.log(32))) * rng.uniform(0.7, 1.3, 3)
    return Tumour(
        place=float(rng.random()),
        radius_xyz_mm=(float(radius[0]), float(radius[1]), float(radius[2])),
        hu=float(rng.uniform(15, 80)),
    )


def _with_tumour(hu: Tensor, inside: Tensor, tumour: Tumour, spacing_zyx_mm: Vector3) -> Tensor:
    """Fill an ellipsoid, as far as it lies in lung, with a soft edge."""
    voxels = inside.flatten().nonzero()[:, 0]
    middle = int(voxels[min(len(voxels) - 1, int(tumour.place * len(voxels)))])
    centre = np.unravel_index(middle, tuple(hu.shape))
    squares = [
        ((torch.arange(n, device=hu.device) - float(c)) * s / r) ** 2
        for n, c, s, r in zip(hu.shape, centre, spacing_zyx_mm, tumour.radius_xyz_mm[::-1], strict=True)
    ]
    away = (squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]).sqrt()
    share = ((1 - away) * (min(tumour.radius_xyz_mm) / 3) + 0.5).clamp(0, 1)
    return hu + share * inside * (tumour.hu - hu).clamp(min=0)


def _with_fluid(hu: Tensor, lung: Tensor, lungs: Lungs, depth: Tensor) -> Tensor:
    """Fill the hindmost part of one lung, with a level surface."""
    across = torch.arange(hu.shape[2], device=hu.device)
    middle = float((lung.sum(dim=(0, 1)) * across).sum() / lung.sum())
    side = (across > middle) if lungs.fluid_left else (across < middle)
    share = ((depth - (1 - lungs.fluid_share)) * 25 + 0.5).clamp(0, 1)[None, :, None] * side
    solid = blurred((lung > 0.3).float(), (0.3, 0.6, 0.6))  # noqa: PLR2004 (edges are filled too)
    return hu + share * solid * (lungs.fluid_hu - hu).clamp(min=0)
