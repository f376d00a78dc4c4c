import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.imaging.rectify import onto_slices, rectified_grid, rectify

SHAPE_YX = (48, 60)
SPACING_YX_MM = (0.9, 1.1)
AXIAL = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
TURN = np.array([[0.8, -0.36, -0.48], [0.6, 0.48, 0.64], [0.0, -0.8, 0.6]])
OBLIQUE = (TURN[:, 0], TURN[:, 1])
TAN_15 = float(np.tan(np.radians(15)))


def planes_at(depths_mm, shift_yx=(0.0, 0.0), directions=AXIAL) -> SlicePlanes:
    """Slices at such depths, each moved sideways along columns and rows by so many mm per mm of depth."""
    row, column = directions
    depths = np.asarray(depths_mm, dtype=float)[:, None]
    line = np.cross(row, column) + shift_yx[0] * column + shift_yx[1] * row
    return SlicePlanes(
        origins_xyz_mm=np.array([-20.0, 5.0, 100.0]) + depths * line,
        along_row_xyz=row,
        along_column_xyz=column,
        spacing_yx_mm=SPACING_YX_MM,
        shape_yx=SHAPE_YX,
    )


def places_xyz_mm(planes: SlicePlanes) -> np.ndarray:
    """Return x, y, z of every pixel: (slice, row, column, 3)."""
    points = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE_YX), indexing="ij"), axis=-1).reshape(-1, 2)
    found = [planes.position_xyz_mm(k, points.astype(float)) for k in range(len(planes))]
    return np.stack(found).reshape(len(planes), *SHAPE_YX, 3)


def voxels_xyz_mm(grid: Geometry) -> np.ndarray:
    index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)], axis=-1)
    return (index @ grid.lps_from_index.T)[..., :3]


def blob(places: np.ndarray, center: np.ndarray, width_mm: float = 5.0) -> np.ndarray:
    return np.exp(-((places - center) ** 2).sum(axis=-1) / (2 * width_mm**2))


def centroid(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    return (values[..., None] * places).reshape(-1, 3).sum(axis=0) / values.sum()


def middle(planes: SlicePlanes) -> np.ndarray:
    return places_xyz_mm(planes).reshape(-1, 3).mean(axis=0)


EVEN = np.arange(24) * 3.0
SIX_THREE = np.r_[np.arange(8) * 6.0, 42 + np.arange(1, 12) * 3.0]
WITH_GAP = np.delete(EVEN, [9, 10])
JITTER = EVEN + np.random.default_rng(3).uniform(-0.4, 0.4, 24)
FINE = np.arange(100) * 0.7
CASES = {
    "tilted along columns": planes_at(EVEN, (TAN_15, 0)),
    "tilted the other way": planes_at(EVEN, (-TAN_15, 0)),
    "tilted along rows": planes_at(EVEN, (0, TAN_15)),
    "tilted along both, oblique": planes_at(EVEN, (TAN_15, -0.1), OBLIQUE),
    "six then three": planes_at(SIX_THREE),
    "six then three, tilted": planes_at(SIX_THREE, (TAN_15, 0)),
    "a gap": planes_at(WITH_GAP),
    "jitter": planes_at(JITTER),
    "fine steps, tilted": planes_at(FINE, (TAN_15, 0)),
}


@pytest.mark.parametrize("directions", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_an_even_stack_stays_as_it_is(directions, dtype) -> None:
    planes = planes_at(EVEN, directions=directions)
    voxels = np.random.default_rng(1).uniform(-1000, 1000, (24, *SHAPE_YX)).astype(dtype)
    volume = rectify(SliceStack(voxels=voxels, planes=planes))
    expected = planes.regular_geometry()
    assert expected is not None
    assert volume.geometry.same_grid(expected, tolerance_mm=1e-6)
    assert volume.voxels.dtype == dtype
    np.testing.assert_allclose(volume.voxels, voxels, rtol=0, atol=1e-6)


@pytest.mark.parametrize("planes", CASES.values(), ids=CASES)
def test_a_linear_field_keeps_its_place(planes: SlicePlanes) -> None:
    slope, zero = np.array([3.0, -2.0, 5.0]), middle(planes)
    stack = SliceStack(voxels=((places_xyz_mm(planes) - zero) @ slope).astype(np.float32), planes=planes)
    volume = rectify(stack)
    inside = rectify(SliceStack(voxels=np.zeros_like(stack.voxels), planes=planes)).voxels == 0
    inner = inside.copy()
    inner[:, 1:-1, 1:-1] &= (
        inside[:, :-2, 1:-1] & inside[:, 2:, 1:-1] & inside[:, 1:-1, :-2] & inside[:, 1:-1, 2:]
    )
    inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
    expected = (voxels_xyz_mm(volume.geometry) - zero) @ slope
    assert inner.mean() > 0.3
    np.testing.assert_allclose(volume.voxels[inner], expected[inner], rtol=0, atol=5e-3)


@pytest.mark.parametrize("planes", CASES.values(), ids=CASES)
def test_a_shape_does_not_drift(planes: SlicePlanes) -> None:
    center = middle(planes) + np.array([0.37, -0.21, 0.8])
    voxels = (1000 * blob(places_xyz_mm(planes), center)).astype(np.float32)
    volume = rectify(SliceStack(voxels=voxels, planes=planes))
    values = np.maximum(volume.voxels, 0)
    found = centroid(values, voxels_xyz_mm(volume.geometry))
    along = (found - center) @ planes.normal_xyz
    assert np.linalg.norm(found - center - along * planes.normal_xyz) < 0.05
    if (
        np.ptp(planes.distances_mm) < 1e-6
    ):  # else linear interpolation itself bends the shape along the normal
        assert abs(along) < 0.05


@pytest.mark.parametrize("planes", CASES.values(), ids=CASES)
def test_a_probability_comes_back_onto_the_slices_without_drift(planes: SlicePlanes) -> None:
    grid, center = rectified_grid(planes), middle(planes) + np.array([-0.3, 0.4, 0.2])
    whole = blob(voxels_xyz_mm(grid), center).astype(np.float16)
    box = Box.of_mask(whole > 0.01)
    assert box is not None
    found = onto_slices(whole[box.slices], box, grid=grid, planes=planes)
    assert found is not None
    on_slices = np.zeros((len(planes), *SHAPE_YX))
    on_slices[found[0].slices] = found[1]
    expected = blob(places_xyz_mm(planes), center)
    assert np.abs(on_slices - expected).max() < 0.06  # of linear interpolation, and of the box
    error = centroid(on_slices, places_xyz_mm(planes)) - centroid(expected, places_xyz_mm(planes))
    assert np.linalg.norm(error) < 0.05


@pytest.mark.parametrize(
    ("depths", "step", "count"),
    [
        (EVEN, 3.0, 24),
        (SIX_THREE, 3.0, 26),
        (WITH_GAP, 3.0, 24),
        (np.array([0, 6.0, 9.0]), 3.0, 4),
        (np.r_[EVEN, 69.2], 69.2 / 23, 24),  # one stray distance makes no fine grid
        (FINE, 0.7, 100),
    ],
)
def test_planes_lie_at_the_smallest_usual_distance(depths, step: float, count: int) -> None:
    grid = rectified_grid(planes_at(depths))
    assert grid.shape_zyx[0] == count
    assert grid.spacing_zyx_mm[0] == pytest.approx(step)


def test_uneven_slices_are_kept_where_they_lie_on_the_grid() -> None:
    planes = planes_at(SIX_THREE)
    voxels = np.random.default_rng(5).integers(-1000, 1000, (19, *SHAPE_YX)).astype(np.int16)
    volume = rectify(SliceStack(voxels=voxels, planes=planes))
    on_grid = (SIX_THREE / 3).astype(int)
    np.testing.assert_array_equal(volume.voxels[on_grid], voxels)
    np.testing.assert_array_equal(volume.voxels[1], np.rint((voxels[0] + voxels[1].astype(float)) / 2))


@pytest.mark.parametrize("shift_yx", [(TAN_15, 0), (-TAN_15, 0), (0, TAN_15), (0, -TAN_15)])
def test_the_grid_holds_every_tilted_slice_and_air_around_it(shift_yx) -> None:
    planes = planes_at(EVEN, shift_yx)
    stack = SliceStack(voxels=np.full((24, *SHAPE_YX), 40, dtype=np.int16), planes=planes)
    volume = rectify(stack)
    inverse = np.linalg.inv(volume.geometry.lps_from_index)
    places = places_xyz_mm(planes).reshape(-1, 3)
    index = (np.c_[places, np.ones(len(places))] @ inverse.T)[:, :3]
    assert (index > -0.5 - 1e-6).all()
    assert (index < np.array(volume.geometry.shape_zyx) - 0.5 + 1e-6).all()
    assert set(np.unique(volume.voxels)) == {-1000, 40}
    assert ((volume.voxels == 40).sum(axis=(1, 2)) >= SHAPE_YX[0] * SHAPE_YX[1]).all()


def test_probability_on_an_even_stack_comes_back_as_it_was() -> None:
    planes = planes_at(EVEN, directions=OBLIQUE)
    whole = np.random.default_rng(2).random((24, *SHAPE_YX)).astype(np.float32)
    box = Box(start_zyx=(0, 3, 10), stop_zyx=(6, 48, 31))
    found = onto_slices(whole[box.slices], box, grid=rectified_grid(planes), planes=planes)
    assert found is not None
    back = np.zeros_like(whole)
    back[found[0].slices] = found[1]
    expected = np.zeros_like(whole)
    expected[box.slices] = whole[box.slices]
    np.testing.assert_allclose(back, expected, rtol=0, atol=1e-6)


def test_a_mask_that_fills_the_grid_fills_the_slices() -> None:
    planes = planes_at(EVEN, (TAN_15, 0.07))
    grid = rectified_grid(planes)
    found = onto_slices(np.ones(grid.shape_zyx), Box.of_shape(grid.shape_zyx), grid=grid, planes=planes)
    assert found is not None
    assert found[0] == Box.of_shape((24, *SHAPE_YX))
    assert (found[1] == 1).all()


def test_what_lies_between_slices_alone_meets_none() -> None:
    planes = planes_at(np.r_[EVEN[:8], EVEN[:8] + 60])
    box = Box(start_zyx=(12, 4, 4), stop_zyx=(14, 9, 9))
    assert onto_slices(np.ones((2, 5, 5)), box, grid=rectified_grid(planes), planes=planes) is None


def test_one_slice_is_no_volume() -> None:
    with pytest.raises(GeometryError, match="one slice"):
        rectified_grid(planes_at([0.0]))


def test_slices_flung_far_apart_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(GeometryError, match="ImagePositionPatient"):
        rectified_grid(planes_at(np.r_[EVEN, 1e7]))
