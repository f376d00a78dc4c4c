"""Bones of the chest."""

from typing import cast

import msgspec
import numpy as np
import pytest
import torch
from scipy.ndimage import label

from thoar.phantoms.parametric.build import draw_build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.shapes import Block, Grid
from thoar.phantoms.parametric.skeleton import carve_skeleton, rib_lines
from thoar.phantoms.parametric.spine import VERTEBRAE_MM
from thoar.phantoms.parametric.trunk import wall_of
from thoar.phantoms.structures import chosen

BUILD = draw_build(np.random.default_rng(3))


@pytest.fixture(scope="module")
def carved() -> Block:
    """Return a skeleton in air."""
    grid = Grid.over((-190, -150, -30), (190, 170, 330), spacing_mm=2.0, device=torch.device("cpu"))
    block, wall = Block.empty(grid), wall_of(grid, BUILD)
    carve_skeleton(block, BUILD, wall, seed=1)
    return block


def bone(block: Block) -> np.ndarray:
    """Return where bone is."""
    return chosen(block.structure, "cortical_bone", "marrow").numpy()


def pieces(held: np.ndarray) -> int:
    """Return how many pieces there are."""
    return cast("tuple[np.ndarray, int]", label(held))[1]


def test_ribs_fall_to_the_front_and_do_not_cross() -> None:
    lines = rib_lines(np.random.default_rng(2))
    angles = torch.linspace(130, 155, 6)
    heights = torch.stack([line.height_mm(angles) for line in lines])
    assert bool((heights.diff(dim=0) < 0).all())
    assert bool((heights.diff(dim=1) > 0).all())
    assert all(line.front_mm < line.back_mm - 20 for line in lines)


def test_a_side_wall_shows_many_ribs_one_above_the_other(carved: Block) -> None:
    middle = carved.grid.shape_zyx[1] // 2
    half = carved.grid.shape_zyx[2] // 2
    low = carved.grid.window((-1e3, -1e3, 20), (1e3, 1e3, 220))[0]
    side = bone(carved)[low, middle - 1 : middle + 2, half + 40 :].any(axis=(1, 2))
    count = pieces(np.asarray(side))
    assert count >= 4


def test_the_canal_runs_through_the_whole_spine(carved: Block) -> None:
    canal = chosen(carved.structure, "spinal_canal", "dural_sac", "spinal_cord").numpy()
    assert canal.any(axis=(1, 2)).all()
    assert pieces(canal) == 1


def test_discs_part_the_vertebrae(carved: Block) -> None:
    z = carved.grid.z.flatten().numpy()
    y = np.asarray(spine_front_mm(BUILD, z)) + 14
    x = np.asarray(spine_left_mm(BUILD, z))
    rows = [np.argmin(np.abs(carved.grid.y.flatten().numpy() - v)) for v in y]
    columns = [np.argmin(np.abs(carved.grid.x.flatten().numpy() - v)) for v in x]
    disc = chosen(carved.structure, "disc").numpy()[np.arange(len(z)), rows, columns]
    count = pieces(disc)
    seen = sum(1 for h in VERTEBRAE_MM if -20 < h < 320)
    assert abs(count - seen) <= 2


def test_bones_of_both_sides_mirror_each_other_where_the_spine_is_straight() -> None:
    straight = msgspec.structs.replace(BUILD, scoliosis_mm=0.0)
    grid = Grid.over((-190, -150, -30), (190, 170, 330), spacing_mm=4.0, device=torch.device("cpu"))
    block, wall = Block.empty(grid), wall_of(grid, straight)
    carve_skeleton(block, straight, wall, seed=1)
    whole = bone(block)
    assert (whole != whole[:, :, ::-1]).sum() < 0.12 * whole.sum()
