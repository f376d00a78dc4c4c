import numpy as np

from thoar.core.random import rng_for
from thoar.phantoms.contrast import GROUPS, draw_contrast

BLOOD = ("arteries", "heart", "upper_veins", "lower_veins", "pulmonary")


def test_every_group_but_bone_has_a_value_in_every_phase() -> None:
    drawn = [draw_contrast(rng_for(0, "contrast", number)) for number in range(60)]
    assert {c.phase for c in drawn} == {"native", "arterial", "venous", "pulmonary"}
    for contrast in drawn:
        assert set(contrast.target_hu) == set(GROUPS) - {"bone"}


def test_without_contrast_all_blood_is_alike_and_no_brighter_than_muscle() -> None:
    drawn = [draw_contrast(rng_for(0, "contrast", number)) for number in range(60)]
    for contrast in (c for c in drawn if c.phase == "native"):
        values = [contrast.target_hu[name] for name in BLOOD]
        assert np.ptp(values) <= 6
        assert 25 < np.mean(values) < 60
