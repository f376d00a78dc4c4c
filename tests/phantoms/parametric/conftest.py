"""Ten patients' mediastina, carved coarsely."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from jaxtyping import Bool, UInt8

from thoar.phantoms.parametric.airways import carina_xyz_mm
from thoar.phantoms.parametric.build import Build, draw_build
from thoar.phantoms.parametric.cage import cage_distance
from thoar.phantoms.parametric.mediastinum import (
    Mediastinum,
    carve_mediastinum,
    draw_mediastinum,
    mediastinal_distance,
)
from thoar.phantoms.parametric.shapes import Block, Grid
from thoar.phantoms.structures import chosen, organ_labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Chest:
    """A patient's mediastinum between plain lungs, in a body of muscle."""

    build: Build
    mediastinum: Mediastinum
    block: Block

    def where(self, *names: str) -> Bool[np.ndarray, "z y x"]:
        """Return where any of the structures named lie."""
        return chosen(self.block.structure, *names).numpy()

    @cached_property
    def labels(self) -> UInt8[np.ndarray, "z y x"]:
        """Return the organs' labels."""
        return organ_labels(self.block.structure).numpy()

    def millilitres(self, *names: str) -> float:
        """Return the volume of the structures named."""
        return float(self.where(*names).sum()) * self.block.grid.spacing_mm**3 / 1000

    @property
    def carina_xyz_mm(self) -> tuple[float, float, float]:
        """Return the fork of the windpipe."""
        return carina_xyz_mm(self.build, self.mediastinum.airways)

    def level(self, z_mm: float) -> int:
        """Return the slice at a height."""
        return int(np.abs(self.block.grid.z.flatten().numpy() - z_mm).argmin())

    def middle_xyz_mm(self, inside: Bool[np.ndarray, "z y x"]) -> tuple[float, float, float]:
        """Return the middle of a part."""
        z, y, x = np.argwhere(inside).mean(axis=0)
        first, step = self.block.grid.first_xyz_mm, self.block.grid.spacing_mm
        return (first[0] + float(x) * step, first[1] + float(y) * step, first[2] + float(z) * step)


def chest_of(seed: int, *, spacing_mm: float = 2.5) -> Chest:
    rng = np.random.default_rng(seed)
    build = draw_build(rng)
    mediastinum = draw_mediastinum(rng, build)
    low, high = (-124.0, -140.0, -20.0), (124.0, 90.0, 332.0)
    grid = Grid.over(low, high, spacing_mm=spacing_mm, device=torch.device("cpu"))
    block = Block.empty(grid)
    cage = cage_distance(grid, build)
    block.carve(torch.ones_like(cage, dtype=torch.bool), "muscle")
    block.carve(cage < 0, "mediastinal_fat")
    free = mediastinal_distance(grid, build, mediastinum)
    block.carve((cage < 0) & (free > 0), "lung_upper_lobe_left")
    carve_mediastinum(block, build, mediastinum)
    return Chest(build=build, mediastinum=mediastinum, block=block)


@pytest.fixture(scope="session")
def fine_chest() -> Chest:
    """One of them at the spacing of use, where walls are thick enough to see."""
    return chest_of(4, spacing_mm=1.5)


@pytest.fixture(scope="session")
def chests() -> Sequence[Chest]:
    return [chest_of(seed) for seed in range(10)]
