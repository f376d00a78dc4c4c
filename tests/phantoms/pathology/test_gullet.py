from collections.abc import Callable

import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Gullet, Pathology
from thoar.phantoms.posture import Posture
from thoar.phantoms.structures import LUNGS, ORGAN_STRUCTURES, chosen, organ_labels

ESOPHAGUS = ORGAN_STRUCTURES["esophagus"]


def with_gullet(body: BodyMap, *, posture: Posture = "supine", **fields: object) -> BodyMap:
    return diseased(body, Pathology(gullet=Gullet(**fields), seed=1), posture=posture)


def test_a_tube_runs_through_the_whole_esophagus_and_is_esophagus(
    chest: BodyMap, same_organs: Callable[..., bool]
) -> None:
    sick = with_gullet(chest, tube_mm=3.0)
    held = chosen(sick.structure, "esophagus_tube").any(dim=2).any(dim=1)
    slices = chosen(chest.structure, *ESOPHAGUS).any(dim=2).any(dim=1)
    assert float(held.sum() / slices.sum()) > 0.95
    assert same_organs(chest, sick)


def test_a_tumour_thickens_its_segment_alone(chest: BodyMap) -> None:
    sick = with_gullet(chest, tumour_mm=8.0, tumour_level=0.5, tumour_length_mm=45.0)
    before, after = (chosen(b.structure, *ESOPHAGUS).sum(dim=(1, 2)).float() for b in (chest, sick))
    ratio = after[20:90] / before[20:90]
    assert float(ratio[30:40].mean()) > 1.3
    assert float((ratio[:12] - 1).abs().max()) < 0.15
    assert float((ratio[-12:] - 1).abs().max()) < 0.15


def test_a_dilated_esophagus_has_an_open_lumen(chest: BodyMap, count: Callable[..., int]) -> None:
    sick = with_gullet(chest, dilation_mm=8.0)
    assert count(sick, *ESOPHAGUS) > 1.4 * count(chest, *ESOPHAGUS)
    assert count(sick, "esophagus_lumen") > 0.2 * count(sick, *ESOPHAGUS)


def test_a_hernia_lies_beside_the_esophagus_with_gas_above_its_content(
    chest: BodyMap, count: Callable[..., int]
) -> None:
    for posture, sign in (("supine", 1), ("prone", -1)):
        hernia = {"hernia_mm": 26.0, "hernia_gas": 0.4, "hernia_angle_deg": 150.0, "hernia_level_mm": 50.0}
        sick = with_gullet(chest, posture=posture, **hernia)
        assert count(sick, "hernia_wall") > 30
        gas, content = (
            chosen(sick.structure, n).nonzero()[:, 1].float() for n in ("stomach_gas", "hernia_content")
        )
        assert sign * float(content.mean() - gas.mean()) > 2
        heights = chosen(sick.structure, "hernia_wall", "hernia_content").nonzero()[:, 0].float() * 3
        assert abs(float(heights.mean()) - 110) < 20


def test_a_hernia_replaces_no_organ_and_moves_them_little(chest: BodyMap) -> None:
    sick = with_gullet(chest, hernia_mm=26.0, hernia_angle_deg=180.0)
    before, after = (
        torch.bincount(organ_labels(b.structure).flatten().int(), minlength=5)[1:].float()
        for b in (chest, sick)
    )
    assert ((after / before - 1).abs() < 0.2).all()
    new = chosen(sick.structure, "hernia_wall", "hernia_content")
    assert float(chosen(chest.structure[new], "mediastinal_fat", *LUNGS).float().mean()) > 0.6
