import itertools

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.imaging.boxed import resampled, same_points

GRID = Geometry.axial((6, 9, 13), (3.0, 0.8, 1.1), origin_xyz_mm=(-5.0, 7.0, 100.0))
BOX = Box(start_zyx=(1, 0, 4), stop_zyx=(4, 5, 13))
VALUES = np.random.default_rng(0).random(BOX.shape_zyx).astype(np.float32)
ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


def whole(box: Box, values: np.ndarray, shape_zyx: tuple[int, int, int] = GRID.shape_zyx) -> np.ndarray:
    array = np.zeros(shape_zyx, dtype=values.dtype)
    array[box.slices] = values
    return array


@pytest.mark.parametrize(("axes", "flipped"), ORDERS)
def test_the_same_points_in_any_order_of_axes_keep_their_values(axes, flipped) -> None:
    target = GRID.reordered(axes, flipped=flipped)
    found = same_points(VALUES, BOX, source=GRID, target=target, tolerance_mm=0.1)
    assert found is not None
    expected = np.flip(whole(BOX, VALUES).transpose(axes), [k for k in range(3) if flipped[k]])
    np.testing.assert_array_equal(whole(*found, target.shape_zyx), expected)


@pytest.mark.parametrize("off_mm", [0.2, 1.5, -3.0])
def test_a_shifted_grid_is_not_of_the_same_points(off_mm: float) -> None:
    matrix = GRID.lps_from_index.copy()
    matrix[1, 3] += off_mm
    other = Geometry(shape_zyx=GRID.shape_zyx, lps_from_index=matrix)
    assert same_points(VALUES, BOX, source=GRID, target=other, tolerance_mm=0.1) is None
    matrix[1, 3] -= off_mm * 0.9
    near = Geometry(shape_zyx=GRID.shape_zyx, lps_from_index=matrix)
    assert (same_points(VALUES, BOX, source=GRID, target=near, tolerance_mm=0.3)) is not None


def test_a_grid_turned_halfway_between_axes_is_not_of_the_same_points() -> None:
    turn = np.eye(4)
    turn[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    turned = Geometry(shape_zyx=GRID.shape_zyx, lps_from_index=turn @ GRID.lps_from_index)
    assert same_points(VALUES, BOX, source=GRID, target=turned, tolerance_mm=0.1) is None
    with pytest.raises(GeometryError, match="parallel"):
        resampled(VALUES, BOX, source=GRID, target=turned)


def test_resampling_onto_the_same_grid_changes_nothing() -> None:
    found = resampled(VALUES, BOX, source=GRID, target=GRID)
    assert found is not None
    np.testing.assert_allclose(whole(*found), whole(BOX, VALUES), rtol=0, atol=1e-6)


def test_resampling_reaches_no_farther_than_the_grid_it_comes_from() -> None:
    larger = GRID.cropped(Box(start_zyx=(-3, -3, -3), stop_zyx=(9, 12, 16)))
    everything = Box.of_shape(GRID.shape_zyx)
    found = resampled(np.ones(GRID.shape_zyx), everything, source=GRID, target=larger)
    assert found is not None
    assert found[0] == everything.shifted((3, 3, 3))
    assert (found[1] == 1).all()


def test_what_lies_beside_the_other_grid_is_nowhere_on_it() -> None:
    elsewhere = GRID.cropped(Box(start_zyx=(50, 0, 0), stop_zyx=(56, 9, 13)))
    assert resampled(VALUES, BOX, source=GRID, target=elsewhere) is None
