import math

import numpy as np
import pytest

from thoar.metrics.surfels import (
    corner_codes,
    surface_dice,
    surfel_areas_mm2,
    surfel_distances,
    surfels,
)

SPACING_ZYX_MM = (2.5, 0.9, 1.2)


def ball(shape, centre, radius_mm):
    grid = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    squares = [((g - c) * s) ** 2 for g, c, s in zip(grid, centre, SPACING_ZYX_MM, strict=True)]
    return sum(squares) <= radius_mm**2


def test_a_mask_and_its_complement_have_the_same_surface():
    areas = surfel_areas_mm2(SPACING_ZYX_MM)
    np.testing.assert_array_equal(areas, areas[::-1])
    assert areas[0] == areas[255] == 0.0
    assert (areas[1:255] > 0).all()


@pytest.mark.parametrize("code", [0b00001111, 0b00110011, 0b01010101])
def test_a_flat_face_has_the_area_of_the_voxel_face(code):
    dz, dy, dx = SPACING_ZYX_MM
    face = {0b00001111: dy * dx, 0b00110011: dz * dx, 0b01010101: dz * dy}[code]
    assert surfel_areas_mm2(SPACING_ZYX_MM)[code] == pytest.approx(face)


def test_one_corner_inside_has_the_area_of_the_triangle_through_three_edge_middles():
    dz, dy, dx = (s / 2 for s in SPACING_ZYX_MM)
    triangle = 0.5 * math.sqrt((dy * dx) ** 2 + (dz * dx) ** 2 + (dz * dy) ** 2)
    areas = surfel_areas_mm2(SPACING_ZYX_MM)
    for bit in range(8):
        assert areas[1 << bit] == pytest.approx(triangle)


def test_codes_reach_the_outer_corners_of_the_array():
    codes = corner_codes(np.ones((1, 1, 1), dtype=bool))
    assert sorted(codes.ravel().tolist()) == [1 << bit for bit in range(8)]


def test_a_balls_surfels_add_up_to_the_area_of_a_sphere():
    _, areas = surfels(ball((20, 50, 40), (10, 25, 20), 20.0), SPACING_ZYX_MM)
    sphere_mm2 = 4 * math.pi * 20.0**2
    assert sphere_mm2 < areas.sum() < 1.15 * sphere_mm2  # stairs are larger than slopes


def test_a_plate_shifted_by_more_than_the_tolerance_keeps_only_its_rim():
    first, second = np.zeros((12, 30, 30), dtype=bool), np.zeros((12, 30, 30), dtype=bool)
    first[2:4], second[4:6] = True, True  # shift: 2 slices of 2.5 mm
    distances = surfel_distances(first, second, spacing_zyx_mm=SPACING_ZYX_MM)
    assert surface_dice(distances, 5.0) == 1.0
    assert surface_dice(distances, 2.4) < 0.6  # the touching faces are at 0 mm, the outer ones at 5 mm
    assert surface_dice(distances, 0.0) > 0.4


def test_a_distance_equal_to_the_tolerance_counts_as_near_in_spite_of_rounding():
    first, second = np.zeros((1, 1, 9), dtype=bool), np.zeros((1, 1, 9), dtype=bool)
    first[..., 1], second[..., 4] = True, True
    distances = surfel_distances(first, second, spacing_zyx_mm=(0.1, 0.1, 0.1))
    assert surface_dice(distances, 0.3) == 1.0  # 3 × 0.1 is 0.30000000000000004
    assert surface_dice(distances, 0.19) == 0.0


def test_an_empty_mask_is_refused():
    empty = np.zeros((3, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match="no surface"):
        surfel_distances(empty, ~empty, spacing_zyx_mm=SPACING_ZYX_MM)
