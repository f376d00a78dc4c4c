"""What lies under the diaphragm."""

import numpy as np
import pytest
import torch

from thoar.phantoms.parametric.belly import carve_belly, diaphragm_depth
from thoar.phantoms.parametric.build import diaphragm_mm, draw_build
from thoar.phantoms.parametric.shapes import Block, Grid
from thoar.phantoms.parametric.trunk import wall_of
from thoar.phantoms.structures import chosen

BUILD = draw_build(np.random.default_rng(3))
BELLY = (
    "liver",
    "spleen",
    "stomach_wall",
    "stomach_content",
    "stomach_gas",
    "bowel",
    "kidney",
    "abdominal_fat",
)


@pytest.fixture(scope="module")
def carved() -> Block:
    """Return a belly in air."""
    grid = Grid.over((-150, -120, -30), (150, 120, 150), spacing_mm=3.0, device=torch.device("cpu"))
    block = Block.empty(grid)
    carve_belly(block, BUILD, wall_of(grid, BUILD), seed=5)
    return block


def test_nothing_of_the_belly_lies_above_the_diaphragm(carved: Block) -> None:
    grid = carved.grid
    height = diaphragm_mm(BUILD, grid.x + 0 * grid.y, grid.y + 0 * grid.x)
    above = grid.z > height + 1
    assert not bool((chosen(carved.structure, *BELLY, "diaphragm") & above).any())


def test_muscle_parts_the_belly_from_the_chest(carved: Block) -> None:
    depth = diaphragm_depth(carved.grid, BUILD)
    just_under = (depth > 0) & (depth < 2)
    assert not bool((chosen(carved.structure, *BELLY) & just_under).any())
    assert bool((chosen(carved.structure, "diaphragm") & just_under).any())


def test_gas_lies_in_front_of_what_the_stomach_holds(carved: Block) -> None:
    gas, content = (
        chosen(carved.structure, name).nonzero()[:, 1].float() for name in ("stomach_gas", "stomach_content")
    )
    if len(gas):
        assert float(gas.max()) <= float(content.min()) + 1


def test_the_liver_reaches_over_to_the_left_but_lies_right(carved: Block) -> None:
    x = carved.grid.x.flatten()[chosen(carved.structure, "liver").nonzero()[:, 2]]
    assert float(x.mean()) < -20
    assert float(x.max()) > 10
