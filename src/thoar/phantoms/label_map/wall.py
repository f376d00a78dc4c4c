"""The trunk's wall and outline around a label map: muscle on the bones, fat, breasts, skin."""

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from thoar.phantoms.label_map.ready import STEP_MM, ReadyLabelMap, Space
from thoar.phantoms.structures import IDS

PLANE_MM = 1.6
"""Thickness of the fat between two sheets of muscle."""
SKIN_MM = 2.2
FAT_FROM = 1.3
"""Muscle holds streaks of fat where smooth chance exceeds this."""
BREAST_SPREAD_MM = 34.0


class Wall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies on the bones.

    Attributes:
        muscle_mm: on ribs and shoulder bones.
        sheet_mm: between the ribs and around the belly.
        base_mm: least distance from the trunk's hull of labels to the skin.
        fat_mm: added to it where fat is thickest.
        fat_front: share of fat in front, against the sides, 0 to 1.
        breast_mm: how far the breasts stand out; 0 for none.
        gland: share of gland in them.
        marbled: how much fat the muscles hold.
    """

    muscle_mm: float
    sheet_mm: float
    base_mm: float
    fat_mm: float
    fat_front: float
    breast_mm: float
    gland: float
    marbled: float


def draw_wall(rng: np.random.Generator) -> Wall:
    """Draw a build: muscles, fat and breasts."""
    fat = float(rng.choice((rng.uniform(1, 12), rng.uniform(10, 34)), p=(0.6, 0.4)))
    female = bool(rng.random() < 0.45)  # noqa: PLR2004 (a share)
    return Wall(
        muscle_mm=float(rng.uniform(7, 17) - 3 * female),
        sheet_mm=float(rng.uniform(7, 13)),
        base_mm=float(rng.uniform(4, 9)),
        fat_mm=fat,
        fat_front=float(rng.uniform(0.5, 1)),
        breast_mm=float(rng.uniform(8, 18) + 0.5 * fat) if female else 0.0,
        gland=float(rng.uniform(0, 1)),
        marbled=float(rng.uniform(0, 1)),
    )


def build_wall(
    structure: UInt8[Tensor, "z y x"],
    ready: ReadyLabelMap,
    wall: Wall,
    *,
    chance: Float[Tensor, "z y x"],
    coarse: Float[Tensor, "z y x"],
) -> None:
    """Fill the space between the organs' hull and the skin.

    Args:
        structure: changed in place where no label is.
        ready: the label map.
        wall: the build.
        chance: smooth noise of muscles' grain.
        coarse: smooth noise of the outline's.
    """
    free = structure == 0
    outside = ready.beyond_hull.float().mul_(STEP_MM)
    breast = _breasts(ready, wall)
    thickness = (
        wall.base_mm + wall.fat_mm * _where_fat_is(ready, wall) + breast + coarse * (0.6 + 0.08 * wall.fat_mm)
    )
    left = thickness - outside
    structure.masked_fill_(free & (left > 0), IDS["subcutaneous_fat"])
    inside = free & (left > SKIN_MM)
    muscle, plane = _muscle(ready, wall, chance)
    structure.masked_fill_(inside & muscle, IDS["muscle"])
    between = plane | (muscle & (chance > FAT_FROM + 2 - 2 * wall.marbled)) | (~muscle & (outside == 0))
    structure.masked_fill_(inside & between, IDS["intermuscular_fat"])
    if wall.breast_mm > 0:
        gland = (
            (breast > (0.35 + 0.15 * chance) * wall.breast_mm)
            & (left > 2.5 * SKIN_MM)
            & ~muscle
            & (outside > 0)
        )
        gland &= chance > 1.2 - 1.8 * wall.gland
        structure.masked_fill_(inside & gland, IDS["breast_gland"])
    structure.masked_fill_(free & (left > 0) & (left <= SKIN_MM), IDS["skin"])


def _muscle(ready: ReadyLabelMap, wall: Wall, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the muscles on bones, between ribs and around the belly, and the fat planes between sheets."""
    levels = ready.structure.shape[0]
    up = torch.linspace(0, 1, levels, device=chance.device)[:, None, None]
    on_bone = wall.muscle_mm * (0.85 + 0.6 * up**2)
    bones = ready.beyond_bones.float().mul_(STEP_MM)
    organs = ready.beyond_organs.float().mul_(STEP_MM).add_(chance)
    muscle = (bones + 2.0 * chance < on_bone) | ((organs > 1) & (organs < wall.sheet_mm))
    first = 0.45 * on_bone
    ripple = bones + 0.8 * chance
    plane = muscle & (ripple > first) & (ripple < first + PLANE_MM) & (organs > wall.sheet_mm)
    return muscle, plane


def _where_fat_is(ready: ReadyLabelMap, wall: Wall) -> Float[Tensor, "z y x"]:
    """Return how thick the fat is by direction, about 0 to 1: less behind and towards the neck."""
    levels, height, width = ready.structure.shape
    device = ready.structure.device
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)[None, :]
    front = wall.fat_front * (-y).clamp(min=0) + 0.5 * y.clamp(min=0)
    around = (front + 0.8 * x.abs() + 0.15).clamp(0, 1)
    up = torch.linspace(1.0, 0.45, levels, device=device)[:, None, None]
    return up * around


def _breasts(ready: ReadyLabelMap, wall: Wall) -> Float[Tensor, "z y x"]:
    """Return how far the breasts push the skin out: two mounds in front at the heart's middle."""
    levels, height, width = ready.structure.shape
    device = ready.structure.device
    if wall.breast_mm == 0 or not bool(ready.heart.any()):
        return torch.zeros((1, 1, 1), device=device)
    held = ready.structure > 0
    sides = held.any(dim=0).any(dim=0).nonzero()[:, 0].float()
    front = held.any(dim=0).any(dim=1).nonzero()[:, 0].float()
    middle = ready.heart.any(dim=2).any(dim=1).nonzero()[:, 0].float().mean()
    spread = BREAST_SPREAD_MM / ready.spacing_zyx_mm[0]
    z, y, x = (torch.arange(n, device=device).float() for n in (levels, height, width))
    half = 0.3 * (sides[-1] - sides[0])
    centre = (sides[-1] + sides[0]) / 2
    across = torch.exp(-0.5 * (((x - centre).abs() - half) / spread) ** 2)
    along = torch.exp(-0.5 * ((z - middle) / spread) ** 2)
    towards = torch.sigmoid((front[0] + 0.35 * (front[-1] - front[0]) - y) / 4)
    return wall.breast_mm * along[:, None, None] * towards[None, :, None] * across[None, None, :]


def in_space(ready: ReadyLabelMap, space: Space) -> Bool[Tensor, "z y x"]:
    """Return which unlabelled voxels belong to a space."""
    return ready.space == int(space)
