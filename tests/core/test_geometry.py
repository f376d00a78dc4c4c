import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry

SHAPE = (3, 4, 5)
ORIENTATIONS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product([False, True], repeat=3))
)
"""All 48 ways to permute and flip the axes of an array."""


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """Turn about x, then y, then z."""
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def oblique(degrees: Sequence[float]) -> Geometry:
    matrix = Geometry.axial(SHAPE, (2.5, 0.7, 0.9), origin_xyz_mm=(-7.0, 11.0, 13.0)).lps_from_index.copy()
    matrix[:3] = rotation(degrees) @ matrix[:3]
    return Geometry(shape_zyx=SHAPE, lps_from_index=matrix)


def test_axial_grid_runs_to_head_back_and_left() -> None:
    grid = Geometry.axial((10, 20, 30), (3.0, 1.0, 2.0), origin_xyz_mm=(5.0, 6.0, 7.0))
    assert grid.position_xyz_mm((1, 0, 0)) == (5.0, 6.0, 10.0)
    assert grid.position_xyz_mm((0, 1, 0)) == (5.0, 7.0, 7.0)
    assert grid.position_xyz_mm((0, 0, 1)) == (7.0, 6.0, 7.0)
    assert grid.origin_xyz_mm == (5.0, 6.0, 7.0)
    assert grid.spacing_zyx_mm == (3.0, 1.0, 2.0)
    assert grid.voxel_volume_ml == pytest.approx(0.006)


@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_canonical_order_undoes_each_of_the_48_orientations(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    axial = Geometry.axial(SHAPE, (2.5, 0.7, 0.9), origin_xyz_mm=(-7.0, 11.0, 13.0))
    turned = axial.reordered(axes, flipped=flipped)
    back_axes, back_flipped = turned.canonical_order()
    assert turned.reordered(back_axes, flipped=back_flipped).same_grid(axial, tolerance_mm=1e-9)


@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
@pytest.mark.parametrize("degrees", [(20.0, -15.0, 30.0), (0.0, 0.0, 40.0), (-30.0, 10.0, 0.0)])
def test_an_oblique_grid_comes_back_oblique_from_every_orientation(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool], degrees: tuple[float, float, float]
) -> None:
    grid = oblique(degrees)
    turned = grid.reordered(axes, flipped=flipped)
    back_axes, back_flipped = turned.canonical_order()
    assert turned.reordered(back_axes, flipped=back_flipped).same_grid(grid, tolerance_mm=1e-9)


@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_reordering_moves_no_voxel_in_the_patient(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    grid = oblique((12.0, 7.0, -25.0))
    numbers = np.arange(60).reshape(SHAPE)
    moved = np.flip(numbers.transpose(axes), [i for i in range(3) if flipped[i]])
    turned = grid.reordered(axes, flipped=flipped)
    assert turned.shape_zyx == moved.shape
    for number in (0, 7, 33, 59):
        (old,) = np.argwhere(numbers == number).tolist()
        (new,) = np.argwhere(moved == number).tolist()
        assert turned.position_xyz_mm(new) == pytest.approx(grid.position_xyz_mm(old), abs=1e-9)


@settings(deadline=None)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_index_is_the_inverse_of_position(
    degrees: tuple[float, float, float], index_zyx: tuple[float, float, float]
) -> None:
    grid = oblique(degrees)
    assert grid.index_zyx(grid.position_xyz_mm(index_zyx)) == pytest.approx(index_zyx, abs=1e-6)


def test_a_crop_keeps_its_place_in_the_patient_even_beyond_the_faces() -> None:
    grid = oblique((10.0, 20.0, 30.0))
    box = Box(start_zyx=(-1, 2, 1), stop_zyx=(2, 9, 4))
    part = grid.cropped(box)
    assert part.shape_zyx == (3, 7, 3)
    assert part.position_xyz_mm((0, 0, 0)) == pytest.approx(grid.position_xyz_mm((-1, 2, 1)))
    assert part.position_xyz_mm((2, 6, 2)) == pytest.approx(grid.position_xyz_mm((1, 8, 3)))


def test_grids_are_compared_at_their_farthest_corner() -> None:
    grid = Geometry.axial((101, 1, 1), (1.0, 1.0, 1.0))
    stretched = Geometry.axial((101, 1, 1), (1.001, 1.0, 1.0))
    assert grid.difference_mm(stretched) == pytest.approx(0.1)
    assert not grid.same_grid(stretched)
    assert grid.same_grid(stretched, tolerance_mm=0.11)
    assert grid.difference_mm(Geometry.axial((100, 1, 1), (1.0, 1.0, 1.0))) == float("inf")


def broken(change: tuple[int, int], value: float) -> np.ndarray:
    matrix = Geometry.axial(SHAPE, (2.0, 1.0, 1.0)).lps_from_index.copy()
    matrix[change] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (broken((0, 3), np.nan), "no numbers"),
        (broken((1, 1), np.inf), "no numbers"),
        (broken((3, 0), 1.0), "not affine"),
        (broken((0, 2), 0.0), "without length"),
        (broken((1, 0), 0.2), "right angles"),
    ],
)
def test_a_broken_matrix_is_refused_with_what_is_wrong(matrix: np.ndarray, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        Geometry(shape_zyx=SHAPE, lps_from_index=matrix)


def test_a_cosine_of_2e_4_is_rounding_and_accepted() -> None:
    assert Geometry(shape_zyx=SHAPE, lps_from_index=broken((1, 0), 4e-4)).shape_zyx == SHAPE


def test_an_axis_without_voxels_is_refused() -> None:
    with pytest.raises(GeometryError, match="at least one voxel"):
        Geometry.axial((3, 0, 3), (1.0, 1.0, 1.0))


def test_a_grid_does_not_change_with_the_array_it_was_made_from() -> None:
    matrix = np.eye(4)
    grid = Geometry(shape_zyx=SHAPE, lps_from_index=matrix)
    matrix[0, 3] = 99.0
    assert grid.origin_xyz_mm == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="read-only"):
        grid.lps_from_index[0, 3] = 1.0
