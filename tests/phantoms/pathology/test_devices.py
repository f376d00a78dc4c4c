from collections.abc import Callable

import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Box, Devices, Pathology
from thoar.phantoms.structures import LOBES, chosen

PACEMAKER = Box(side="left", below_mm=45.0, aside_mm=0.0, half_mm=(22.0, 5.0, 22.0), depth_mm=5.0, leads=2)
PORT = Box(side="right", below_mm=45.0, aside_mm=0.0, half_mm=(13.0, 5.0, 13.0), depth_mm=5.0)


def with_devices(body: BodyMap, **fields: object) -> BodyMap:
    return diseased(body, Pathology(devices=Devices(**fields), seed=2), posture="supine")


def test_a_pacemaker_lies_in_the_left_front_wall_with_leads_to_the_right_heart(
    chest: BodyMap, count: Callable[..., int], same_organs: Callable[..., bool]
) -> None:
    sick = with_devices(chest, pacemaker=PACEMAKER)
    box = chosen(sick.structure, "metal").nonzero().float() * 3
    assert 0.5 < len(box) * 27 / (44 * 10 * 44) < 1.2
    assert float(box[:, 2].min()) > 165
    assert float(box[:, 1].max()) < 114
    assert not bool(chosen(chest.structure[chosen(sick.structure, "metal")], *LOBES).any())
    assert count(sick, "vein_lead") > 20
    assert count(sick, "heart_metal") > 5  # the part in the heart stays heart
    assert same_organs(chest, sick)


def test_leads_run_through_the_vena_cava(chest: BodyMap) -> None:
    sick = with_devices(chest, pacemaker=PACEMAKER)
    leads = chosen(sick.structure, "vein_lead")
    cava = chosen(chest.structure, "superior_vena_cava")
    heights = (leads & cava).any(dim=2).any(dim=1)
    assert float(heights.sum() / cava.any(dim=2).any(dim=1).sum()) > 0.7


def test_a_port_on_the_right_ends_before_the_heart(
    chest: BodyMap, count: Callable[..., int], same_organs: Callable[..., bool]
) -> None:
    sick = with_devices(chest, port=PORT)
    assert float(chosen(sick.structure, "metal").nonzero()[:, 2].max()) * 3 < 165
    assert count(sick, "plastic") > 15
    assert count(sick, "heart_metal", "vein_lead") == 0
    assert same_organs(chest, sick)


def test_wires_go_round_the_sternum(chest: BodyMap, same_organs: Callable[..., bool]) -> None:
    sick = with_devices(chest, wires=5)
    wires = chosen(sick.structure, "metal").nonzero().float() * 3
    assert len(wires) > 20
    assert float((wires[:, 2] - 165).abs().max()) < 22
    assert float(wires[:, 1].max()) - 114 < -60
    assert same_organs(chest, sick)


def test_cables_lie_on_the_skin_outside(chest: BodyMap) -> None:
    sick = with_devices(chest, cables=4)
    changed = sick.structure != chest.structure
    assert bool(changed.any())
    assert bool((chest.structure[changed] == 0).all())
    beside = torch.zeros_like(changed)
    for axis in range(3):
        for step in (-2, -1, 1, 2):
            beside |= (chest.structure > 0).roll(step, axis)
    assert float((changed & beside).sum() / changed.sum()) > 0.8
