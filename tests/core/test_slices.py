import numpy as np
import pytest

from thoar.core.errors import GeometryError
from thoar.core.slices import SlicePlanes, SliceStack

ROW, COLUMN = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.8, -0.6])
NORMAL = np.cross(ROW, COLUMN)
START = np.array([-100.0, -80.0, 30.0])


def planes(depths_mm: object, shifts_yx_mm: object = (0.0, 0.0), **changed: object) -> SlicePlanes:
    depths = np.asarray(depths_mm, dtype=float)
    shifts = np.broadcast_to(np.asarray(shifts_yx_mm, dtype=float), (len(depths), 2))
    origins = START + np.outer(depths, NORMAL) + np.outer(shifts[:, 0], COLUMN) + np.outer(shifts[:, 1], ROW)
    given = {
        "origins_xyz_mm": origins,
        "along_row_xyz": ROW,
        "along_column_xyz": COLUMN,
        "spacing_yx_mm": (0.7, 0.9),
        "shape_yx": (4, 5),
    }
    return SlicePlanes(**{**given, **changed})


def test_even_slices_are_a_grid_in_their_own_order() -> None:
    geometry = planes(np.arange(6) * 2.5).regular_geometry()
    assert geometry is not None
    assert geometry.shape_zyx == (6, 4, 5)
    assert geometry.spacing_zyx_mm == pytest.approx((2.5, 0.7, 0.9))
    expected = START + 5 * 2.5 * NORMAL + 3 * 0.7 * COLUMN + 4 * 0.9 * ROW
    assert geometry.position_xyz_mm((5, 3, 4)) == pytest.approx(expected)


def test_a_point_of_a_slice_lies_where_the_grid_says_and_returns() -> None:
    stack = planes(np.arange(6) * 2.5)
    geometry = stack.regular_geometry()
    assert geometry is not None
    points = np.array([[0.0, 0.0], [1.5, 3.25]])
    found = stack.position_xyz_mm(2, points)
    assert found == pytest.approx(np.array([geometry.position_xyz_mm((2, *point)) for point in points]))
    assert stack.points_yx(2, found) == pytest.approx(points)
    assert stack.points_yx(2, found + 7 * NORMAL) == pytest.approx(points)


def test_a_far_point_returns_where_directions_are_barely_at_right_angles() -> None:
    leaning = np.array([9e-4, 0.8, -0.6]) / np.linalg.norm([9e-4, 0.8, -0.6])
    stack = planes(np.arange(3) * 2.5, along_column_xyz=leaning)
    points = np.array([[500.0, 3.0], [-20.0, 480.0]])
    assert stack.points_yx(1, stack.position_xyz_mm(1, points)) == pytest.approx(points)


@pytest.mark.parametrize(
    ("depths_mm", "shifts_yx_mm"),
    [
        ([0, 6, 12, 15, 18], (0, 0)),
        ([0, 3, 6, 12, 15], (0, 0)),
        ([0, 3, 6.15, 9, 12], (0, 0)),
        ([0, 0.25, 0.56, 0.75, 1], (0, 0)),
        ([0, 3, 6, 9, 12], np.outer(np.arange(5), (0.5, 0))),
        ([0, 3, 6, 9, 12], [[0, 0], [0, 0], [0, 0.15], [0, 0], [0, 0]]),
        ([0], (0, 0)),
    ],
    ids=["two spacings", "gap", "off its place", "off by a fifth of the step", "tilt", "shift", "one"],
)
def test_other_slices_are_no_grid(depths_mm: object, shifts_yx_mm: object) -> None:
    assert planes(depths_mm, shifts_yx_mm).regular_geometry() is None


def test_slices_a_hair_off_their_places_are_a_grid() -> None:
    hair = np.random.default_rng(0).uniform(-0.03, 0.03, (20, 3))
    stack = planes(np.arange(20) * 3.0 + hair[:, 0], hair[:, 1:])
    along, across = stack.irregularity_mm()
    assert 0 < along < 0.1
    assert 0 < across < 0.1
    assert stack.regular_geometry() is not None


@pytest.mark.parametrize("decimals", [1, 2])
@pytest.mark.parametrize("step_mm", [0.5, 0.6, 0.625, 0.75, 1.25, 3.0])
def test_places_rounded_to_a_decimal_are_a_grid_and_one_left_out_is_none(
    step_mm: float, decimals: int
) -> None:
    for start, count in ((-312.45, 4), (17.18, 60), (1204.03, 700)):
        depths = np.round(start + np.arange(count) * step_mm, decimals)
        assert planes(depths - depths[0]).regular_geometry() is not None
        for absent in (1, count // 2, count - 2):
            assert planes(np.delete(depths, absent) - depths[0]).regular_geometry() is None


def test_distances_shifts_and_tilt_are_told() -> None:
    stack = planes([0, 4, 12], [[0, 0], [3, 0], [9, 0]])
    assert stack.depths_mm == pytest.approx([0, 4, 12])
    assert stack.distances_mm == pytest.approx([4, 8])
    assert stack.shifts_yx_mm == pytest.approx(np.array([[0, 0], [3, 0], [9, 0]]))
    assert stack.tilt_degrees() == pytest.approx(np.degrees(np.arctan2(3, 4)))
    assert planes([0]).tilt_degrees() == 0
    assert planes([0]).irregularity_mm() == (0, 0)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"along_row_xyz": np.array([2.0, 0.0, 0.0])}, "no unit vectors"),
        ({"along_row_xyz": COLUMN}, "right angles"),
        ({"along_row_xyz": np.array([np.nan, 0.0, 0.0])}, "no unit vectors"),
        ({"spacing_yx_mm": (0.0, 1.0)}, "above 0"),
        ({"spacing_yx_mm": (float("nan"), 1.0)}, "above 0"),
        ({"spacing_yx_mm": (1.0, float("inf"))}, "above 0"),
        ({"shape_yx": (0, 5)}, "need pixels"),
        ({"origins_xyz_mm": np.zeros((0, 3))}, "need pixels"),
        ({"origins_xyz_mm": np.full((2, 3), np.nan)}, "finite positions"),
        ({"origins_xyz_mm": np.array([START, START])}, "without doubles"),
        ({"origins_xyz_mm": np.array([START, START - NORMAL])}, "an order along their normal"),
    ],
)
def test_impossible_slices_are_refused(changed: dict[str, object], found: str) -> None:
    with pytest.raises(GeometryError, match=found):
        planes([0, 1], **changed)


def test_places_cannot_be_changed_and_pixels_must_fit() -> None:
    stack = planes([0, 1, 2])
    with pytest.raises(ValueError, match="read-only"):
        stack.origins_xyz_mm[0] = 0
    assert SliceStack(voxels=np.zeros((3, 4, 5)), planes=stack).planes is stack
    with pytest.raises(GeometryError, match="does not fit 3 slices"):
        SliceStack(voxels=np.zeros((3, 5, 4)), planes=stack)
