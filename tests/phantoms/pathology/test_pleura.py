from collections.abc import Callable

import pytest

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Fluid, Pathology
from thoar.phantoms.posture import Posture, gravity_zyx
from thoar.phantoms.structures import LOBES, LUNGS, chosen

LEFT = tuple(name for name in LOBES if name.endswith("left"))
POSTURES: tuple[Posture, ...] = ("supine", "prone", "left_side", "right_side")


@pytest.mark.parametrize("posture", POSTURES)
def test_fluid_of_the_share_drawn_lies_low_in_its_lung(chest: BodyMap, posture: Posture) -> None:
    sick = diseased(chest, Pathology(effusion=Fluid(left_share=0.25, right_share=0.0)), posture=posture)
    fluid, lung = chosen(sick.structure, "effusion"), chosen(chest.structure, *LEFT)
    assert float(fluid.sum() / lung.sum()) == pytest.approx(0.25, abs=0.03)
    assert bool(chosen(chest.structure[fluid], *LUNGS).all())
    apart = fluid.nonzero().float().mean(dim=0) - lung.nonzero().float().mean(dim=0)
    assert sum(a * g for a, g in zip(apart.tolist(), gravity_zyx(posture), strict=True)) * 3 > 8


@pytest.mark.parametrize("posture", POSTURES)
def test_air_lies_high(chest: BodyMap, posture: Posture) -> None:
    sick = diseased(chest, Pathology(pneumothorax=Fluid(left_share=0.2, right_share=0.0)), posture=posture)
    air, lung = chosen(sick.structure, "pleural_air"), chosen(chest.structure, *LEFT)
    apart = air.nonzero().float().mean(dim=0) - lung.nonzero().float().mean(dim=0)
    assert sum(a * g for a, g in zip(apart.tolist(), gravity_zyx(posture), strict=True)) * 3 < -8


def test_airless_lung_lies_on_the_fluid(chest: BodyMap) -> None:
    fluid = Fluid(left_share=0.2, right_share=0.0, band_mm=12.0)
    sick = diseased(chest, Pathology(effusion=fluid), posture="supine")
    heights = [
        float(chosen(sick.structure, *names).nonzero()[:, 1].float().mean())
        for names in (LEFT, ("atelectasis",), ("effusion",))
    ]
    assert heights == sorted(heights)


def test_both_sides_may_be_wet(chest: BodyMap, same_organs: Callable[..., bool]) -> None:
    sick = diseased(chest, Pathology(effusion=Fluid(left_share=0.1, right_share=0.4)), posture="supine")
    x = chosen(sick.structure, "effusion").nonzero()[:, 2] * 3 - 165
    assert 2.5 < float((x < 0).sum() / (x > 0).sum()) < 6
    assert same_organs(chest, sick)
