import itertools

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.inference.flags import box_faces_reached, coarse_fine_dice, has_unusual_volume, scan_faces_reached

GRID = Geometry.axial((10, 12, 14), (3.0, 1.0, 1.0))
ORIENTATIONS = [
    (axes, flipped)
    for axes in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
ENDS = {
    "inferior": Box(start_zyx=(0, 5, 5), stop_zyx=(3, 8, 8)),
    "superior": Box(start_zyx=(6, 5, 5), stop_zyx=(10, 8, 8)),
    "anterior": Box(start_zyx=(4, 0, 5), stop_zyx=(6, 8, 8)),
    "posterior": Box(start_zyx=(4, 5, 5), stop_zyx=(6, 12, 8)),
    "right": Box(start_zyx=(4, 5, 0), stop_zyx=(6, 8, 8)),
    "left": Box(start_zyx=(4, 5, 5), stop_zyx=(6, 8, 14)),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("face", ENDS)
def test_a_face_of_the_scan_has_its_name_in_every_orientation(orientation, face: str) -> None:
    axes, flipped = orientation
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[ENDS[face].slices] = True
    turned = np.flip(mask.transpose(axes), tuple(a for a in range(3) if flipped[a]))
    grid = GRID.reordered(axes, flipped=flipped)
    box = Box.of_mask(turned)
    assert box is not None
    assert scan_faces_reached(turned[box.slices], box, grid) == (face,)


def test_a_mask_inside_its_box_reaches_no_face_of_the_scan() -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[1:9, 1:11, 1:13] = True
    assert scan_faces_reached(mask, Box.of_shape(GRID.shape_zyx), GRID) == ()


def test_a_mask_that_fills_the_scan_reaches_every_face() -> None:
    full = np.ones(GRID.shape_zyx, dtype=bool)
    assert set(scan_faces_reached(full, Box.of_shape(GRID.shape_zyx), GRID)) == set(ENDS)


def test_the_end_of_a_box_inside_the_scan_is_no_face_of_the_scan() -> None:
    box = Box(start_zyx=(1, 1, 1), stop_zyx=(9, 11, 13))
    assert scan_faces_reached(np.ones(box.shape_zyx, dtype=bool), box, GRID) == ()


def test_faces_of_the_box_count_but_for_those_of_the_scan() -> None:
    content = Box(start_zyx=(0, 0, 0), stop_zyx=(9, 30, 39))
    inner = Box(start_zyx=(2, 8, 8), stop_zyx=(6, 16, 24))
    every = ("inferior", "superior", "anterior", "posterior", "right", "left")
    assert box_faces_reached(np.ones(inner.shape_zyx, dtype=bool), inner, content, cut_by_scan=()) == every
    padded = Box(start_zyx=(0, 8, 8), stop_zyx=(10, 32, 24))
    full = np.ones(padded.shape_zyx, dtype=bool)
    cut = ("inferior", "superior", "posterior")
    assert box_faces_reached(full, padded, content, cut_by_scan=cut) == ("anterior", "right", "left")


def test_content_that_ends_before_the_scan_does_is_the_end_of_the_box() -> None:
    content = Box(start_zyx=(0, 0, 0), stop_zyx=(9, 30, 39))
    box = Box(start_zyx=(4, 8, 8), stop_zyx=(10, 16, 24))
    mask = np.zeros(box.shape_zyx, dtype=bool)
    mask[3:5, 2:4, 2:4] = True  # up to the content's last slice; behind it lies padding
    assert box_faces_reached(mask, box, content, cut_by_scan=()) == ("superior",)
    assert box_faces_reached(mask, box, content, cut_by_scan=("superior",)) == ()


def cells_of(*places: tuple[int, int, int]) -> np.ndarray:
    cells = np.zeros((4, 4, 4), dtype=bool)
    for place in places:
        cells[place] = True
    return cells


def test_coarse_and_fine_agree_where_every_cell_holds_a_voxel() -> None:
    box = Box(start_zyx=(2, 8, 8), stop_zyx=(6, 24, 24))
    fine = np.zeros(box.shape_zyx, dtype=bool)
    fine[0, 7, 0] = fine[3, 8, 15] = True
    cells = cells_of((1, 1, 1), (2, 2, 2))
    assert coarse_fine_dice(fine, box_zyx=box, cells=cells, stride_zyx=(2, 8, 8)) == 1.0
    half = cells_of((1, 1, 1), (2, 1, 1))
    assert coarse_fine_dice(fine, box_zyx=box, cells=half, stride_zyx=(2, 8, 8)) == 0.5


def test_coarse_cells_outside_the_box_count_against_agreement() -> None:
    box = Box(start_zyx=(2, 8, 8), stop_zyx=(4, 16, 16))
    cells = cells_of((1, 1, 1), (3, 3, 3))
    fine = np.ones(box.shape_zyx, dtype=bool)
    assert coarse_fine_dice(fine, box_zyx=box, cells=cells, stride_zyx=(2, 8, 8)) == pytest.approx(2 / 3)


def test_two_empty_masks_do_not_agree() -> None:
    box = Box(start_zyx=(0, 0, 0), stop_zyx=(2, 8, 8))
    fine = np.zeros(box.shape_zyx, dtype=bool)
    assert coarse_fine_dice(fine, box_zyx=box, cells=cells_of(), stride_zyx=(2, 8, 8)) == 0.0


def test_a_volume_is_unusual_outside_its_range_unless_a_small_one_is_cut() -> None:
    organ = Organ(name="heart", id=2, usual_volume_ml=(300.0, 1500.0))
    assert has_unusual_volume(organ, 299.0, cut_by_scan=False)
    assert not has_unusual_volume(organ, 299.0, cut_by_scan=True)
    assert not has_unusual_volume(organ, 300.0, cut_by_scan=False)
    assert has_unusual_volume(organ, 1501.0, cut_by_scan=True)
    assert not has_unusual_volume(Organ(name="spleen", id=9), 1e6, cut_by_scan=False)
