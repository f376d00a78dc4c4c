"""Lymph nodes and the thymus, in the fat among the great vessels."""

import numpy as np
import torch

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.build import Build, sternum_back_mm
from thoar.phantoms.parametric.shapes import Block, ellipsoid_distance, ellipsoid_window

NODES: tuple[tuple[float, float, float, float], ...] = (
    (-13.0, -17.0, 14.0, 4.2), (-11.0, -14.0, 30.0, 3.4), (14.0, -16.0, -2.0, 3.6), (20.0, -22.0, 2.0, 3.4),
    (2.0, 5.0, -16.0, 5.0), (-4.0, 4.0, -24.0, 4.0), (12.0, -58.0, 8.0, 3.0), (-10.0, -66.0, 2.0, 2.8),
    (-34.0, 2.0, -14.0, 4.4), (-30.0, -6.0, -34.0, 4.0), (40.0, -8.0, -22.0, 4.0), (36.0, 4.0, -38.0, 4.0),
    (9.0, -4.0, 28.0, 2.8), (4.0, -40.0, 40.0, 3.0), (-22.0, -42.0, 34.0, 3.0),
)  # fmt: skip
"""Stations of lymph nodes: (x, y, z) from the fork of the windpipe, and the usual radius."""


def carve_nodes(block: Block, scale: float, *, carina_xyz_mm: Vector3, rng: np.random.Generator) -> None:
    """Carve none to two lymph nodes at each station."""
    x, y, z = carina_xyz_mm
    for dx, dy, dz, usual in NODES:
        for _ in range(int(rng.integers(0, 3))):
            a, b, c = (float(v) for v in rng.normal(0, 4, 3))
            radius = usual * scale * float(rng.uniform(0.5, 1.2))
            wide = (radius * float(rng.uniform(0.8, 1.6)), radius, radius * float(rng.uniform(0.9, 1.8)))
            centre = (x + dx + a, y + dy + b, z + dz + c)
            carve_lump(block, "lymph_node", centre, wide, only=("mediastinal_fat",))


def carve_thymus(
    block: Block, build: Build, size: float, *, carina_xyz_mm: Vector3, rng: np.random.Generator
) -> None:
    """Carve two lobes before the great vessels: whole in the young, strands in the old."""
    x, y, z = carina_xyz_mm
    front = float(sternum_back_mm(build, torch.tensor(z - 10)))
    middle = 0.4 * front + 0.6 * (y - 58)
    for side, long in ((1.0, 1.0), (-1.0, 0.85)):
        if rng.random() > 0.25 + size:
            continue
        centre = (
            x + side * (7 + 5 * size),
            middle + float(rng.normal(0, 2)),
            z - 5 + float(rng.normal(0, 6)),
        )
        radius = (4 + 12 * size, 2.2 + 8 * size, (14 + 22 * size) * long)
        carve_lump(block, "thymus", centre, radius, only=("mediastinal_fat",))


def carve_lump(
    block: Block, name: str, centre: tuple[float, float, float], radius: tuple[float, float, float], *,
    only: tuple[str, ...],
) -> None:  # fmt: skip
    """Carve an ellipsoid out of some structures."""
    window = ellipsoid_window(block.grid, centre_xyz_mm=centre, radius_xyz_mm=radius)
    lump = ellipsoid_distance(block.grid.part(window), centre_xyz_mm=centre, radius_xyz_mm=radius)
    block.carve(lump < 0, name, window=window, only=only)
