import math

import numpy as np
import pytest

from thoar.metrics.surface import (
    average_hausdorff_mm,
    average_symmetric_surface_distance_mm,
    hausdorff_mm,
    percentile_hausdorff_mm,
    surface_distances,
    surface_voxels,
)

SPACING_ZYX_MM = (2.5, 0.9, 1.2)


def voxel(z, y, x, shape=(9, 9, 9)):
    mask = np.zeros(shape, dtype=bool)
    mask[z, y, x] = True
    return mask


def test_two_single_voxels_are_as_far_apart_as_their_centres():
    distances = surface_distances(voxel(1, 2, 3), voxel(3, 5, 7), spacing_zyx_mm=SPACING_ZYX_MM)
    expected = math.hypot(2 * 2.5, 3 * 0.9, 4 * 1.2)
    assert hausdorff_mm(distances) == pytest.approx(expected)
    assert percentile_hausdorff_mm(distances) == pytest.approx(expected)
    assert average_symmetric_surface_distance_mm(distances) == pytest.approx(expected)
    assert average_hausdorff_mm(distances) == pytest.approx(expected)


def test_equal_masks_are_at_distance_zero():
    mask = np.random.default_rng(0).random((8, 9, 10)) > 0.5
    distances = surface_distances(mask, mask, spacing_zyx_mm=SPACING_ZYX_MM)
    assert hausdorff_mm(distances) == average_hausdorff_mm(distances) == 0.0


def test_surface_voxels_have_a_face_on_the_background_and_the_array_ends_in_background():
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[:5, :5, :5] = True
    surface = surface_voxels(mask)
    assert surface.sum() == 5**3 - 3**3
    assert surface[0, 2, 2]
    assert not surface[1:4, 1:4, 1:4].any()


def test_a_shifted_box_is_as_far_as_its_shift_in_millimetres():
    first, second = np.zeros((12, 20, 20), dtype=bool), np.zeros((12, 20, 20), dtype=bool)
    first[1:7, 3:17, 3:17], second[4:10, 3:17, 3:17] = True, True
    distances = surface_distances(first, second, spacing_zyx_mm=SPACING_ZYX_MM)
    assert hausdorff_mm(distances) == pytest.approx(3 * 2.5)
    assert percentile_hausdorff_mm(distances) == pytest.approx(3 * 2.5)
    # three of six slices lie outside the other box, 1, 2 and 3 slices away
    assert average_hausdorff_mm(distances) == pytest.approx((1 + 2 + 3) * 2.5 / 6)


def test_hd95_takes_the_worse_direction_and_does_not_pool():
    """A long tail in the smaller direction drowns when both directions are pooled (as MedPy does)."""
    prediction, reference = np.zeros((1, 1, 260), dtype=bool), np.zeros((1, 1, 260), dtype=bool)
    reference[..., :200], prediction[..., :10], prediction[..., 258] = True, True, True
    distances = surface_distances(prediction, reference, spacing_zyx_mm=(1.0, 1.0, 1.0))
    from_prediction = np.percentile(distances.from_prediction_mm, 95)
    from_reference = np.percentile(distances.from_reference_mm, 95)
    assert percentile_hausdorff_mm(distances) == max(from_prediction, from_reference)
    pooled = np.percentile(np.concatenate((distances.from_prediction_mm, distances.from_reference_mm)), 95)
    assert pooled != pytest.approx(percentile_hausdorff_mm(distances))


def test_voxels_inside_the_other_mask_count_zero_in_the_average_hausdorff_distance():
    """Nested balls: the surface distances are large, the average over voxels is not."""
    z, y, x = np.meshgrid(*[np.arange(31) - 15] * 3, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    small, large = radius <= 8, radius <= 12
    distances = surface_distances(small, large, spacing_zyx_mm=(1.0, 1.0, 1.0))
    assert distances.mean_from_prediction_mm == 0.0
    assert average_hausdorff_mm(distances) == distances.mean_from_reference_mm / 2
    assert average_symmetric_surface_distance_mm(distances) == pytest.approx(4.0, abs=0.3)


def test_empty_masks_are_refused():
    with pytest.raises(ValueError, match="empty"):
        surface_distances(
            np.zeros((3, 3, 3), dtype=bool), voxel(1, 1, 1, (3, 3, 3)), spacing_zyx_mm=SPACING_ZYX_MM
        )
