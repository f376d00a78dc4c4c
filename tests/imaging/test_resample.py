import itertools
import math

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.imaging.resample import covered_box, grid_of_spacing, resample_labels, resample_linear

ORIENTATIONS = [
    (axes, flipped)
    for axes in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]


def positions_mm(grid: Geometry) -> np.ndarray:
    """Return x, y, z of every voxel centre, each of the grid's shape."""
    index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)])
    return np.einsum("ij,jzyx->izyx", grid.lps_from_index, index)[:3]


def ramp(grid: Geometry) -> np.ndarray:
    x, y, z = positions_mm(grid)
    return (3 * x - 2 * y + 5 * z).astype(np.float32)


def oblique(shape_zyx: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> Geometry:
    a = math.radians(10)
    tilt = np.array(
        [[1, 0, 0, 7], [0, math.cos(a), -math.sin(a), -3], [0, math.sin(a), math.cos(a), 90], [0, 0, 0, 1]]
    )
    axial = Geometry.axial(shape_zyx, spacing_zyx_mm)
    return Geometry(shape_zyx=shape_zyx, lps_from_index=tilt @ axial.lps_from_index)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_linear_field_is_reproduced_exactly_in_every_orientation(orientation) -> None:
    axes, flipped = orientation
    base = oblique((9, 14, 11), (2.7, 0.8, 1.3))
    source = base.reordered(axes, flipped=flipped)
    target = grid_of_spacing(base, (2.0, 1.1, 1.0)).cropped(Box(start_zyx=(2, 2, 2), stop_zyx=(9, 8, 11)))
    result = resample_linear(ramp(source), source, target, outside=np.nan)
    np.testing.assert_allclose(result, ramp(target), atol=1e-3)


def test_the_same_grid_gives_the_same_values() -> None:
    grid = oblique((5, 6, 7), (2.7, 0.8, 1.3))
    voxels = np.random.default_rng(0).integers(-1000, 1000, grid.shape_zyx).astype(np.int16)
    np.testing.assert_array_equal(resample_linear(voxels, grid, grid, outside=0.0), voxels)


def test_between_two_voxels_lies_their_weighted_mean() -> None:
    source = Geometry.axial((1, 1, 2), (1.0, 1.0, 1.0))
    target = Geometry.axial((1, 1, 5), (1.0, 1.0, 0.25))
    result = resample_linear(np.array([[[0, 100]]], dtype=np.uint8), source, target, outside=-1.0)
    assert result.ravel().tolist() == [0, 25, 50, 75, 100]


def test_half_a_voxel_beyond_the_outermost_centres_is_the_edge_and_farther_is_outside() -> None:
    source = Geometry.axial((1, 1, 2), (1.0, 1.0, 1.0))
    target = Geometry.axial((1, 1, 9), (1.0, 1.0, 0.5), origin_xyz_mm=(-1.5, 0.0, 0.0))
    result = resample_linear(np.array([[[10.0, 20.0]]]), source, target, outside=-1.0)
    assert result.ravel().tolist() == [-1, -1, 10, 10, 15, 20, 20, -1, -1]


def test_a_target_far_away_is_all_outside() -> None:
    source = Geometry.axial((3, 3, 3), (1.0, 1.0, 1.0))
    target = Geometry.axial((3, 3, 3), (1.0, 1.0, 1.0), origin_xyz_mm=(50.0, 0.0, 0.0))
    assert (resample_linear(np.ones((3, 3, 3)), source, target, outside=-7.0) == -7).all()
    assert covered_box(source, target) is None


def test_grids_that_are_not_parallel_are_refused() -> None:
    source = Geometry.axial((5, 5, 5), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="not parallel"):
        resample_linear(np.zeros((5, 5, 5)), source, oblique((5, 5, 5), (1.0, 1.0, 1.0)), outside=0.0)


@pytest.mark.parametrize("spacing_zyx_mm", [(0.5, 0.4, 0.4), (3.0, 1.0, 1.0), (9.7, 2.9, 0.61)])
@pytest.mark.parametrize("shape_zyx", [(20, 31, 30), (21, 30, 33)])
def test_there_and_back_does_not_drift(spacing_zyx_mm, shape_zyx) -> None:
    source = oblique(shape_zyx, (3.0, 0.9, 1.1))
    grid = grid_of_spacing(source, spacing_zyx_mm)
    there = resample_linear(ramp(source), source, grid, outside=np.nan)
    back = resample_linear(there, grid, source, outside=np.nan)
    inner = (slice(5, -5), slice(5, -5), slice(5, -5))  # at the faces a ramp's edge value goes on
    np.testing.assert_allclose(back[inner], ramp(source)[inner], atol=2e-2)  # 0.004 mm on a ramp of 5 per mm


@pytest.mark.parametrize("spacing_zyx_mm", [(0.5, 0.4, 0.4), (3.0, 1.0, 1.0), (9.7, 2.9, 0.61)])
def test_the_new_grid_is_centred_and_each_covers_the_others_centres(spacing_zyx_mm) -> None:
    source = oblique((20, 31, 30), (3.0, 0.9, 1.1))
    grid = grid_of_spacing(source, spacing_zyx_mm)
    middles = [g.position_xyz_mm([(n - 1) / 2 for n in g.shape_zyx]) for g in (source, grid)]
    np.testing.assert_allclose(middles[0], middles[1], atol=1e-9)
    np.testing.assert_allclose(grid.spacing_zyx_mm, spacing_zyx_mm)
    assert covered_box(source, grid) == Box.of_shape(grid.shape_zyx)
    assert covered_box(grid, source) == Box.of_shape(source.shape_zyx)


def test_a_field_of_view_of_whole_voxels_gets_no_extra_voxel() -> None:
    source = Geometry.axial((100, 512, 512), (3.0, 0.9765625, 0.9765625))
    assert grid_of_spacing(source, (3.0, 1.0, 1.0)).shape_zyx == (100, 500, 500)


def test_labels_survive_a_round_trip_through_another_spacing() -> None:
    source = oblique((30, 60, 60), (3.0, 1.0, 1.0))
    x, y, z = np.array(source.position_xyz_mm((15, 30, 30)))
    px, py, pz = positions_mm(source)
    labels = np.zeros(source.shape_zyx, dtype=np.uint16)
    labels[(px - x) ** 2 + (py - y) ** 2 + (pz - z) ** 2 < 20**2] = 7
    labels[:, 0:4, 0:4] = 300
    grid = grid_of_spacing(source, (2.0, 0.8, 0.8))
    back = resample_labels(resample_labels(labels, source, grid, ids=(7, 300)), grid, source, ids=(7, 300, 9))
    assert back.dtype == np.uint16
    for label in (7, 300):
        a, b = labels == label, back == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.985


def test_labels_not_asked_for_are_dropped() -> None:
    grid = Geometry.axial((3, 3, 3), (1.0, 1.0, 1.0))
    labels = np.full((3, 3, 3), 2, dtype=np.uint8)
    assert not resample_labels(labels, grid, grid, ids=(1,)).any()
    assert (resample_labels(labels, grid, grid, ids=(1, 2)) == 2).all()


def test_a_label_at_the_scans_face_reaches_the_new_grids_face() -> None:
    source = Geometry.axial((10, 10, 10), (3.0, 1.0, 1.0))
    labels = np.ones((10, 10, 10), dtype=np.uint8)
    grid = grid_of_spacing(source, (2.0, 1.5, 0.7))
    assert (resample_labels(labels, source, grid, ids=(1,)) == 1).all()
