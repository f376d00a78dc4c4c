"""Plausible chambers inside a heart that a label map shows as one piece.

Each chamber is a core line in the heart's own box and belongs to whatever lies nearest to it, measured in its
own radius; muscle is what lies near a chamber's border, fat what lies in the grooves at the surface.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from thoar.phantoms.structures import IDS

Place = tuple[float, float, float]

CHAMBERS: tuple[tuple[str, str, float, tuple[Place, ...]], ...] = (
    ("left_ventricle", "left_myocardium", 0.33, ((0.42, 0.60, 0.62), (0.20, 0.38, 0.84))),
    (
        "right_ventricle",
        "right_myocardium",
        0.25,
        ((0.24, 0.34, 0.32), (0.18, 0.14, 0.66), (0.55, 0.16, 0.52)),
    ),
    ("right_atrium", "atrial_wall", 0.25, ((0.25, 0.52, 0.13), (0.52, 0.52, 0.16))),
    ("left_atrium", "atrial_wall", 0.24, ((0.54, 0.86, 0.32), (0.54, 0.88, 0.60))),
    ("pulmonary_trunk", "pulmonary_trunk", 0.14, ((0.72, 0.24, 0.54), (0.88, 0.38, 0.60), (1.0, 0.7, 0.72))),
    ("pulmonary_trunk", "pulmonary_trunk", 0.13, ((0.88, 0.38, 0.60), (0.84, 0.62, 0.20))),
)
"""Chamber, its wall, radius in sizes of the heart, and the core line (z, y, x) in shares of its box: upwards,
from front to back, from right to left."""
LEFT_VENTRICLE, TRUNK = 0, 4
WHOLE_HEIGHT_MM = 115.0
"""A heart that is lower than this and touches the map's end is cut there."""
WALL_MM = (0.0, 3.0, 1.6, 1.6, 0.0, 0.0)
FAT_DEPTH_MM = 7.0
GROOVE_MM = 5.0
CORNER = 1.5
"""What lies so many radii from every chamber is fat."""


class Chambers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a heart is divided.

    Attributes:
        shift: moves each chamber's core line, in shares of the box, (chamber, zyx) flattened.
        gain: factor on each chamber's radius.
        left_wall_mm: thickness of the left ventricle's muscle.
        fat: how far fat fills the grooves, 0 to 1.
        trunk_from: share of the heart's height above which all is pulmonary trunk.
    """

    shift: tuple[float, ...]
    gain: tuple[float, ...]
    left_wall_mm: float
    fat: float
    trunk_from: float


def draw_chambers(rng: np.random.Generator) -> Chambers:
    """Draw a division of the heart."""
    return Chambers(
        shift=tuple(rng.normal(0, 0.025, 3 * len(CHAMBERS)).tolist()),
        gain=tuple(rng.uniform(0.88, 1.14, len(CHAMBERS)).tolist()),
        left_wall_mm=float(rng.uniform(7, 14)),
        fat=float(rng.uniform(0.1, 1)),
        trunk_from=float(rng.uniform(0.72, 0.8)),
    )


def divide_heart(
    structure: UInt8[Tensor, "z y x"],
    heart: Bool[Tensor, "z y x"],
    depth_mm: Float[Tensor, "z y x"],
    *,
    chambers: Chambers,
    spacing_mm: float,
) -> None:
    """Write chambers, walls and groove fat into the voxels of a heart.

    Args:
        structure: changed in place.
        heart: which voxels.
        depth_mm: below the heart's surface.
        chambers: how to divide it.
        spacing_mm: edge of the cubic voxels.
    """
    index = heart.nonzero()
    if len(index) == 0:
        return
    place, size_mm = _in_box(index.float() * spacing_mm, index, heart.shape[0])
    depth = depth_mm[heart] - spacing_mm / 2
    away = torch.stack([_away(place, size_mm, chambers, k) for k in range(len(CHAMBERS))])
    two, which = away.topk(2, dim=0, largest=False)
    names = torch.tensor([IDS[chamber] for chamber, *_ in CHAMBERS], device=index.device)
    walls = torch.tensor([IDS[wall] for _, wall, *_ in CHAMBERS], device=index.device)
    first = torch.where(place[:, 0] > chambers.trunk_from, TRUNK, which[0])
    radius = torch.tensor([share for *_, share, _ in CHAMBERS], device=index.device) * _size(size_mm)
    border_mm = (two[1] - two[0]) * radius[first] / 2
    border_mm = torch.where((which >= TRUNK).any(dim=0), torch.inf, border_mm)
    wall_mm = torch.tensor(WALL_MM, device=index.device)
    wall_mm[LEFT_VENTRICLE] = chambers.left_wall_mm
    wall = torch.minimum(border_mm, depth) < wall_mm[first]
    found = torch.where(wall, walls[first], names[first])
    fat_mm = FAT_DEPTH_MM * chambers.fat
    groove = (border_mm < GROOVE_MM * chambers.fat) | (two[0] > CORNER - 0.25 * chambers.fat)
    found = torch.where(groove & (depth < fat_mm) & (first < TRUNK), IDS["heart_fat"], found)
    structure[heart] = found.to(torch.uint8)


def _in_box(points_mm: Tensor, index: Tensor, levels: int) -> tuple[Tensor, list[float]]:
    """Return places in shares of the heart's box and the box's size, as if a cut heart were whole."""
    low, high = _ends(points_mm)
    if high[0] - low[0] < WHOLE_HEIGHT_MM:
        if int(index[:, 0].max()) == levels - 1:
            high[0] = low[0] + WHOLE_HEIGHT_MM
        elif int(index[:, 0].min()) == 0:
            low[0] = high[0] - WHOLE_HEIGHT_MM
    size = (high - low).clamp(min=1.0)
    return (points_mm - low) / size, size.tolist()


def _ends(points_mm: Tensor) -> tuple[Tensor, Tensor]:
    some = points_mm[:: max(1, len(points_mm) // 50_000)].sort(dim=0).values
    cut = len(some) // 100
    return some[cut].clone(), some[len(some) - 1 - cut].clone()


def _size(size_mm: Sequence[float]) -> float:
    return float(np.prod(size_mm) ** (1 / 3))


def _away(place: Tensor, size_mm: Sequence[float], chambers: Chambers, k: int) -> Float[Tensor, " n"]:
    """Return the distance to a chamber's core line in that chamber's radii."""
    line = np.array(CHAMBERS[k][3]) + np.array(chambers.shift[3 * k : 3 * k + 3])
    scale = torch.tensor(size_mm, device=place.device)
    knots = torch.tensor(line, dtype=torch.float32, device=place.device) * scale
    points = place * scale
    best = torch.full((len(place),), float("inf"), device=place.device)
    for a, b in pairwise(knots):
        along = (((points - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
        best = torch.minimum(best, (points - a - along[:, None] * (b - a)).norm(dim=1))
    return best / (CHAMBERS[k][2] * chambers.gain[k] * _size(size_mm))
