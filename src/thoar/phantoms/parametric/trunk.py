"""The body's wall: skin, fat and muscles of trunk, neck, shoulders and arms; breasts."""

import numpy as np
import torch
from torch import Tensor

from thoar.core.random import rng_for
from thoar.phantoms.parametric.build import (
    APEX_MM,
    Build,
    cage_half_mm,
    spine_front_mm,
    spine_left_mm,
    sternum_back_mm,
)
from thoar.phantoms.parametric.cage import (
    Wall,
    around_deg,
    cage_distance,
    cage_window,
    coarsened,
    girdle_distance,
    refined,
    thinned,
)  # fmt: skip
from thoar.phantoms.parametric.shapes import (
    Block,
    Distance,
    Grid,
    Knots,
    Tube,
    blended,
    ellipsoid_distance,
    ellipsoid_window,
    joined,
    tube,
    tube_distance,
)  # fmt: skip

RIB_SHELL_MM = 9.0
"""Thickness of ribs and the muscle between them."""
SKIN_MM = 2.0
SHOULDER_UP_MM, SHOULDER_DOWN_MM = (128.0, -14.0, 288.0), (150.0, 4.0, 258.0)
"""Middle (x, y, z) of the left humerus's head with the arms up and down."""


def wall_of(grid: Grid, build: Build) -> Wall:
    """Return the surfaces of one body's wall on a grid."""
    coarse = coarsened(grid)
    girdle, angle = girdle_distance(coarse, build), around_deg(build, coarse.x, coarse.y, z=coarse.z)
    limbs = tube_distance(coarse, _limbs(build, coarse), reach_mm=40.0).clamp(max=200.0)
    muscle = blended(girdle - _muscle_mm(coarse, build, angle), _erector(coarse, build), radius_mm=14.0)
    muscle = blended(muscle, limbs + 0.5 * build.fat_mm, radius_mm=24.0)
    muscle = blended(muscle, _neck(coarse, build), radius_mm=26.0)
    fat = build.fat_mm * _fat_share(coarse, angle)
    armpit = _bump(coarse.z, 222, 62) * (0.5 + 1.4 * _bump(angle, 104, 42))
    hull = girdle - RIB_SHELL_MM - build.muscle_mm * (0.6 + armpit)
    skin = blended(muscle - 0.5 * fat - SKIN_MM, hull - fat - SKIN_MM, radius_mm=16.0)
    if build.sex == "female":
        skin = blended(skin, _breasts(coarse, build, inset_mm=0.0), radius_mm=22.0)
    fields = (cage_distance(coarse, build), girdle, muscle, skin)
    cage, girdle, muscle, skin = (refined(f, grid) for f in fields)
    return Wall(cage=cage, girdle=girdle, muscle=muscle, skin=skin)


def carve_trunk(block: Block, build: Build, wall: Wall, *, seed: int) -> None:
    """Carve the body: skin, the fat under it, muscles with planes of fat between them, breast glands.

    What lies inside the rib cage is fat until the organs come, and muscle beside the spine.
    """
    rng = rng_for(seed, "trunk")
    block.carve(wall.skin < 0, "skin")
    block.carve(wall.skin < -SKIN_MM, "subcutaneous_fat")
    if build.sex == "female":
        _carve_glands(block, build, wall, rng)
    block.carve(wall.muscle < 0, "muscle")
    block.carve(_fat_planes(block.grid, build, wall, rng), "intermuscular_fat")
    window = cage_window(block.grid, build, low_mm=-1e3, high_mm=APEX_MM)
    grid = block.grid.part(window)
    inside = wall.cage[window] < 0
    beside = (
        grid.y - spine_front_mm(build, grid.z) > 0.35 * (grid.x - spine_left_mm(build, grid.z)).abs() + 16.0
    )
    block.carve(inside, "mediastinal_fat", window=window)
    block.carve(inside & beside, "muscle", window=window)


def _bump(at: Tensor, middle: float, width: float) -> Tensor:
    return torch.exp(-(((at - middle) / width) ** 2))


def _muscle_mm(grid: Grid, build: Build, angle: Tensor) -> Tensor:
    """Return the thickness of rib cage and muscles: pectorals, latissimus and teres, those of the scapula."""
    raised = build.arms == "up"
    z, size = grid.z, build.muscle_mm
    pectoral = 1.0 * _bump(angle, 40, 26) * _bump(z, 205, 48)
    side = (2.7 if raised else 2.2) * _bump(angle, 114, 26) * _bump(z, 234, 60)
    scapular = 2.0 * _bump(angle, 142, 24) * _bump(z, 244, 52)
    latissimus = 0.75 * _bump(angle, 118, 34) * torch.sigmoid((215 - z) / 8) * (1 - _bump(z, 230, 60))
    belly = 0.55 * torch.sigmoid((70 - z) / 25)
    return RIB_SHELL_MM + 0.18 * size + size * (pectoral + side + scapular + latissimus + belly)


def _fat_share(grid: Grid, angle: Tensor) -> Tensor:
    """Return the fat's share of the side's: thin over breast bone and spine, thick on the flank."""
    front = 1 - 0.45 * _bump(angle, 0, 32) * torch.sigmoid((grid.z - 90) / 25)
    back = 1 - 0.45 * _bump(angle, 180, 22) + 0.35 * _bump(angle, 128, 30)
    belly = 1 + 0.5 * torch.sigmoid((40 - grid.z) / 25) * _bump(angle, 20, 70)
    return front * back * belly * (1 + 0.25 * torch.sigmoid((grid.z - 255) / 20))


def _erector(grid: Grid, build: Build) -> Distance:
    """Return the muscles along the spine, on either side of the spinous processes."""
    x = (grid.x - spine_left_mm(build, grid.z)).abs() - 24.0
    size = 0.75 + 0.02 * build.muscle_mm
    y = grid.y - spine_front_mm(build, grid.z) - 54.0
    return torch.hypot(x / 1.35, y / 1.0) - 22.0 * size


def _neck(grid: Grid, build: Build) -> Distance:
    """Return the neck, a column about the spine, and its root."""
    z = grid.z
    root = 22.0 * torch.sigmoid((280.0 - z) / 9.0)
    y = grid.y - spine_front_mm(build, z) + 4.0
    size = 1.0 if build.sex == "male" else 0.9
    column = torch.hypot(grid.x / (54.0 * size + root), y / (58.0 * size + 0.4 * root)) - 1
    return torch.maximum(column * 54.0 * size, 238.0 - z)


def limb_ways(build: Build) -> tuple[Knots, Knots]:
    """Return the centre lines of the left shoulder and of the left upper arm."""
    girth = 33.0 + 0.55 * build.muscle_mm + 0.55 * build.fat_mm
    wide = build.cage_half_x_mm - 122.0
    x, y, z = SHOULDER_UP_MM if build.arms == "up" else SHOULDER_DOWN_MM
    x += wide
    shoulder = (
        (42.0, y + 8, z - 2, 0.85 * girth),
        (85.0 + wide / 2, y + 4, z, 0.95 * girth),
        (x, y, z, girth),
    )
    if build.arms == "up":
        arm = (
            (x, y, z, girth),
            (x + 12, y - 16, z + 40, 0.95 * girth),
            (x + 16, y - 36, z + 110, 0.9 * girth),
        )
    else:
        out = x + 0.7 * girth + 0.5 * build.fat_mm
        arm = ((x, y, z, girth), (out - 6, y + 6, z - 60, 0.98 * girth), (out, 20.0, 100.0, 0.9 * girth),
               (out + 4, 18.0, -60.0, 0.85 * girth))  # fmt: skip
    return shoulder, arm


def girdle_ways(build: Build) -> tuple[Knots, Knots]:
    """Return the middle lines of the left collar bone and of the shoulder blade's spine."""
    x, y, z, _ = limb_ways(build)[1][0]
    chest = float(sternum_back_mm(build, torch.tensor(243.0)))
    collar = (
        (16.0, chest - 5, 244.0, 7.5), (38.0, chest - 5, 252.0, 6.0),
        (0.62 * x, 0.55 * y + 0.3 * chest, 0.5 * z + 134, 5.5), (0.92 * x, y - 8, z + 17, 6.5),
    )  # fmt: skip
    back = float(spine_front_mm(build, 262.0)) + 62.0
    blade = (
        (62.0, back, 258.0, 3.5), (95.0, back - 12, 268.0, 5.5), (0.97 * x, y + 24, z + 14, 6.5),
        (x + 4, y + 4, z + 21, 6.5),
    )  # fmt: skip
    return collar, blade


def mirrored(way: Knots) -> Knots:
    """Return a way on the patient's other side."""
    return [(-x, y, z, r) for x, y, z, r in way]


def _limbs(build: Build, grid: Grid) -> Tube:
    """Return arms and shoulders, and enough around the bones of the shoulder girdle to cover them."""
    cover_mm = 4.5 + 0.5 * build.fat_mm
    bones = [[(x, y, z, r + cover_mm) for x, y, z, r in way] for way in girdle_ways(build)]
    ways = [side for way in (*limb_ways(build), *bones) for side in (way, mirrored(way))]
    return joined([tube(way, step_mm=grid.spacing_mm) for way in ways])


def _breast_shape(build: Build, *, inset_mm: float) -> list[tuple[list[float], list[float]]]:
    z = torch.tensor(150.0 if build.arms == "down" else 158.0)
    half_x, half_y, middle = (float(v) for v in cage_half_mm(build, z))
    front = middle - 0.86 * half_y - RIB_SHELL_MM
    radius = [44.0 + 0.35 * build.breast_mm, build.breast_mm, 46.0 + 0.3 * build.breast_mm]
    return [
        ([side * 0.6 * half_x, front, float(z)], [max(3.0, r - inset_mm) for r in radius]) for side in (-1, 1)
    ]


def _breasts(grid: Grid, build: Build, *, inset_mm: float) -> Distance:
    shapes = _breast_shape(build, inset_mm=inset_mm)
    both = [ellipsoid_distance(grid, centre_xyz_mm=c, radius_xyz_mm=r) for c, r in shapes]
    return torch.minimum(*both)


def _carve_glands(block: Block, build: Build, wall: Wall, rng: np.random.Generator) -> None:
    """Carve gland into the breasts: patches and strands, more of them where the share is high."""
    for centre, radius in _breast_shape(build, inset_mm=6.0):
        window = ellipsoid_window(block.grid, centre_xyz_mm=centre, radius_xyz_mm=radius)
        part = block.grid.part(window)
        depth = ellipsoid_distance(part, centre_xyz_mm=centre, radius_xyz_mm=radius)
        chance = waves(part, rng, length_mm=26.0)
        deep = torch.maximum(depth + 2, wall.skin[window] + 7) < 0
        block.carve(deep & (chance > 2.2 * (0.5 - build.breast_gland)), "breast_gland", window=window)


def _fat_planes(grid: Grid, build: Build, wall: Wall, rng: np.random.Generator) -> Tensor:
    """Return the sheets of fat between muscles: between their layers, and where chance changes sign."""
    chance = waves(coarsened(grid), rng, length_mm=85.0)
    layer = thinned(wall.girdle) - RIB_SHELL_MM - 1.0
    thick = layer - thinned(wall.muscle)
    lone = (12.0 - thick).clamp(min=0)  # no fat where there is one muscle only
    half_mm = 0.7 + 0.03 * build.fat_mm - lone
    sheet = refined(layer - (0.5 + 0.14 * chance) * thick, grid).abs()
    strands = refined(chance, grid).abs() * 14.0 + 0.2
    planes = torch.minimum(sheet, strands) < refined(half_mm, grid)
    high = grid.window((-1e3, -1e3, 236.0), (1e3, 1e3, 1e3))
    planes[high] |= _shoulder_fat(grid.part(high), build, rng)
    return planes & (wall.muscle + SKIN_MM < 0) & (wall.cage > RIB_SHELL_MM)


def _shoulder_fat(grid: Grid, build: Build, rng: np.random.Generator) -> Tensor:
    """Return the fat between the many muscles of shoulders and neck."""
    coarse = coarsened(grid)
    one, two = (waves(coarse, rng, length_mm=length) for length in (60.0, 45.0))
    half = (0.08 + 0.006 * build.fat_mm) * torch.sigmoid((grid.z - 252.0) / 9.0) - 0.03
    return (refined(one, grid).abs() < half) | (refined(two, grid).abs() < 0.8 * half)


def waves(grid: Grid, rng: np.random.Generator, *, length_mm: float, count: int = 6) -> Tensor:
    """Return smooth chance about zero, of about unit spread: plane waves of one length in all directions."""
    total = torch.zeros(grid.shape_zyx, device=grid.x.device)
    for _ in range(count):
        kx, ky, kz = (float(k) for k in rng.normal(0, 2 * np.pi / length_mm / np.sqrt(3), 3))
        total += torch.sin(kx * grid.x + ky * grid.y + kz * grid.z + float(rng.uniform(0, 2 * np.pi)))
    return total * (2 / count) ** 0.5


def half_extent_xy_mm(build: Build) -> tuple[float, float]:
    """Return half the width and half the depth of the field that holds the body."""
    wide = build.cage_half_x_mm + RIB_SHELL_MM + 2.0 * build.muscle_mm + 1.4 * build.fat_mm
    reach = max(x + r for way in limb_ways(build) for x, _, z, r in way if z < 335.0)  # noqa: PLR2004
    deep = build.cage_half_y_mm + RIB_SHELL_MM + 30.0 + 1.4 * build.fat_mm
    return max(wide, reach + 0.6 * build.fat_mm) + 6.0, deep + max(0.0, build.breast_mm - 20.0) + 8.0
