import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.record import Deviation, Diaphragm, Pathology
from thoar.phantoms.structures import LOBES, chosen


def test_a_deviated_trachea_moves_most_in_the_middle(chest: BodyMap) -> None:
    deviation = Deviation(shift_zyx_mm=(0.0, 0.0, 12.0), level=0.5, reach_mm=60.0)
    sick = diseased(chest, Pathology(deviation=deviation), posture="supine")
    before, after = (chosen(b.structure, "trachea") for b in (chest, sick))
    moved = [
        float(after[z].nonzero()[:, 1].float().mean() - before[z].nonzero()[:, 1].float().mean()) * 3
        for z in (56, 72, 88)
    ]
    assert moved[1] > 8
    assert moved[1] > moved[0] + 3
    assert moved[1] > moved[2] + 3
    assert 0.8 < float(after.sum() / before.sum()) < 1.2


def test_a_raised_dome_shrinks_the_lung_of_its_side(chest: BodyMap) -> None:
    sick = diseased(chest, Pathology(diaphragm=Diaphragm(side="right", lift_mm=40.0)), posture="supine")
    shares = [
        float(chosen(sick.structure, *names).sum() / chosen(chest.structure, *names).sum())
        for names in (
            [n for n in LOBES if n.endswith("right")],
            [n for n in LOBES if n.endswith("left")],
            ["liver"],
        )
    ]
    assert shares[0] < 0.95
    assert shares[1] > 0.97
    assert shares[2] > 1.02


def test_bones_and_the_wall_stay(chest: BodyMap) -> None:
    pathology = Pathology(
        diaphragm=Diaphragm(side="left", lift_mm=45.0),
        deviation=Deviation(shift_zyx_mm=(0.0, 0.0, -20.0), level=0.5, reach_mm=70.0),
    )
    sick = diseased(chest, pathology, posture="supine")
    for name in ("cortical_bone", "marrow", "muscle", "spinal_canal", "outside"):
        assert torch.equal(chosen(chest.structure, name), chosen(sick.structure, name)), name
