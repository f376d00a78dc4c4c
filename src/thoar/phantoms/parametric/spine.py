"""The spine: vertebrae with their arches and processes, discs, canal and cord."""

from dataclasses import dataclass

import torch
from torch import Tensor

from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.shapes import Block, Distance, Grid

SHELL_MM = 1.6
"""Thickness of the compact bone of arches and processes."""
SAC_MM = 6.25
"""Half the sac's depth: 15 by 12.5 mm is what TotalSegmentator calls spinal cord."""
VERTEBRAE_MM = (
    352.0, 335.0, 318.0, 301.0, 283.0, 266.0, 248.0, 229.0, 208.0, 187.0, 164.0, 140.0, 115.0, 90.0, 63.0,
    35.0, 6.0, -24.0, -55.0,
)  # fmt: skip
"""Heights of the bodies' middles, from the fifth of the neck down to the third of the loin."""


def carve_spine(block: Block, build: Build) -> None:
    """Carve the vertebrae with their arches and processes, the discs, the canal, and in it sac and cord."""
    z = block.grid.z.flatten()
    front, left = spine_front_mm(build, z), spine_left_mm(build, z)
    low = (float(left.min()) - 46, float(front.min()) - 8, -1e3)
    window = block.grid.window(low, (float(left.max()) + 46, float(front.max()) + 92, 1e3))
    own = _spine_frame(block.grid.part(window), build)
    bone, body, disc = _vertebra(own)
    canal = torch.hypot(own.x / 1.18, own.y - own.canal) - 7.6
    block.carve(bone < 0, "cortical_bone", window=window)
    block.carve(bone + SHELL_MM < 0, "marrow", window=window)
    block.carve(body < 0, "cortical_bone", window=window)
    block.carve(torch.maximum(body + 1.2, disc - 1.2) < 0, "marrow", window=window)
    block.carve((body - 0.5 < 0) & (disc > 0), "disc", window=window)
    block.carve(canal < 0, "spinal_canal", window=window)
    block.carve(torch.hypot(own.x / 1.18, own.y - own.canal) < SAC_MM, "dural_sac", window=window)
    block.carve(torch.hypot(own.x / 1.3, own.y - own.canal) < 4.0, "spinal_cord", window=window)  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpineFrame:
    """Places as seen from the nearest vertebra: x from its middle, y behind its front, z above its middle."""

    x: Tensor
    y: Tensor
    z: Tensor
    half_x: Tensor
    half_y: Tensor
    half_z: Tensor
    canal: Tensor
    level: Tensor


def _spine_frame(grid: Grid, build: Build) -> SpineFrame:
    """Return the vertebrae's own places; their plates stand square to the spine's curve."""
    front = spine_front_mm(build, grid.z)
    x, y = grid.x - spine_left_mm(build, grid.z), grid.y - front
    steep = (spine_front_mm(build, grid.z + 1.0) - spine_front_mm(build, grid.z - 1.0)) / 2
    level = grid.z + steep * (y - 14.0)
    middles = torch.tensor(VERTEBRAE_MM, device=x.device)
    edges = torch.flip((middles[1:] + middles[:-1]) / 2, (0,))
    nearest = torch.bucketize(level.contiguous(), edges)
    middle = torch.flip(middles, (0,))[nearest]
    pitch = torch.flip(torch.cat([middles[:1] + 17, edges.flip(0)]) - middles, (0,))[nearest] * 2
    down = ((283.0 - level) / 250.0).clamp(-0.2, 1.15)
    half_y = 8.5 + 6.5 * down
    return SpineFrame(
        x=x, y=y, z=level - middle, half_x=13.5 + 6.5 * down.clamp(min=0) ** 1.5,
        half_y=half_y, half_z=pitch / 2, canal=2 * half_y + 7.5, level=level,
    )  # fmt: skip


def _vertebra(own: SpineFrame) -> tuple[Distance, Distance, Tensor]:
    """Return distances to the arch with its processes, to the column of bodies, and into the discs."""
    tall = own.half_z
    disc = own.z.abs() - (tall - 2.4)
    waist = 1 - 0.1 * (1 - (own.z / tall) ** 2)
    away = (
        (own.x / (own.half_x * waist)).abs() ** 2.4
        + ((own.y - own.half_y) / (own.half_y * waist)).abs() ** 2.4
    ) ** (1 / 2.4)
    body = (away - 1) * own.half_y
    behind = own.y - own.canal
    side = own.x.abs()
    ring = (
        (torch.hypot(own.x / 1.12, behind) - 14.0).maximum(own.z.abs() - 0.72 * tall).maximum(-2.0 - behind)
    )
    pedicle = ((side - 13.5).abs() - 4.0).maximum((own.z - 0.3 * tall).abs() - 0.42 * tall)
    pedicle = pedicle.maximum((behind + 5).abs() - 8.0)
    out = side - 12.0
    wing = torch.hypot(behind - 3.0 - 0.45 * out, own.z - 3.0) - 4.8
    wing = wing.maximum(side - (36.0 - 13.0 * ((250.0 - own.level) / 220.0).clamp(0, 1))).maximum(8.0 - side)
    slope = 0.45 + 0.75 * torch.exp(-(((own.level - 175.0) / 55.0) ** 2))
    thorn = torch.hypot(side * 2.2, own.z + 2.0 + slope * (behind - 10.0)) - 0.5 * tall - 1.0
    thorn = (thorn * 0.7).maximum(behind - 42.0).maximum(9.0 - behind)
    return torch.stack([ring, pedicle, wing, thorn]).amin(dim=0), body, disc
