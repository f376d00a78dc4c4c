import math
import time

import msgspec
import numpy as np
import pytest

from thoar.metrics.scores import score_organ

SPACING_ZYX_MM = (2.5, 0.9, 1.2)
DISTANCES = ("hausdorff_mm", "hausdorff95_mm", "assd_mm", "average_hausdorff_mm", "centroid_distance_mm")
EMPTY = np.zeros((4, 5, 6), dtype=bool)
FULL = np.ones((4, 5, 6), dtype=bool)


def test_equal_masks_score_perfectly():
    scores = score_organ(FULL, FULL, spacing_zyx_mm=SPACING_ZYX_MM)
    assert scores.dice == scores.surface_dice == 1.0
    assert all(getattr(scores, name) == 0.0 for name in DISTANCES)
    assert scores.predicted_volume_ml == scores.reference_volume_ml == pytest.approx(120 * 2.7 / 1000)


@pytest.mark.parametrize(("prediction", "reference"), [(EMPTY, FULL), (FULL, EMPTY)])
def test_one_empty_mask_scores_zero_and_infinitely_far(prediction, reference):
    scores = score_organ(prediction, reference, spacing_zyx_mm=SPACING_ZYX_MM)
    assert scores.dice == scores.surface_dice == 0.0
    assert all(getattr(scores, name) == math.inf for name in DISTANCES)


def test_two_empty_masks_are_undefined_except_for_their_volumes():
    scores = score_organ(EMPTY, EMPTY, spacing_zyx_mm=SPACING_ZYX_MM)
    assert math.isnan(scores.dice)
    assert math.isnan(scores.surface_dice)
    assert all(math.isnan(getattr(scores, name)) for name in DISTANCES)
    assert scores.predicted_volume_ml == scores.reference_volume_ml == 0.0


def test_scores_do_not_depend_on_the_background_around_the_masks():
    rng = np.random.default_rng(3)
    first, second = rng.random((5, 6, 7)) > 0.6, rng.random((5, 6, 7)) > 0.6
    tight = score_organ(first, second, spacing_zyx_mm=SPACING_ZYX_MM)
    wide = score_organ(np.pad(first, 9), np.pad(second, 9), spacing_zyx_mm=SPACING_ZYX_MM)
    for name, value in msgspec.structs.asdict(tight).items():
        assert getattr(wide, name) == pytest.approx(value, rel=1e-12)


def test_scores_are_symmetric_in_prediction_and_reference():
    rng = np.random.default_rng(4)
    first, second = rng.random((5, 6, 7)) > 0.9, rng.random((5, 6, 7)) > 0.6
    there = score_organ(first, second, spacing_zyx_mm=SPACING_ZYX_MM)
    back = score_organ(second, first, spacing_zyx_mm=SPACING_ZYX_MM)
    for name in ("dice", "surface_dice", *DISTANCES):
        assert getattr(there, name) == pytest.approx(getattr(back, name), rel=1e-12)


def test_the_tolerance_decides_surface_dice():
    shifted = np.roll(np.pad(FULL, 3), 2, axis=2)
    strict = score_organ(np.pad(FULL, 3), shifted, spacing_zyx_mm=SPACING_ZYX_MM, tolerance_mm=1.0)
    lenient = score_organ(np.pad(FULL, 3), shifted, spacing_zyx_mm=SPACING_ZYX_MM, tolerance_mm=2.4)
    assert strict.surface_dice < 1.0 == lenient.surface_dice


def test_impossible_arguments_are_refused():
    with pytest.raises((ValueError, TypeError)):  # TypeError where array types are checked, as here
        score_organ(FULL, np.ones((4, 5, 5), dtype=bool), spacing_zyx_mm=SPACING_ZYX_MM)
    with pytest.raises(ValueError, match="spacing_zyx_mm"):
        score_organ(FULL, FULL, spacing_zyx_mm=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="tolerance_mm"):
        score_organ(FULL, FULL, spacing_zyx_mm=SPACING_ZYX_MM, tolerance_mm=-1.0)


def test_large_organs_are_scored_within_seconds():
    """A heart that fills 300×300×100 voxels takes 0.4 s here; ten times that is a defect."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (100, 300, 300)], indexing="ij", sparse=True)
    reference, prediction = z**2 + y**2 + x**2 < 0.7, z**2 + (y - 0.02) ** 2 + (1.02 * x) ** 2 < 0.7
    start = time.perf_counter()
    score_organ(prediction, reference, spacing_zyx_mm=(2.5, 1.0, 1.0))
    assert time.perf_counter() - start < 5.0
