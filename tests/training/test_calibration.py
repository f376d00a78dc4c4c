import numpy as np

from thoar.core.configuration import Localisation
from thoar.training.calibration import ENOUGH_CASES, calibrate_organ

SETTINGS = Localisation(margin_cells=2, min_component_cells=1)


def observation(*, short_by: int = 0, inside: float = 0.8, halo: float = 0.3):
    """Return a map that covers a truth of 8 cells per axis but for the last slices, in a weaker halo."""
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[6:14, 6:14, 6:14] = True
    probability = np.full(truth.shape, 0.05, dtype=np.float32)
    probability[4:16, 4:16, 4:16] = halo
    probability[6 : 14 - short_by, 6:14, 6:14] = inside
    if short_by:
        probability[14 - short_by :] = 0.05
    return probability, truth


def test_threshold_separates_the_organ_from_its_halo() -> None:
    found = calibrate_organ("aorta", [observation(halo=0.6)] * ENOUGH_CASES, SETTINGS)
    assert 0.6 < found.threshold <= 0.8


def test_few_cases_do_not_move_the_threshold() -> None:
    few = [observation(halo=0.6)] * (ENOUGH_CASES - 1)
    assert calibrate_organ("aorta", few, SETTINGS).threshold == SETTINGS.threshold


def test_stated_threshold_stays_where_it_is_as_good_as_any() -> None:
    found = calibrate_organ("aorta", [observation()] * ENOUGH_CASES, Localisation(threshold=0.55))
    assert found.threshold == 0.55


def test_margin_grows_at_the_face_where_boxes_fall_short() -> None:
    found = calibrate_organ("aorta", [observation(short_by=4)], SETTINGS)
    assert found.margin_after_zyx == (4, 2, 2)
    assert found.margin_before_zyx == (2, 2, 2)


def test_few_cases_never_shrink_the_margin_and_many_do_to_one_at_least() -> None:
    few = calibrate_organ("aorta", [observation()] * (ENOUGH_CASES - 1), SETTINGS)
    many = calibrate_organ("aorta", [observation()] * ENOUGH_CASES, SETTINGS)
    assert few.margin_before_zyx == (2, 2, 2)
    assert many.margin_before_zyx == many.margin_after_zyx == (1, 1, 1)


def test_one_bad_box_in_forty_does_not_widen_all() -> None:
    observations = [observation()] * 39 + [observation(short_by=5)]
    assert calibrate_organ("aorta", observations, SETTINGS).margin_after_zyx == (1, 1, 1)


def test_organ_the_coarse_map_never_shows_keeps_the_stated_margins() -> None:
    found = calibrate_organ("aorta", [observation(inside=0.01, halo=0.01)], SETTINGS)
    assert found.margin_after_zyx == (2, 2, 2)
