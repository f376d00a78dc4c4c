import numpy as np
import pytest

from thoar.phantoms.shapes import Canvas, blended, ellipsoid_distance, joined, tube, tube_distance


def grid(size: int = 41, step_mm: float = 1.0) -> np.ndarray:
    axis = (np.arange(size) - (size - 1) / 2) * step_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([x, y, z]).astype(np.float32)


def test_straight_tube_has_a_cylinders_distance() -> None:
    points = grid()
    distance = tube_distance(
        points, tube([(0.0, 0.0, -40.0, 6.0), (0.0, 0.0, 0.0, 6.0), (0.0, 0.0, 40.0, 6.0)], step_mm=0.5)
    )
    true = np.hypot(points[0], points[1]) - 6
    near = (true > -5) & (true < 5)
    np.testing.assert_allclose(distance[near], true[near], atol=0.05)
    assert (distance[true > 9] > 5).all()


def test_flat_tube_is_lower_than_wide() -> None:
    points = grid()
    inside = (
        tube_distance(
            points, tube([(0.0, 0.0, -40.0, 8.0), (0.0, 0.0, 0.0, 8.0), (0.0, 0.0, 40.0, 8.0)], flat=0.5)
        )
        < 0
    )
    middle = inside[20]
    assert middle.any(axis=0).sum() == pytest.approx(2 * middle.any(axis=1).sum(), abs=2)


def test_joined_tubes_are_their_union() -> None:
    points = grid()
    a, b = (
        tube([(-9.0, 0.0, -20.0, 4.0), (-9.0, 0.0, 20.0, 3.0)]),
        tube([(9.0, 0.0, -20.0, 4.0), (9.0, 0.0, 20.0, 5.0)]),
    )
    union = tube_distance(points, joined([a, b])) < 0
    np.testing.assert_array_equal(union, (tube_distance(points, a) < 0) | (tube_distance(points, b) < 0))


def test_ball_has_a_balls_distance_and_an_ellipsoid_its_volume() -> None:
    points = grid()
    ball = ellipsoid_distance(points, centre_xyz_mm=(1.0, 2.0, 3.0), radius_xyz_mm=(10.0, 10.0, 10.0))
    true = np.sqrt(((points - np.array([1, 2, 3])[:, None, None, None]) ** 2).sum(axis=0)) - 10
    np.testing.assert_allclose(ball[true > -8], true[true > -8], atol=1e-3)
    inside = ellipsoid_distance(points, centre_xyz_mm=(0.0, 0.0, 0.0), radius_xyz_mm=(15.0, 9.0, 6.0)) < 0
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 15 * 9 * 6, rel=0.03)


def test_blending_only_adds() -> None:
    points = grid()
    a = ellipsoid_distance(points, centre_xyz_mm=(-7.0, 0.0, 0.0), radius_xyz_mm=(8.0, 8.0, 8.0))
    b = ellipsoid_distance(points, centre_xyz_mm=(7.0, 0.0, 0.0), radius_xyz_mm=(8.0, 8.0, 8.0))
    both = blended(a, b, radius_mm=6.0)
    assert (both <= np.minimum(a, b)).all()
    assert (both < 0).sum() > ((a < 0) | (b < 0)).sum()


def test_paint_fills_half_a_voxel_half() -> None:
    canvas = Canvas.blank((1, 1, 3), hu=-100.0, edge_mm=2.0)
    inside = canvas.paint(np.array([[[-5.0, 0.0, 5.0]]], dtype=np.float32), 100.0)
    np.testing.assert_allclose(canvas.hu, [[[100, 0, -100]]])
    np.testing.assert_array_equal(inside, [[[True, True, False]]])
