"""What lies under the diaphragm, and the diaphragm itself with its crura."""

import numpy as np
import torch

from thoar.core.random import rng_for
from thoar.phantoms.parametric.build import Build, diaphragm_mm, spine_front_mm
from thoar.phantoms.parametric.cage import Wall, cage_window
from thoar.phantoms.parametric.shapes import (
    Block,
    Distance,
    Grid,
    Window,
    blended,
    ellipsoid_distance,
    joined,
    tube,
    tube_distance,
    tube_window,
)  # fmt: skip
from thoar.phantoms.parametric.trunk import waves

MUSCLE_MM = 3.0
"""Thickness of the diaphragm."""


def carve_belly(block: Block, build: Build, wall: Wall, *, seed: int) -> None:
    """Carve everything under the diaphragm inside the ribs."""
    rng = rng_for(seed, "belly")
    window = cage_window(block.grid, build, low_mm=-1e3, high_mm=build.dome_mm + 12)
    grid = block.grid.part(window)
    depth = diaphragm_depth(grid, build)
    inside = torch.maximum(wall.cage[window] + 1.0, -depth)
    block.carve(inside < 0, "diaphragm", window=window)
    room = torch.maximum(inside + MUSCLE_MM, _spine_gap(grid, build))
    block.carve(room < 0, "abdominal_fat", window=window)
    gap_mm = 0.5 + 5.0 * build.visceral_fat
    _carve_bowel(block, build, room, window=window, rng=rng)
    _carve_kidneys(block, build, room, rng=rng, window=window)
    _carve_stomach(block, build, room + 0.5 * gap_mm, rng=rng, window=window)
    spleen = _spleen(grid, build, rng)
    block.carve(torch.maximum(spleen, room + 0.5) < 0, "spleen", window=window)
    liver = _liver(grid, build, rng)
    block.carve(torch.maximum(liver, room + 0.2) < 0, "liver", window=window)
    _carve_about_the_liver(block, build, room, window=window, rng=rng)
    _carve_crura(block, build)


def diaphragm_depth(grid: Grid, build: Build) -> Distance:
    """Return how far below the diaphragm's upper side a place lies, about in millimetres."""
    height = diaphragm_mm(build, grid.x + 0 * grid.y, grid.y + 0 * grid.x)[0]
    up, across = torch.gradient(height, spacing=grid.spacing_mm)
    steep = (1 + up**2 + across**2).sqrt().clamp(max=5.0)
    return (height[None] - grid.z) / steep[None]


def _spine_gap(grid: Grid, build: Build) -> Distance:
    """Return the distance into the spine and what stands beside it, where no belly is."""
    y = grid.y - spine_front_mm(build, grid.z) - 26.0
    return 27.0 - torch.hypot(grid.x / 1.15, y)


def _liver(grid: Grid, build: Build, rng: np.random.Generator) -> Distance:
    """Return the liver: the right lobe under the dome, the left one reaching over before the stomach."""
    top, half = build.dome_mm, build.cage_half_x_mm
    size = float(rng.uniform(0.92, 1.1))
    right = ellipsoid_distance(
        grid, centre_xyz_mm=(-0.52 * half, 8.0, top - 66.0), radius_xyz_mm=(0.62 * half * size, 86.0, 78.0)
    )
    reach = float(rng.uniform(0.15, 0.5))
    left = ellipsoid_distance(
        grid, centre_xyz_mm=(0.05 * half, -44.0, top - 42.0),
        radius_xyz_mm=((0.35 + reach) * half, 40.0 * size, 38.0 * size),
    )  # fmt: skip
    return blended(right, left, radius_mm=24.0)


def _carve_about_the_liver(
    block: Block, build: Build, room: Distance, *, window: Window, rng: np.random.Generator
) -> None:
    """Carve the portal vein with its branches, the gallbladder and the pancreas."""
    grid = block.grid.part(window)
    half, low = build.cage_half_x_mm, build.dome_mm - 105.0
    fork = (-0.22 * half, -12.0, low + 12.0)
    ends = [
        (-rng.uniform(0.4, 0.8) * half, rng.uniform(-40, 50), low + rng.uniform(10, 75)) for _ in range(5)
    ]
    ends.append((0.15 * half, -45.0, low + 40.0))
    veins = [tube(((0.05 * half, 0.0, low - 30, 6.5), (*fork, 6.0)))]
    veins += [
        tube(((*fork, 5.0), (*(0.55 * np.array(fork) + 0.45 * np.array(e) + 6.0), 3.6), (*e, 1.8)))
        for e in ends
    ]
    shapes = {
        "pancreas": joined(
            [
                tube(
                    (
                        (-0.3 * half, -15.0, low - 35, 13.0),
                        (0.1 * half, -22.0, low - 5, 9.0),
                        (0.55 * half, 18.0, low + 14, 8.0),
                    )
                )
            ]
        ),
        "portal_vein": joined(veins),
        "gallbladder": joined(
            [
                tube(
                    (
                        (-0.32 * half, -35.0, low - 5, 6.0),
                        (-0.4 * half, -62.0, low - 28, float(rng.uniform(8, 17))),
                    )
                )
            ]
        ),
    }
    for name, shape in shapes.items():
        away = torch.maximum(tube_distance(grid, shape), room + 4)
        block.carve(away < 0, name, window=window, only=("liver", "abdominal_fat", "bowel", "bowel_gas"))


def _spleen(grid: Grid, build: Build, rng: np.random.Generator) -> Distance:
    size = float(rng.uniform(0.8, 1.2))
    top = build.dome_mm - build.left_dome_mm
    centre = (0.66 * build.cage_half_x_mm, 0.5 * build.cage_half_y_mm, top - 52.0)
    outside = ellipsoid_distance(
        grid, centre_xyz_mm=centre, radius_xyz_mm=(42.0 * size, 46.0 * size, 50.0 * size)
    )
    hollow = ellipsoid_distance(
        grid, centre_xyz_mm=(centre[0] - 34, centre[1] - 28, centre[2] - 5), radius_xyz_mm=(34.0, 36.0, 60.0)
    )
    return torch.maximum(outside, -hollow)


def _carve_stomach(
    block: Block, build: Build, room: Distance, *, rng: np.random.Generator, window: Window
) -> None:
    """Carve the stomach from the fundus under the left dome: wall, content, and gas in front."""
    grid = block.grid.part(window)
    top = build.dome_mm - build.left_dome_mm
    half = build.cage_half_x_mm
    size = float(np.clip(rng.normal(0.95, 0.2), 0.55, 1.35))
    radius = 34.0 * size
    way = (
        (0.42 * half, 20.0, top - 14.0 - radius, radius),
        (0.44 * half, -4.0, top - 40.0 - radius, 1.02 * radius),
        (0.36 * half, -34.0, top - 76.0 - radius, 0.8 * radius),
        (0.1 * half, -46.0, top - 104.0 - radius, 0.6 * radius),
    )
    away = torch.maximum(tube_distance(grid, tube(way, step_mm=3.0), reach_mm=4.0), room)
    wall_mm = float(rng.uniform(3.0, 6.0))
    level = float(rng.uniform(-60, 5))
    block.carve(away < 0, "stomach_wall", window=window)
    block.carve(away < -wall_mm, "stomach_content", window=window)
    block.carve((away < -wall_mm) & (grid.y < level), "stomach_gas", window=window)


def _carve_bowel(
    block: Block, build: Build, room: Distance, *, window: Window, rng: np.random.Generator
) -> None:
    """Carve the colon's bends under both domes and loops of bowel lower down, some with gas."""
    grid = block.grid.part(window)
    top = build.dome_mm - build.left_dome_mm
    half = build.cage_half_x_mm
    rise = float(rng.uniform(18, 60))
    radius = float(rng.uniform(15, 24))
    bend = tube(
        (
            (0.72 * half, 20.0, top - 130.0, radius), (0.76 * half, -4.0, top - rise - 34, radius),
            (0.68 * half, -34.0, top - rise - radius, 1.1 * radius),
            (0.5 * half, -62.0, top - rise - 45, radius),
            (0.1 * half, -70.0, top - 125.0, radius), (-0.5 * half, -60.0, top - 130.0, radius),
        ),
        step_mm=3.0,
    )  # fmt: skip
    away = torch.maximum(tube_distance(grid, bend, reach_mm=4.0), room)
    chance = waves(grid, rng, length_mm=45.0)
    block.carve(away < 0, "bowel", window=window)
    block.carve((away < -2.5) & (chance > float(rng.uniform(-1.0, 0.8))), "bowel_gas", window=window)  # noqa: PLR2004
    loops = waves(grid, rng, length_mm=55.0)
    low = (room < -12) & (grid.z < top - 105) & (grid.y < 20)  # noqa: PLR2004 (where loops of bowel lie)
    block.carve(low & (loops.abs() > 0.35), "bowel", window=window)  # noqa: PLR2004 (fat between them)
    block.carve(low & (loops.abs() > 1.6), "bowel_gas", window=window)  # noqa: PLR2004


def _carve_kidneys(
    block: Block, build: Build, room: Distance, *, rng: np.random.Generator, window: Window
) -> None:
    grid = block.grid.part(window)
    for side, drop in ((-1.0, 118.0), (1.0, 98.0)):
        centre = (side * 62.0, 0.55 * build.cage_half_y_mm, build.dome_mm - drop - float(rng.uniform(0, 40)))
        away = ellipsoid_distance(grid, centre_xyz_mm=centre, radius_xyz_mm=(27.0, 26.0, 54.0))
        block.carve(torch.maximum(away, room + 4) < 0, "kidney", window=window)
        gland = ellipsoid_distance(
            grid,
            centre_xyz_mm=(side * 40.0, centre[1] - 14.0, centre[2] + 44.0),
            radius_xyz_mm=(4.0, 11.0, 12.0),
        )
        block.carve(torch.maximum(gland, room + 4) < 0, "adrenal_gland", window=window)


def _carve_crura(block: Block, build: Build) -> None:
    """Carve the diaphragm's two legs along the spine, on either side of the aorta."""
    levels = np.arange(-70.0, min(90.0, build.dome_mm), 8.0)
    legs = []
    for side in (-1.0, 1.0):
        way = [
            (side * (13.0 + 4 * t) + 3.0, float(spine_front_mm(build, z)) - 4.0 - 20.0 * t**2, float(z), 4.5)
            for z, t in zip(levels, np.linspace(0, 1, levels.size), strict=True)
        ]
        legs.append(tube(way, step_mm=2.0))
    shape = joined(legs)
    window = tube_window(block.grid, shape, reach_mm=2.0)
    away = tube_distance(block.grid.part(window), shape, reach_mm=1.0)
    block.carve(
        away < 0, "diaphragm", window=window, only=("abdominal_fat", "liver", "mediastinal_fat", "diaphragm")
    )
