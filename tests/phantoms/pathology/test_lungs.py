from collections.abc import Callable

import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Collapse, Consolidation, Dependent, Emphysema, Pathology
from thoar.phantoms.structures import LOBES, LUNGS, chosen

SICK = (
    Pathology(collapse=Collapse(lobe="lung_lower_lobe_left", remains=0.3, airways=True)),
    Pathology(dependent=Dependent(depth_mm=10.0, plates=(0.3, 0.7))),
    Pathology(consolidation=Consolidation(side="right", place=0.5, radius_mm=40, density=0.9, airways=True)),
    Pathology(emphysema=Emphysema(share=0.2, hole_mm=8.0, upper=0.5, bullae=(0.5,), bulla_mm=(20.0,))),
)


@pytest.mark.parametrize("pathology", SICK)
def test_only_lung_changes(chest: BodyMap, pathology: Pathology) -> None:
    sick = diseased(chest, pathology, posture="supine")
    changed = sick.structure != chest.structure
    assert bool(changed.any())
    assert bool(chosen(chest.structure[changed], *LUNGS).all())


def test_a_collapsed_lobe_shrinks_to_the_mediastinum(chest: BodyMap, count: Callable[..., int]) -> None:
    lobe = "lung_lower_lobe_left"
    sick = diseased(chest, SICK[0], posture="supine")
    airless, before = chosen(sick.structure, "atelectasis"), chosen(chest.structure, lobe)
    assert float(airless.sum() / before.sum()) == pytest.approx(0.3, abs=0.05)
    assert count(sick, lobe) == 0
    assert count(sick, "lung_upper_lobe_left") > count(chest, "lung_upper_lobe_left")
    medial = [m.nonzero()[:, 2].float().mean() for m in (airless, before)]
    assert float(medial[0]) < float(medial[1]) - 3


@pytest.mark.parametrize(("posture", "axis", "sign"), [("supine", 1, 1), ("prone", 1, -1)])
def test_dependent_lung_lies_low(chest: BodyMap, posture: str, axis: int, sign: int) -> None:
    sick = diseased(chest, Pathology(dependent=Dependent(depth_mm=10.0)), posture=posture)
    airless, lung = (chosen(b.structure, n).nonzero() for b, n in ((sick, "atelectasis"), (chest, LOBES[0])))
    assert sign * float(airless[:, axis].float().mean() - lung[:, axis].float().mean()) > 8


def test_consolidation_stays_on_its_side_about_its_place(chest: BodyMap) -> None:
    sick = diseased(chest, SICK[2], posture="supine")
    where = chosen(sick.structure, "atelectasis").nonzero().float() * 3
    assert float(where[:, 2].max()) < 165
    assert float((where - where.mean(dim=0)).norm(dim=1).max()) < 80


def test_emphysema_takes_its_share_and_more_above(chest: BodyMap) -> None:
    emphysema = Emphysema(share=0.2, hole_mm=8.0, upper=1.0)
    sick = diseased(chest, Pathology(emphysema=emphysema), posture="supine")
    holes, lungs = (chosen(b.structure, *n) for b, n in ((sick, ("emphysema",)), (chest, LOBES)))
    assert float(holes.sum() / lungs.sum()) == pytest.approx(0.2, abs=0.06)
    heights = [m.nonzero()[:, 0].float().mean() for m in (holes, lungs)]
    assert float(heights[0] - heights[1]) > 4


def test_bullae_are_as_large_as_drawn(chest: BodyMap, count: Callable[..., int]) -> None:
    emphysema = Emphysema(share=0.0, hole_mm=5.0, upper=0.0, bullae=(0.5,), bulla_mm=(20.0,))
    sick = diseased(chest, Pathology(emphysema=emphysema), posture="supine")
    assert 0.3 < count(sick, "emphysema") * 27 / 33510 < 1.2
    assert torch.equal(sick.structure > 0, chest.structure > 0)
