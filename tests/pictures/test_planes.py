import itertools

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.pictures.planes import mask_plane, pixel_size_mm, position_mm, scan_plane, scene_of, telling_index

HEART = SEGTHOR.organ("heart")
AORTA = SEGTHOR.organ("aorta")
GRID = Geometry.axial((10, 20, 30), (5.0, 2.0, 1.0), origin_xyz_mm=(-15.0, 100.0, 7.0))
ORIENTATIONS = [
    (axes, flipped)
    for axes in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]


def head_front_right() -> np.ndarray:
    """Return a canonical scan whose one bright voxel lies to the head, the front and the right."""
    voxels = np.full(GRID.shape_zyx, -1000, dtype=np.int16)
    voxels[8, 2, 3] = 500
    return voxels


def turned(array: np.ndarray, axes, flipped) -> np.ndarray:
    return np.flip(array.transpose(axes), [a for a in range(3) if flipped[a]])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_right_is_left_and_head_or_front_is_up_in_every_orientation(orientation) -> None:
    mask = head_front_right() > 0
    volume = Volume(
        voxels=turned(head_front_right(), *orientation),
        geometry=GRID.reordered(orientation[0], flipped=orientation[1]),
    )
    whole = turned(mask, *orientation)
    box = Box.of_mask(whole)
    assert box is not None
    scene = scene_of(volume, {HEART: (box, whole[box.slices])}, margin_mm=1000.0)
    for view, index, place in (("axial", 8, (2, 3)), ("coronal", 2, (1, 3)), ("sagittal", 3, (1, 2))):
        assert telling_index(scene, view) == index
        np.testing.assert_array_equal(np.argwhere(scan_plane(scene, view, index) > 0), [place])
        np.testing.assert_array_equal(np.argwhere(mask_plane(scene, view, index, HEART)), [place])


def test_the_view_reaches_the_margin_beyond_the_organs_but_not_beyond_the_scan() -> None:
    volume = Volume(voxels=head_front_right(), geometry=GRID)
    scene = scene_of(volume, {HEART: (Box.of_shape(GRID.shape_zyx), volume.voxels > 0)}, margin_mm=10.0)
    assert scene.view_box == Box(start_zyx=(6, 0, 0), stop_zyx=(10, 8, 14))


def test_a_plane_that_misses_an_organ_shows_nothing_of_it() -> None:
    volume = Volume(voxels=head_front_right(), geometry=GRID)
    scene = scene_of(volume, {HEART: (Box.of_shape(GRID.shape_zyx), volume.voxels > 0)}, margin_mm=99.0)
    assert not mask_plane(scene, "axial", 3, HEART).any()


def test_the_telling_plane_shows_a_small_organ_too() -> None:
    large, small = np.zeros((2, *GRID.shape_zyx), dtype=bool)
    large[2:8, 2:10, 5:20] = True
    small[7, 4, 8] = True
    whole = Box.of_shape(GRID.shape_zyx)
    volume = Volume(voxels=head_front_right(), geometry=GRID)
    scene = scene_of(volume, {HEART: (whole, large), AORTA: (whole, small)}, margin_mm=5.0)
    assert [telling_index(scene, view) for view in ("axial", "coronal", "sagittal")] == [7, 4, 8]


def test_without_organs_the_middle_of_the_whole_scan_is_shown() -> None:
    volume = Volume(voxels=head_front_right(), geometry=GRID)
    scene = scene_of(volume, {HEART: (Box.of_shape(GRID.shape_zyx), volume.voxels > 900)}, margin_mm=5.0)
    assert scene.view_box == Box.of_shape(GRID.shape_zyx)
    assert not scene.masks
    assert telling_index(scene, "coronal") == 10


def test_pixels_and_positions_are_in_patient_millimetres() -> None:
    scene = scene_of(Volume(voxels=head_front_right(), geometry=GRID), {}, margin_mm=5.0)
    assert pixel_size_mm(scene, "coronal") == (5.0, 1.0)
    assert pixel_size_mm(scene, "sagittal") == (5.0, 2.0)
    assert position_mm(scene, "axial", 2) == pytest.approx(17)
    assert position_mm(scene, "coronal", 3) == pytest.approx(106)
    assert position_mm(scene, "sagittal", 4) == pytest.approx(-11)
