"""The windpipe of ten patients."""

import numpy as np
import pytest
from scipy import ndimage

from thoar.phantoms.parametric.airways import bronchus_ways, trachea_column


def test_the_windpipe_is_one_piece_of_a_plausible_size(chests) -> None:
    for chest in chests:
        inside = chest.labels == 3
        assert ndimage.label(inside, np.ones((3, 3, 3)))[1] == 1
        assert 10 < inside.sum() * chest.block.grid.spacing_mm**3 / 1000 < 90


def test_it_parts_at_the_carina(chests) -> None:
    for chest in chests:
        z = chest.carina_xyz_mm[2]
        above, below = (chest.labels[chest.level(z + d)] == 3 for d in (25, -14))
        assert ndimage.label(above)[1] == 1
        assert ndimage.label(below)[1] == 2


def test_it_reaches_the_larynx(chests) -> None:
    for chest in chests:
        levels = np.flatnonzero((chest.labels == 3).any(axis=(1, 2)))
        top = float(chest.block.grid.z.flatten()[levels.max()])
        assert top - chest.carina_xyz_mm[2] == pytest.approx(chest.mediastinum.airways.length_mm, abs=4)


def test_the_bronchi_part_by_the_angle_asked_for(chests) -> None:
    for chest in chests:
        ways = bronchus_ways(chest.build, chest.mediastinum.airways)
        right, left = (np.subtract(ways[s][1][:3], ways[s][0][:3]) for s in ("right", "left"))
        cosine = right @ left / np.linalg.norm(right) / np.linalg.norm(left)
        angle = np.rad2deg(np.arccos(cosine))
        assert angle == pytest.approx(chest.mediastinum.airways.angle_deg, abs=8)
        assert right[0] < 0 < left[0]


def test_its_width_is_the_parameter_between_fork_and_larynx(chests) -> None:
    for chest in chests:
        column = trachea_column(chest.build, chest.mediastinum.airways)
        middle = len(column.z_mm) // 2
        assert 2 * column.half_x_mm[middle] == pytest.approx(chest.mediastinum.airways.width_mm, rel=0.03)


def test_walls_keep_air_from_the_fat(fine_chest) -> None:
    air = fine_chest.where("trachea")
    near = ndimage.binary_dilation(air) & fine_chest.where("mediastinal_fat")
    assert near.sum() < 0.005 * air.sum()
