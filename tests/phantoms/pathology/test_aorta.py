from collections.abc import Callable

import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Aorta, Pathology
from thoar.phantoms.structures import ORGAN_STRUCTURES, chosen, organ_labels

AORTA = ORGAN_STRUCTURES["aorta"]


def with_aorta(body: BodyMap, **fields: object) -> BodyMap:
    return diseased(body, Pathology(aorta=Aorta(**fields), seed=3), posture="supine")


@pytest.mark.parametrize(
    "fields",
    [
        {"calcium": 0.2},
        {"thrombus_mm": 8.0},
        {"flap": 20.0},
        {"flap": -30.0, "flap_part": "descending", "thrombus_mm": 5.0, "calcium": 0.1},
    ],
)
def test_what_happens_inside_stays_aorta(
    chest: BodyMap, fields: dict[str, object], same_organs: Callable[..., bool]
) -> None:
    sick = with_aorta(chest, **fields)
    assert not torch.equal(chest.structure, sick.structure)
    assert same_organs(chest, sick)


def test_plaques_lie_in_the_wall_and_grow_with_their_share(chest: BodyMap, count: Callable[..., int]) -> None:
    little, much = (with_aorta(chest, calcium=share) for share in (0.05, 0.3))
    assert 0 < count(little, "aorta_calcium") < 0.6 * count(much, "aorta_calcium")
    inner = chosen(chest.structure, *AORTA)
    for axis in range(3):
        inner = inner & inner.roll(1, axis) & inner.roll(-1, axis)
    deep = inner.roll(1, 1) & inner.roll(-1, 1) & inner.roll(1, 2) & inner.roll(-1, 2)
    assert not bool((deep & chosen(much.structure, "aorta_calcium")).any())


def test_a_dissection_has_two_lumens_parted_by_a_flap(chest: BodyMap, count: Callable[..., int]) -> None:
    sick = with_aorta(chest, flap=20.0)
    total = count(chest, *AORTA)
    assert count(sick, "false_lumen") / total > 0.2
    assert count(sick, "aorta") / total > 0.2
    assert count(sick, "dissection_flap") / total > 0.05
    false, true = (chosen(sick.structure, name) for name in ("false_lumen", "aorta"))
    touching = sum(int((false & true.roll(1, axis)).sum()) for axis in (1, 2))
    assert touching < 0.1 * count(sick, "dissection_flap")


def test_type_b_spares_the_ascending_aorta(chest: BodyMap) -> None:
    sick = with_aorta(chest, flap=20.0, flap_part="descending")
    y = chosen(sick.structure, "false_lumen").nonzero()[:, 1] * 3 - 114
    assert float(y.min()) > -6


def test_a_dilated_aorta_is_wider_and_no_organ_is_lost(chest: BodyMap) -> None:
    sick = with_aorta(chest, growth_mm=6.0)
    before, after = (
        torch.bincount(organ_labels(b.structure).flatten().int(), minlength=5).float() for b in (chest, sick)
    )
    assert 1.2 < float(after[4] / before[4]) < 2.6
    assert (after[1:4] / before[1:4] > 0.75).all()


def test_a_part_may_widen_alone(chest: BodyMap) -> None:
    sick = with_aorta(chest, growth_mm=8.0, part="descending")
    grown = chosen(sick.structure, *AORTA) & ~chosen(chest.structure, *AORTA)
    assert float((grown.nonzero()[:, 1].float() * 3 - 114).mean()) > 20


def test_bends_move_the_descending_aorta_and_keep_it_whole(chest: BodyMap) -> None:
    sick = with_aorta(chest, bends_mm=(20.0,))
    rows = [chosen(b.structure, *AORTA) for b in (chest, sick)]
    middles = [
        torch.stack([m[z, 45:].nonzero()[:, 1].float().mean() for z in range(20, 60)]) * 3 for m in rows
    ]
    moved = middles[1] - middles[0]
    assert 8 < float(moved.max()) < 25
    assert 0.8 < float(rows[1].sum() / rows[0].sum()) < 1.2
