"""Who the patient is, and the surfaces that hang on it."""

import msgspec
import numpy as np
import pytest
import torch

from thoar.phantoms.parametric.build import (
    APEX_MM,
    MANUBRIUM_MM,
    SPINE_APEX_MM,
    Build,
    cage_half_mm,
    diaphragm_mm,
    draw_build,
    spine_front_mm,
    spine_left_mm,
    sternum_back_mm,
)  # fmt: skip


def drawn(seed: int) -> Build:
    """Return one patient."""
    return draw_build(np.random.default_rng(seed))


def test_patients_differ_in_sex_arms_and_fat() -> None:
    builds = [drawn(seed) for seed in range(60)]
    assert {b.sex for b in builds} == {"female", "male"}
    assert {b.arms for b in builds} == {"up", "down"}
    fat = [b.fat_mm for b in builds]
    assert max(fat) > 3 * min(fat)
    assert all((b.breast_mm > 0) == (b.sex == "female") for b in builds)


@pytest.mark.parametrize("place", [spine_front_mm, spine_left_mm])
def test_the_spine_is_the_same_for_numbers_arrays_and_tensors(place) -> None:
    levels = np.linspace(-40, 340, 20)
    array = place(drawn(1), levels)
    assert np.allclose(array, [place(drawn(1), float(z)) for z in levels])
    assert np.allclose(array, place(drawn(1), torch.as_tensor(levels)).numpy())


def test_the_spine_lies_farthest_back_in_the_middle_of_the_chest() -> None:
    levels = np.arange(-20.0, 330.0)
    front = spine_front_mm(drawn(2), levels)
    assert abs(levels[np.argmax(front)] - SPINE_APEX_MM) < 2


def test_the_cage_closes_at_the_top_behind_the_breast_bone() -> None:
    z = torch.arange(0.0, APEX_MM, 5.0)
    half_x, half_y, middle = cage_half_mm(drawn(3), z)
    assert bool((half_x.diff() <= 0).all())
    assert half_x[-1] < 0.4 * half_x[0]
    back = sternum_back_mm(drawn(3), z)
    assert bool((back > middle - half_y)[z < MANUBRIUM_MM].all())
    assert bool((back.diff() >= 0).all())


def test_the_right_dome_is_as_high_as_the_build_says_and_the_left_one_lower() -> None:
    build = msgspec.structs.replace(drawn(4), dome_mm=90.0, left_dome_mm=15.0)
    x, y = torch.arange(-110.0, 110.0)[None, :], torch.arange(-80.0, 80.0)[:, None]
    height = diaphragm_mm(build, x, y)
    right, left = height[:, :90].max(), height[:, 150:].max()
    assert abs(float(right) - 90) < 4
    assert 8 < float(right - left) < 20


def test_the_diaphragm_falls_to_the_side_and_more_to_the_back_than_to_the_front() -> None:
    build = drawn(5)
    x = torch.tensor([[-0.46 * build.cage_half_x_mm]])
    front, top, back = (float(diaphragm_mm(build, x, torch.tensor([[y]]))) for y in (-75.0, -15.0, 75.0))
    side = float(diaphragm_mm(build, x * 2.1, torch.tensor([[-15.0]])))
    assert top - side > 30
    assert top - back > top - front + 10
