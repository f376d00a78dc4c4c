from collections.abc import Callable

import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Nodes, Pathology, Tumour
from thoar.phantoms.structures import LOBES, LUNGS, chosen, organ_labels

RADIUS_MM = 24.0
BALL_ML = 4 / 3 * 3.1416 * 2.4**3


def with_tumour(body: BodyMap, **fields: object) -> BodyMap:
    record = {"site": "lung", "side": "left", "place": 0.5, "radius_mm": RADIUS_MM, **fields}
    return diseased(body, Pathology(tumours=(Tumour(**record),)), posture="supine")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mass_of_its_radius_grows_in_the_lung_of_its_side(
    chest: BodyMap, side: str, count: Callable[..., int]
) -> None:
    sick = with_tumour(chest, side=side)
    volume_ml = count(sick, "tumour") * 0.027
    assert 0.25 * BALL_ML < volume_ml < 1.4 * BALL_ML  # the wall cuts it
    x = chosen(sick.structure, "tumour").nonzero()[:, 2].float().mean() * 3 - 165
    assert float(x) * (1 if side == "left" else -1) > 20


def test_a_mass_replaces_no_organ(chest: BodyMap, same_organs: Callable[..., bool]) -> None:
    for site in ("lung", "hilum", "mediastinum", "apex"):
        sick = with_tumour(chest, site=site, radius_mm=35.0)
        assert bool(chosen(sick.structure, "tumour").any())
        assert same_organs(chest, sick), site


def test_an_apical_mass_is_near_the_top_and_may_enter_the_wall(
    chest: BodyMap, count: Callable[..., int]
) -> None:
    sick = with_tumour(chest, site="apex", place=0.97)
    z = chosen(sick.structure, "tumour").nonzero()[:, 0].float().mean()
    top = chosen(chest.structure, *LOBES).nonzero()[:, 0].max()
    assert float(top - z) * 3 < RADIUS_MM
    assert count(sick, "muscle", "cortical_bone") < count(chest, "muscle", "cortical_bone")


def test_a_central_mass_pushes_organs_away_and_keeps_their_size(chest: BodyMap) -> None:
    sick = with_tumour(chest, site="mediastinum", press=0.6, radius_mm=30.0)
    before, after = (
        torch.bincount(organ_labels(b.structure).flatten().int(), minlength=5)[1:].float()
        for b in (chest, sick)
    )
    assert not torch.equal(before, after)
    assert (((after / before) - 1).abs() < 0.25).all()


def test_a_cavity_holds_gas_inside_the_mass(chest: BodyMap, count: Callable[..., int]) -> None:
    sick = with_tumour(chest, cavity=0.5)
    gas, mass = count(sick, "tumour_cavity"), count(sick, "tumour")
    assert 0.03 < gas / mass < 0.5


def test_nodes_swell_in_fat_near_the_airways(
    chest: BodyMap, count: Callable[..., int], same_organs: Callable[..., bool]
) -> None:
    nodes = Nodes(places=(0.2, 0.5, 0.8), radius_mm=(10.0,) * 3)
    sick = diseased(chest, Pathology(nodes=nodes), posture="supine")
    found = chosen(sick.structure, "lymph_node")
    assert 10 < int(found.sum()) < 3 * 1.5 * 4.2e3 / 27
    assert bool(chosen(chest.structure[found], "mediastinal_fat", *LUNGS).all())
    assert same_organs(chest, sick)
