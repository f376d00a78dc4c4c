"""What lies between the lungs, as a whole."""

import msgspec
import numpy as np
import torch
from scipy import ndimage

from thoar.phantoms.parametric.build import draw_build
from thoar.phantoms.parametric.mediastinum import (
    Mediastinum,
    carve_mediastinum,
    draw_mediastinum,
    mediastinal_distance,
)
from thoar.phantoms.parametric.shapes import Block, Grid


def test_the_lungs_leave_the_organs_free(chests) -> None:
    """Only branches to the lungs and to the arms may cross the border."""
    names = ("left_ventricle", "right_ventricle", "left_atrium", "right_atrium", "trachea", "aorta")
    for chest in chests:
        free = mediastinal_distance(chest.block.grid, chest.build, chest.mediastinum)
        for name in (*names, "esophagus_wall"):
            inside = chest.where(name)
            assert (free.numpy()[inside] < 1.5).mean() > 0.99, name


def test_the_lung_touches_the_descending_aorta_through_little_fat(chests) -> None:
    for chest in chests:
        touched = [_lung_beside_aorta(chest, chest.carina_xyz_mm[2] - down) for down in range(40, 100, 10)]
        assert any(touched)


def _lung_beside_aorta(chest, z_mm: float) -> bool:
    """Return whether there is lung within 10 mm to the left of the descending aorta."""
    level = chest.level(z_mm)
    aorta = np.argwhere(chest.labels[level] == 4)
    back = aorta[aorta[:, 0] > aorta[:, 0].max() - 8]
    row, column = back[back[:, 1].argmax()]
    return bool(chest.where("lung_upper_lobe_left")[level, row, column : column + 5].any())


def test_there_is_no_lung_among_the_great_vessels(chests) -> None:
    for chest in chests:
        x, y, z = (round(v) for v in chest.carina_xyz_mm)
        grid = chest.block.grid
        window = grid.window((x - 8, y - 30, z - 4), (x + 8, y - 12, z + 20))
        assert not chest.where("lung_upper_lobe_left")[window].any()


def test_the_same_parameters_give_the_same_map(chests) -> None:
    chest = chests[0]
    again = Block.empty(chest.block.grid)
    carve_mediastinum(again, chest.build, chest.mediastinum)
    first = chest.where("aorta", "left_ventricle", "trachea", "esophagus_wall")
    once_more = Block(structure=again.structure, grid=again.grid)
    second = type(chest)(build=chest.build, mediastinum=chest.mediastinum, block=once_more)
    assert (first == second.where("aorta", "left_ventricle", "trachea", "esophagus_wall")).mean() > 0.999


def test_parameters_survive_a_file() -> None:
    rng = np.random.default_rng(3)
    drawn = draw_mediastinum(rng, draw_build(rng))
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=Mediastinum) == drawn


def test_patients_differ(chests) -> None:
    hearts = [chest.mediastinum.heart.volume_ml for chest in chests]
    arches = [chest.mediastinum.vessels.arch_up_mm for chest in chests]
    assert max(hearts) > 1.25 * min(hearts)
    assert max(arches) - min(arches) > 6


def test_thyroid_lies_on_both_sides_of_the_windpipe(chests) -> None:
    for chest in chests:
        thyroid = chest.where("thyroid")
        assert 4 < chest.millilitres("thyroid") < 50
        columns = np.flatnonzero(thyroid.any(axis=(0, 1)))
        levels = thyroid.any(axis=(1, 2))
        windpipe = np.flatnonzero(chest.where("trachea")[levels].any(axis=(0, 1)))
        assert columns.min() < windpipe.min()
        assert columns.max() > windpipe.max()


def test_it_works_on_a_grid_that_shows_a_part_only() -> None:
    rng = np.random.default_rng(5)
    build = draw_build(rng)
    mediastinum = draw_mediastinum(rng, build)
    grid = Grid.over((-80, -80, 150), (80, 60, 210), spacing_mm=3.0, device=torch.device("cpu"))
    block = Block.empty(grid)
    carve_mediastinum(block, build, mediastinum)
    free = mediastinal_distance(grid, build, mediastinum)
    assert free.shape == grid.shape_zyx
    assert ndimage.label(block.structure.numpy() > 0)[1] >= 1
