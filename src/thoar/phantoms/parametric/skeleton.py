"""Bones: ribs with their cartilage, breast bone, shoulder girdle and arms, and the ``spine``."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thoar.core.random import rng_for
from thoar.phantoms.parametric.build import (
    Build,
    cage_half_mm,
    spine_front_mm,
    spine_left_mm,
    sternum_back_mm,
)
from thoar.phantoms.parametric.cage import EGG, POWER, Wall, around_deg, places_of
from thoar.phantoms.parametric.shapes import (
    Block,
    Knots,
    Tube,
    joined,
    tube,
    tube_distance,
    tube_window,
)  # fmt: skip
from thoar.phantoms.parametric.spine import carve_spine
from thoar.phantoms.parametric.trunk import RIB_SHELL_MM, girdle_ways, limb_ways, mirrored
from thoar.phantoms.structures import IDS

RIBS: tuple[tuple[float, float, float], ...] = (
    (272.0, 210.0, 41.0), (256.0, 185.0, 40.0), (248.0, 152.0, 42.0), (224.0, 118.0, 45.0),
    (201.0, 87.0, 51.0), (175.0, 55.0, 60.0), (146.0, 28.0, 71.0), (118.0, 12.0, 80.0), (92.0, 4.0, 89.0),
    (62.0, -14.0, 95.0), (30.0, -18.0, 117.0),
)  # fmt: skip
"""Ribs 2 to 12: height at the back, height where bone ends in front, and the angle at which it does."""
BACK_DEG = 158.0
"""Angle about the cage from which a rib leaves the shell for the spine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RibLine:
    """One pair of ribs along the cage's shell."""

    back_mm: float
    front_mm: float
    end_deg: float

    def height_mm(self, angle: Tensor) -> Tensor:
        """Return the rib's height at an angle about the cage."""
        along = ((BACK_DEG - angle) / (BACK_DEG - self.end_deg)).clamp(0, 1.3)
        return self.back_mm - (self.back_mm - self.front_mm) * along**1.35


def rib_lines(rng: np.random.Generator) -> list[RibLine]:
    """Return ribs 2 to 12 of one patient, some steeper, some flatter."""
    steep, lift = float(rng.uniform(0.75, 1.15)), float(rng.normal(0, 4))
    lines = []
    for back, front, end in RIBS:
        low = back - (back - front) * steep
        turn = float(rng.normal(0, 2))
        lines.append(RibLine(back_mm=back + lift, front_mm=low + lift + turn, end_deg=end + 1.5 * turn))
    return lines


def carve_skeleton(block: Block, build: Build, wall: Wall, *, seed: int) -> None:
    """Carve all bones, the discs, the canal with the cord, and the ribs' cartilage."""
    lines = rib_lines(rng_for(seed, "ribs"))
    _carve_cartilage(block, build, lines)
    _carve_ribs(block, build, wall, lines)
    _carve_sternum(block, build)
    _carve_scapulae(block, build, wall)
    _carve_limbs(block, build)
    carve_spine(block, build)


def carve_bone(block: Block, shape: Tube, *, shell_mm: float = 1.7) -> None:
    """Carve a tube as bone with marrow."""
    window = tube_window(block.grid, shape, reach_mm=2.0)
    away = tube_distance(block.grid.part(window), shape, reach_mm=1.0)
    block.carve(away < 0, "cortical_bone", window=window)
    block.carve(away < -shell_mm, "marrow", window=window)


def _carve_ribs(block: Block, build: Build, wall: Wall, lines: list[RibLine]) -> None:
    """Carve ribs 2 to 12 in the cage's shell, their necks, and the first rib."""
    shell = ((wall.cage > 0) & (wall.cage < RIB_SHELL_MM)).nonzero(as_tuple=True)
    x, y, z = places_of(block.grid, shell)
    angle = around_deg(build, x, y, z=z)
    across = ((wall.cage[shell] - 0.5 * RIB_SHELL_MM) / 3.9) ** 2
    best = torch.full_like(angle, 9.0)
    for line in lines:
        height = ((z - line.height_mm(angle)) / 7.5) ** 2
        held = (angle > line.end_deg) & (angle < BACK_DEG + 4)
        best = torch.where(held, torch.minimum(best, across + height), best)
    for limit, name in ((1.0, "cortical_bone"), (0.36, "marrow")):
        inside = best < limit
        block.structure[tuple(axis[inside] for axis in shell)] = IDS[name]
    necks = [tube(_neck(build, line), step_mm=1.0) for line in lines]
    first = tube(_first_rib(build), step_mm=1.0)
    for way in (*necks, first):
        other = Tube(centres_xyz_mm=way.centres_xyz_mm * (-1.0, 1.0, 1.0), radius_mm=way.radius_mm)
        carve_bone(block, other)
        carve_bone(block, way)


def shell_point(build: Build, angle_deg: float, z_mm: float, *, out_mm: float) -> tuple[float, float]:
    """Return the place (x, y) on the left, so far outside the cage, at an angle about its middle."""
    z = torch.tensor(z_mm)
    half_x, half_y, middle = (float(v) for v in cage_half_mm(build, z))
    x, y = np.sin(np.deg2rad(angle_deg)), -np.cos(np.deg2rad(angle_deg))
    half_x *= 1 + EGG * y
    reach = (abs(x / half_x) ** POWER + abs(y / half_y) ** POWER) ** (-1 / POWER) + out_mm
    return float(reach * x), float(middle + reach * y)


def _neck(build: Build, line: RibLine) -> Knots:
    x, y = shell_point(build, BACK_DEG, line.back_mm, out_mm=0.5 * RIB_SHELL_MM)
    front = float(spine_front_mm(build, line.back_mm))
    left = float(spine_left_mm(build, line.back_mm))
    return (
        (left + 15.0, front + 22.0, line.back_mm + 9, 4.5),
        (left + 25.0, front + 34.0, line.back_mm + 6, 3.6),
        (x, min(y, front + 62.0), line.back_mm, 4.8),
    )


def _first_rib(build: Build) -> Knots:
    front, chest = float(spine_front_mm(build, 285.0)), float(sternum_back_mm(build, torch.tensor(240.0)))
    wide = build.cage_half_x_mm / 124.0
    return (
        (17.0, front + 20.0, 289.0, 4.5),
        (43.0 * wide, front + 20.0, 287.0, 4.5),
        (64.0 * wide, front - 2.0, 273.0, 5.0),
        (60.0 * wide, 0.45 * (front + chest) - 6.0, 257.0, 5.0),
        (46.0 * wide, chest + 10.0, 244.0, 5.5),
    )


def _carve_cartilage(block: Block, build: Build, lines: list[RibLine]) -> None:
    """Carve the cartilage from ribs 1 to 7 to the breast bone, and from 8 to 10 to the one above."""
    chest = float(sternum_back_mm(build, torch.tensor(240.0)))
    ways: list[Knots] = [((46.0, chest + 8.0, 243.0, 6.0), (20.0, chest - 6.0, 236.0, 6.0))]
    for number, line in enumerate(lines[:9], start=2):
        angle = line.end_deg + 2.0
        z = float(line.height_mm(torch.tensor(angle)))
        goal = max(112.0, 236.0 - 20.0 * (number - 1)) if number < 8 else z + 18.0  # noqa: PLR2004 (rib 8)
        end = 9.0 if number < 8 else max(16.0, angle - 26.0)  # noqa: PLR2004 (rib 8)
        turns = [(angle, z), (0.55 * angle + 0.45 * end, 0.62 * min(z, goal) + 0.38 * z), (end, goal)]
        points = [(*shell_point(build, a, h, out_mm=4.5), h, 5.5) for a, h in turns]
        ways.append(points)
    shapes = [tube(way, step_mm=1.5) for w in ways for way in (w, mirrored(w))]
    whole = joined(shapes)
    window = tube_window(block.grid, whole, reach_mm=2.0)
    away = tube_distance(block.grid.part(window), whole, reach_mm=1.0)
    block.carve(away < 0, "costal_cartilage", window=window, only=("muscle", "subcutaneous_fat",
                "intermuscular_fat", "mediastinal_fat", "abdominal_fat"))  # fmt: skip


def _carve_sternum(block: Block, build: Build) -> None:
    """Carve the breast bone: the broad handle, the body, the sword's tip."""
    window = block.grid.window((-34, -140, 92), (34, 20, 262))
    grid = block.grid.part(window)
    z = grid.z
    handle = 25.0 * torch.sigmoid((z - 222) / 4) + 5 * torch.sigmoid((z - 240) / 5)
    wide = 14.0 + 4.0 * torch.exp(-(((z - 135) / 22) ** 2)) + handle * 0.62 - 9 * torch.sigmoid((112 - z) / 3)
    deep = (grid.y - sternum_back_mm(build, z) + 5.5).abs() / 5.5
    across = ((grid.x.abs() / wide) ** 4 + deep**3) ** 0.25
    notch = 256.0 - 7.0 * torch.exp(-((grid.x / 12.0) ** 2)) - z
    away = torch.maximum(torch.maximum((across - 1) * 6.0, -notch), 98.0 - z)
    away = torch.maximum(away, 1.2 - (z - 217.0).abs())
    block.carve(away < 0, "cortical_bone", window=window)
    block.carve(away + 1.5 < 0, "marrow", window=window)


def _carve_scapulae(block: Block, build: Build, wall: Wall) -> None:
    """Carve the shoulder blades, which lie on the cage, their spines and the roots of the acromia."""
    raised = build.arms == "up"
    window = block.grid.window((-230, -30, 165), (230, 170, 300))
    grid = block.grid.part(window)
    layer = wall.girdle[window] - RIB_SHELL_MM - 0.45 * build.muscle_mm
    thin = ((layer.abs() < 4) & (wall.muscle[window] < -3)).nonzero(as_tuple=True)  # noqa: PLR2004
    x, y, z = places_of(grid, thin)
    around_mm = around_deg(build, x, y, z=z) * 1.95
    tip = (208.0 if raised else 258.0, 186.0 if raised else 172.0)
    edge = _triangle(around_mm, z, ((292.0, 276.0), tip, (180.0, 270.0)))
    thick = 1.3 + 2.2 * torch.exp(-(((edge + 4) / 4) ** 2))
    inside = (edge < 0) & (layer[thin].abs() < thick)
    part = block.structure[window]
    part[tuple(axis[inside] for axis in thin)] = IDS["cortical_bone"]
    deep = inside & (layer[thin].abs() < thick - 1.6) & (edge < -1.6)  # noqa: PLR2004 (the shell)
    part[tuple(axis[deep] for axis in thin)] = IDS["marrow"]


def _triangle(a: Tensor, b: Tensor, corners: tuple[tuple[float, float], ...]) -> Tensor:
    """Return the signed distance to a triangle's edges, negative inside."""
    middle = np.mean(corners, axis=0)
    edges = []
    for (a0, b0), (a1, b1) in zip(corners, (*corners[1:], corners[0]), strict=True):
        normal = np.array([b1 - b0, a0 - a1]) / np.hypot(a1 - a0, b1 - b0)
        normal *= np.sign(normal @ (np.array([a0, b0]) - middle))
        edges.append((a - a0) * float(normal[0]) + (b - b0) * float(normal[1]))
    return torch.stack(edges).amax(dim=0)


def _carve_limbs(block: Block, build: Build) -> None:
    """Carve collar bones, the blades' spines, and the upper arms' bones with their heads."""
    _, arm = limb_ways(build)
    (x, y, z, _), elbow = arm[0], arm[1:]
    neck = ((x - 16, y + 10, z - 2, 9.0), (x - 30, y + 20, z - 4, 7.0), (x - 42, y + 34, z - 8, 4.0))
    for way in (*girdle_ways(build), neck):
        for side in (way, mirrored(way)):
            carve_bone(block, tube(side, step_mm=1.5))
    for side in (1.0, -1.0):
        head = Tube(centres_xyz_mm=np.array([[side * x, y, z]]), radius_mm=np.array([21.5]))
        shaft = tube([(side * x, y, z, 17.0), *((side * a, b, c, 11.5) for a, b, c, _ in elbow)])
        carve_bone(block, joined([head, shaft]), shell_mm=2.5)
