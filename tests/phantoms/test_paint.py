import itertools
from functools import cache

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.paint import Appearance, draw_appearance, painted
from thoar.phantoms.posture import Posture, gravity_zyx
from thoar.phantoms.structures import IDS, LOOK_ALIKES, STRUCTURES

SIZE = 18


def drawn(count: int = 150) -> list[Appearance]:
    return [draw_appearance(rng_for(1, "appearance", number)) for number in range(count)]


@cache
def usual(phase: str) -> list[Appearance]:
    """Appearances of a phase whose outside fat is where it really is: those not randomised beyond reality."""
    return [
        a
        for a in drawn(300)
        if a.contrast.phase == phase
        and -120 < a.mean_hu["subcutaneous_fat"] < -85
        and a.mean_hu["aorta"] > 30
    ]


def blocks(*names: str) -> BodyMap:
    """Return cubes of structures side by side along x."""
    structure = torch.zeros((SIZE, SIZE, SIZE * len(names)), dtype=torch.uint8)
    for place, name in enumerate(names):
        structure[:, :, place * SIZE : (place + 1) * SIZE] = IDS[name]
    return BodyMap(structure=structure, spacing_zyx_mm=(1.5, 1.5, 1.5))


def inner_mean(hu: torch.Tensor, place: int) -> float:
    return float(hu[3:-3, 3:-3, place * SIZE + 4 : (place + 1) * SIZE - 4].mean())


def test_every_structure_gets_a_mean() -> None:
    for appearance in drawn(20):
        assert set(appearance.mean_hu) == set(STRUCTURES)


def test_look_alikes_look_alike() -> None:
    for name, other in LOOK_ALIKES.items():
        one, two = (painted(blocks(n, "muscle"), drawn(1)[0], posture="supine") for n in (name, other))
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("outside", -1024, -990),
        ("trachea", -1024, -930),
        ("lung_lower_lobe_left", -960, -690),
        ("subcutaneous_fat", -140, -70),
        ("muscle", 25, 90),
        ("liver", 15, 150),
        ("marrow", 20, 430),
        ("metal", 2900, 8100),
    ],
)
def test_tissues_are_painted_within_their_range(name: str, least: float, most: float) -> None:
    for appearance in usual("native")[:6]:
        hu = painted(blocks(name, name), appearance, posture="supine")
        assert least <= float(hu.mean()) <= most


def test_phases_brighten_blood_in_their_order() -> None:
    def mean(phase: str, name: str) -> float:
        return float(np.mean([a.mean_hu[name] for a in usual(phase)]))

    for name in ("aorta", "left_ventricle", "left_atrium"):
        assert mean("native", name) + 40 < mean("venous", name)
        assert mean("venous", name) + 60 < mean("arterial", name)
    for name in ("pulmonary_trunk", "lung_artery", "right_ventricle"):
        assert mean("native", name) + 40 < mean("venous", name) < mean("pulmonary", name) - 60


def test_blood_without_contrast_is_about_as_bright_as_muscle() -> None:
    for appearance in usual("native"):
        assert abs(appearance.mean_hu["aorta"] - appearance.mean_hu["muscle"]) < 45


def test_a_share_of_the_cases_is_randomised_beyond_what_is_real() -> None:
    odd = [a for a in drawn() if not 20 < a.mean_hu["muscle"] < 90]
    assert 0.02 < len(odd) / 150 < 0.25


def test_the_esophagus_may_hold_air_fluid_or_contrast_agent() -> None:
    held = np.array([a.mean_hu["esophagus_lumen"] for a in drawn()])
    assert (held < -250).mean() > 0.4
    assert ((held > -60) & (held < 80)).any()
    assert (held > 90).any()


def test_the_same_appearance_gives_the_same_picture_and_another_seed_another() -> None:
    body, appearance = blocks("muscle", "aorta"), drawn(1)[0]
    first = painted(body, appearance, posture="supine")
    assert torch.equal(first, painted(body, appearance, posture="supine"))
    other = msgspec.structs.replace(appearance, seed=appearance.seed + 1)
    assert not torch.equal(first, painted(body, other, posture="supine"))


@pytest.mark.parametrize("posture", ["supine", "prone", "left_side", "right_side"])
def test_the_lungs_are_denser_where_gravity_pulls(posture: Posture) -> None:
    appearance = msgspec.structs.replace(usual("native")[0], gravity_hu=120.0)
    hu = painted(blocks(*["lung_lower_lobe_left"] * 2), appearance, posture=posture)
    axis = int(np.argmax(np.abs(gravity_zyx(posture))))
    halves = hu.split(hu.shape[axis] // 2, dim=axis)
    difference = float(halves[1].mean() - halves[0].mean()) * gravity_zyx(posture)[axis]
    assert 40 < difference < 80


def test_an_edge_is_soft_and_a_wall_of_one_voxel_survives() -> None:
    appearance = msgspec.structs.replace(
        usual("arterial")[0], texture_gain=0.0, mixing_hu=0.0, gravity_hu=0.0
    )
    body = blocks("lung_upper_lobe_left", "trachea")
    body.structure[:, :, SIZE] = IDS["muscle"]
    line = painted(body, appearance, posture="supine")[SIZE // 2, SIZE // 2]
    lung, wall, air = (appearance.mean_hu[n] for n in ("lung_upper_lobe_left", "muscle", "trachea"))
    assert line[SIZE] > (wall + lung) / 2 - 50
    assert lung + 5 < line[SIZE - 1] < wall
    assert air < line[SIZE + 1] < wall


def test_textures_have_the_spread_that_their_table_asks_for() -> None:
    appearance = msgspec.structs.replace(usual("native")[0], texture_gain=1.0)
    spreads = {}
    for name in ("aorta", "muscle", "marrow"):
        spreads[name] = float(painted(blocks(name, name, name), appearance, posture="supine").std())
    assert spreads["aorta"] < 6 < spreads["muscle"] < 20 < spreads["marrow"] < 70
    assert all(a < b for a, b in itertools.pairwise(spreads.values()))
