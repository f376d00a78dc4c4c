from collections.abc import Callable

import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Heart, Pathology
from thoar.phantoms.structures import IDS, ORGAN_STRUCTURES, chosen, organ_labels

HEART = ORGAN_STRUCTURES["heart"]


def with_heart(body: BodyMap, **fields: object) -> BodyMap:
    return diseased(body, Pathology(heart=Heart(**fields), seed=5), posture="supine")


def test_a_large_heart_grows_and_spares_aorta_and_trachea(chest: BodyMap) -> None:
    sick = with_heart(chest, growth_mm=9.0)
    before, after = (
        torch.bincount(organ_labels(b.structure).flatten().int(), minlength=5).float() for b in (chest, sick)
    )
    assert 1.15 < float(after[2] / before[2]) < 1.9
    assert (after[[1, 3, 4]] / before[[1, 3, 4]] > 0.85).all()


def test_fluid_surrounds_the_heart_without_being_heart(
    chest: BodyMap, same_organs: Callable[..., bool]
) -> None:
    sick = with_heart(chest, effusion_mm=10.0)
    fluid, heart = chosen(sick.structure, "effusion"), chosen(chest.structure, *HEART)
    assert 0.1 < float(fluid.sum() / heart.sum()) < 1.0
    assert same_organs(chest, sick)
    near = heart
    for axis in range(3):
        near = near | near.roll(1, axis) | near.roll(-1, axis)
    assert float((fluid & near).sum() / near.sum()) > 0.05
    depth = [float(m.nonzero()[:, 1].float().mean()) for m in (fluid, heart)]
    assert depth[0] > depth[1]  # lower, the patient lies on the back


def test_coronary_calcium_is_small_and_under_the_surface(
    chest: BodyMap, count: Callable[..., int], same_organs: Callable[..., bool]
) -> None:
    sick = with_heart(chest, calcium=10, calcium_mm=3.0)
    assert 0 < count(sick, "heart_calcium") < 60
    assert same_organs(chest, sick)


@pytest.mark.parametrize("valve", ["aortic", "mitral"])
def test_a_valve_is_metal_in_the_heart(
    chest: BodyMap, valve: str, count: Callable[..., int], same_organs: Callable[..., bool]
) -> None:
    sick = with_heart(chest, valve=valve)
    assert 5 < count(sick, "heart_metal") < 300
    assert same_organs(chest, sick)


def test_a_heart_without_chambers_may_have_a_valve_too(chest: BodyMap, count: Callable[..., int]) -> None:
    structure = chest.structure.clone()
    structure[chosen(structure, *HEART)] = IDS["heart_fat"]
    plain = BodyMap(structure=structure, spacing_zyx_mm=chest.spacing_zyx_mm)
    sick = with_heart(plain, valve="aortic", calcium=5, effusion_mm=5.0)
    assert count(sick, "heart_metal") > 0
