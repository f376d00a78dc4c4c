"""The heart of ten patients."""

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.testing import assert_allclose

from thoar.phantoms.parametric.heart import draw_heart, heart_place
from thoar.phantoms.structures import ORGAN_STRUCTURES

ORDERED = ("left_ventricle", "right_ventricle", "left_atrium", "right_atrium")


def test_volumes_lie_in_ranges_of_adults(chests) -> None:
    """Chambers at rest in CT: Lin et al., Circ Cardiovasc Imaging 1 (2008) 200, widened by two deviations."""
    ranges = {
        "left_ventricle": (40, 230), "right_ventricle": (50, 260), "left_atrium": (25, 150),
        "right_atrium": (30, 190), "left_myocardium": (70, 230),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        volumes = [chest.millilitres(name) for chest in chests]
        assert min(volumes) > low, name
        assert max(volumes) < high, name


def test_size_follows_its_parameter(chests) -> None:
    inside = [name for name in ORGAN_STRUCTURES["heart"] if not name.startswith("pulmonary")]
    ratios = [c.millilitres(*inside) / c.mediastinum.heart.volume_ml for c in chests]
    assert_allclose(ratios, 1.0, atol=0.3)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.12)


def test_the_apex_points_to_the_left_to_the_front_and_down(chests) -> None:
    for chest in chests:
        place = heart_place(chest.build, chest.mediastinum.heart, carina_xyz_mm=chest.carina_xyz_mm)
        ax, ay, az = np.array(place.point("apex")) - place.centre_xyz_mm
        assert ax > 20
        assert ay < -5
        assert az < -5


def test_chambers_lie_as_in_every_chest(chests) -> None:
    for chest in chests:
        middles = (chest.middle_xyz_mm(chest.where(name)) for name in ORDERED)
        left, right, left_atrium, right_atrium = middles
        assert left[0] > right[0] > right_atrium[0]
        assert right[1] < left[1] < left_atrium[1]
        assert left_atrium[2] > left[2]


def test_muscle_separates_the_ventricles(chests) -> None:
    for chest in chests:
        left, right = (chest.where(name) for name in ("left_ventricle", "right_ventricle"))
        for axis in range(3):
            assert not (np.roll(left, 1, axis) & right).any()
            assert not (np.roll(left, -1, axis) & right).any()


def test_it_hangs_under_the_fork_of_the_windpipe(chests) -> None:
    for chest in chests:
        x, _, z = chest.middle_xyz_mm(chest.labels == 2)
        assert 40 < chest.carina_xyz_mm[2] - z < 110
        assert 0 < x < 45


def test_a_high_diaphragm_lays_it_down(chests) -> None:
    def mean_elevation_deg(dome_mm: float) -> float:
        build = replace(chests[0].build, dome_mm=dome_mm)
        drawn = [draw_heart(np.random.default_rng(seed), build) for seed in range(30)]
        return float(np.mean([heart.elevation_deg for heart in drawn]))

    assert mean_elevation_deg(55.0) > mean_elevation_deg(110.0) + 8
