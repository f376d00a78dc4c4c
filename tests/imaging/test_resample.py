import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.imaging.resample import (
    coarsened_planes,
    covered_box,
    grid_of_spacing,
    resample_labels,
    resample_linear,
    resample_mask,
    resampled_planes,
)

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


SOURCE = oblique((13, 40, 37), (2.7, 0.8, 1.3))
SPACINGS = [(2.0, 1.1, 1.0), (0.9, 2.0, 2.0), (3.0, 0.5, 3.1), (7.0, 2.9, 0.61), (2.7, 0.8, 1.3)]


def noise(grid: Geometry) -> np.ndarray:
    return np.random.default_rng(3).integers(-1000, 1000, grid.shape_zyx).astype(np.int16)


def by_definition(voxels: np.ndarray, source: Geometry, target: Geometry) -> np.ndarray:
    """Interpolate in float64 at every target voxel's place, the edge going on for half a voxel."""
    index = np.linalg.solve(source.lps_from_index, target.lps_from_index)
    at = np.einsum(
        "ij,jn->in",
        index,
        np.stack(
            [*np.indices(target.shape_zyx).reshape(3, -1), 1 + 0 * np.arange(math.prod(target.shape_zyx))]
        ),
    )[:3]
    inside = np.clip(at, 0, np.array(voxels.shape)[:, None] - 1)
    values = ndimage.map_coordinates(voxels.astype(np.float64), inside, order=1)
    values[(np.abs(at - inside) > 0.5).any(axis=0)] = -7
    return values.reshape(target.shape_zyx)


@pytest.mark.parametrize("spacing_zyx_mm", SPACINGS)
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_every_voxel_is_what_linear_interpolation_says(spacing_zyx_mm, orientation) -> None:
    axes, flipped = orientation
    source = SOURCE.reordered(axes, flipped=flipped)
    beyond = Box(start_zyx=(-2, -3, -4), stop_zyx=(9, 11, 30))
    target = grid_of_spacing(SOURCE, spacing_zyx_mm).cropped(beyond)
    found = resample_linear(noise(source), source, target, outside=-7.0)
    np.testing.assert_allclose(found, by_definition(noise(source), source, target), atol=2e-3)


@pytest.mark.parametrize("spacing_zyx_mm", SPACINGS)
@pytest.mark.parametrize("threads", [2, 3, 50])
def test_the_number_of_threads_changes_no_bit(spacing_zyx_mm, threads: int) -> None:
    target = grid_of_spacing(SOURCE, spacing_zyx_mm)
    one = resample_linear(noise(SOURCE), SOURCE, target, outside=0.0)
    several = resample_linear(noise(SOURCE), SOURCE, target, outside=0.0, threads=threads)
    np.testing.assert_array_equal(one, several)
    mask = noise(SOURCE) > 0
    one = resample_mask(mask, SOURCE, target)
    np.testing.assert_array_equal(one, resample_mask(mask, SOURCE, target, threads=threads))


@pytest.mark.parametrize("spacing_zyx_mm", SPACINGS)
def test_planes_of_a_box_are_those_of_the_whole_in_whatever_order_they_are_asked_for(spacing_zyx_mm) -> None:
    target = grid_of_spacing(SOURCE, spacing_zyx_mm)
    whole = resample_linear(noise(SOURCE), SOURCE, target, outside=0.0)
    box = Box(start_zyx=(1, 2, 3), stop_zyx=(5, 13, 12))
    plane_at = resampled_planes(noise(SOURCE), SOURCE, target, outside=0.0, box_zyx=box)
    for level in (3, 0, 1, 2, 2, 0):
        np.testing.assert_array_equal(plane_at(level), whole[box.slices][level])


@pytest.mark.parametrize("between_mm", SPACINGS)
@pytest.mark.parametrize("spacing_zyx_mm", [(3.0, 3.0, 3.0), (5.0, 2.0, 9.0)])
def test_coarsened_planes_are_those_of_two_steps(between_mm, spacing_zyx_mm) -> None:
    between = grid_of_spacing(SOURCE, between_mm)
    coarse = grid_of_spacing(between, spacing_zyx_mm)
    first = resample_linear(noise(SOURCE), SOURCE, between, outside=0.0)
    expected = resample_linear(first, between, coarse, outside=0.0)
    plane_at = coarsened_planes(noise(SOURCE), SOURCE, between=between, coarse=coarse, outside=0.0)
    found = np.stack([plane_at(level) for level in range(len(expected))])
    np.testing.assert_array_equal(found, expected)


def test_a_mask_is_where_its_share_is_at_least_half() -> None:
    mask = noise(SOURCE) > 0
    target = grid_of_spacing(SOURCE, (2.0, 0.5, 1.3))
    share = resample_linear(mask, SOURCE, target, outside=0.0)
    np.testing.assert_array_equal(resample_mask(mask, SOURCE, target), share >= 0.5)


def test_the_array_that_is_read_stays_as_it_is() -> None:
    voxels = noise(SOURCE).astype(np.float32)
    before = voxels.copy()
    shifted = SOURCE.cropped(Box(start_zyx=(-1, -1, -1), stop_zyx=(13, 40, 37)))
    for target in (SOURCE, shifted):
        resample_linear(voxels, SOURCE, target, outside=-5.0)
    np.testing.assert_array_equal(voxels, before)
