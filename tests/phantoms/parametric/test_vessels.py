"""The great vessels of ten patients."""

import numpy as np
from scipy import ndimage


def pieces(inside: np.ndarray) -> int:
    return int(ndimage.label(inside, np.ones((3, 3, 3)))[1])


def test_the_aorta_is_one_piece_of_a_plausible_size(chests) -> None:
    for chest in chests:
        assert pieces(chest.labels == 4) == 1
        assert 90 < chest.millilitres("aorta", "aorta_wall") < 430


def test_the_arch_passes_to_the_left_of_the_windpipe(chests) -> None:
    for chest in chests:
        level = chest.level(chest.carina_xyz_mm[2] + chest.mediastinum.vessels.arch_up_mm)
        aorta, trachea = (np.argwhere(chest.labels[level] == label) for label in (4, 3))
        beside = aorta[np.abs(aorta[:, 0] - trachea[:, 0].mean()) <= 2]
        assert len(beside)
        assert beside[:, 1].min() > trachea[:, 1].max()


def test_it_rises_on_the_right_in_front_and_descends_on_the_left_behind(chests) -> None:
    for chest in chests:
        level = chest.level(chest.carina_xyz_mm[2] - 25)
        parts, count = ndimage.label(chest.labels[level] == 4)
        middles = np.array(ndimage.center_of_mass(parts > 0, parts, range(1, count + 1)))
        front, back = middles[middles[:, 0].argmin()], middles[middles[:, 0].argmax()]
        assert count == 2
        assert front[1] < back[1]


def test_it_reaches_from_the_heart_to_below_the_diaphragm(chests) -> None:
    for chest in chests:
        levels = np.flatnonzero((chest.labels == 4).any(axis=(1, 2)))
        assert levels.min() == 0
        assert np.diff(levels).max() == 1


def test_the_pulmonary_trunk_lies_in_front_and_left_of_the_ascending_aorta(chests) -> None:
    for chest in chests:
        x, y, z = chest.middle_xyz_mm(chest.where("pulmonary_trunk"))
        aorta = chest.labels[chest.level(z)] == 4
        rows, columns = np.nonzero(aorta)
        grid = chest.block.grid
        ahead = grid.y.flatten().numpy()[rows] < chest.carina_xyz_mm[1] - 10
        ascending = columns[ahead]
        assert x > grid.x.flatten().numpy()[ascending].mean()
        assert y < chest.carina_xyz_mm[1] - 20


def test_the_caval_veins_run_on_the_right(chests) -> None:
    for chest in chests:
        aorta = chest.middle_xyz_mm(chest.where("aorta"))
        for name in ("superior_vena_cava", "inferior_vena_cava", "azygos_vein"):
            assert chest.millilitres(name) > 1
            assert chest.middle_xyz_mm(chest.where(name))[0] < aorta[0]


def test_a_wall_surrounds_the_blood(fine_chest) -> None:
    blood = fine_chest.where("aorta")[1:-1]
    held = fine_chest.where("aorta", "aorta_wall")[1:-1]
    assert not (ndimage.binary_dilation(blood) & ~held).any()


def test_veins_open_into_the_atria(chests) -> None:
    for chest in chests:
        for vein, atrium in (("superior_vena_cava", "right_atrium"), ("pulmonary_vein", "left_atrium")):
            near = ndimage.binary_dilation(chest.where(vein), iterations=2)
            assert (near & chest.where(atrium)).any()
