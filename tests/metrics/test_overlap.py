import math

import numpy as np
import pytest

from thoar.metrics.overlap import centroid_distance_mm, dice, volume_ml


def box(shape, start, stop):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def test_dice_of_two_half_overlapping_boxes_is_a_half():
    first, second = box((4, 4, 8), (0, 0, 0), (4, 4, 4)), box((4, 4, 8), (0, 0, 2), (4, 4, 6))
    assert dice(first, second) == 0.5


def test_dice_of_two_empty_masks_is_undefined_and_of_one_empty_mask_zero():
    empty, full = np.zeros((2, 2, 2), dtype=bool), np.ones((2, 2, 2), dtype=bool)
    assert math.isnan(dice(empty, empty))
    assert dice(empty, full) == dice(full, empty) == 0.0


def test_volume_counts_voxels_in_millilitres():
    assert volume_ml(box((5, 5, 5), (0, 0, 0), (2, 5, 5)), (2.0, 10.0, 1.0)) == pytest.approx(1.0)


def test_centroids_move_in_millimetres_along_each_axis():
    first, second = box((9, 9, 9), (0, 0, 0), (2, 3, 4)), box((9, 9, 9), (1, 2, 3), (3, 5, 7))
    expected = math.hypot(1 * 3.0, 2 * 0.9, 3 * 1.1)
    assert centroid_distance_mm(first, second, spacing_zyx_mm=(3.0, 0.9, 1.1)) == pytest.approx(expected)


def test_centroid_of_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="no centroid"):
        centroid_distance_mm(
            np.zeros((2, 2, 2), dtype=bool), np.ones((2, 2, 2), dtype=bool), spacing_zyx_mm=(1.0, 1.0, 1.0)
        )
