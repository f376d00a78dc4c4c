import msgspec
import numpy as np
import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.draw import draw_pathology
from thoar.phantoms.pathology.record import (
    Aorta,
    Box,
    Collapse,
    Consolidation,
    Dependent,
    Deviation,
    Devices,
    Diaphragm,
    Emphysema,
    Fluid,
    Gullet,
    Heart,
    Nodes,
    Pathology,
    Tumour,
)
from thoar.phantoms.structures import organ_labels

BOX = Box(side="left", below_mm=45.0, aside_mm=0.0, half_mm=(22.0, 5.0, 22.0), depth_mm=5.0, leads=2)
EVERYTHING = Pathology(
    tumours=tuple(
        Tumour(site=site, side="left", place=0.4, radius_mm=20.0, press=0.3)
        for site in ("lung", "hilum", "mediastinum", "apex")
    ),
    nodes=Nodes(places=(0.5,), radius_mm=(8.0,)),
    effusion=Fluid(left_share=0.2, right_share=0.1, band_mm=8.0),
    pneumothorax=Fluid(left_share=0.1, right_share=0.0),
    collapse=Collapse(lobe="lung_upper_lobe_left", remains=0.3, airways=False),
    dependent=Dependent(depth_mm=6.0, plates=(0.5,)),
    consolidation=Consolidation(side="right", place=0.5, radius_mm=30.0, density=0.8, airways=False),
    emphysema=Emphysema(share=0.1, hole_mm=6.0, upper=0.5, bullae=(0.5,), bulla_mm=(15.0,)),
    deviation=Deviation(shift_zyx_mm=(0.0, 0.0, 8.0), level=0.5, reach_mm=60.0),
    diaphragm=Diaphragm(side="left", lift_mm=20.0),
    aorta=Aorta(growth_mm=4.0, bends_mm=(10.0,), calcium=0.2, thrombus_mm=4.0, flap=10.0),
    heart=Heart(growth_mm=5.0, effusion_mm=5.0, calcium=5, valve="mitral"),
    gullet=Gullet(tumour_mm=5.0, dilation_mm=4.0, tube_mm=2.0, hernia_mm=20.0, hernia_gas=0.3),
    devices=Devices(pacemaker=BOX, port=msgspec.structs.replace(BOX, side="right"), wires=5, cables=3),
)


def test_a_healthy_body_is_returned_as_it_is(chest: BodyMap) -> None:
    assert diseased(chest, Pathology(seed=9), posture="supine") is chest


def test_the_body_given_is_not_changed(chest: BodyMap) -> None:
    before = chest.structure.clone()
    diseased(chest, EVERYTHING, posture="supine")
    assert torch.equal(before, chest.structure)


def test_the_same_record_gives_the_same_map_and_another_seed_another(chest: BodyMap) -> None:
    first, again = (diseased(chest, EVERYTHING, posture="supine") for _ in range(2))
    other = diseased(chest, msgspec.structs.replace(EVERYTHING, seed=1), posture="supine")
    assert torch.equal(first.structure, again.structure)
    assert not torch.equal(first.structure, other.structure)


def test_all_at_once_leaves_every_organ_there(chest: BodyMap) -> None:
    sick = diseased(chest, EVERYTHING, posture="left_side")
    before, after = (
        torch.bincount(organ_labels(b.structure).flatten().int(), minlength=5)[1:].float()
        for b in (chest, sick)
    )
    assert (after > 0.5 * before).all()


def test_a_map_without_the_chest_is_left_alone(abdomen: BodyMap) -> None:
    sick = diseased(abdomen, EVERYTHING, posture="supine")
    assert torch.equal(sick.structure, abdomen.structure)


@pytest.mark.parametrize("name", [name for name in Pathology.__struct_fields__ if name != "seed"])
def test_each_illness_survives_a_map_of_air(name: str) -> None:
    air = BodyMap(structure=torch.zeros(12, 10, 11, dtype=torch.uint8), spacing_zyx_mm=(3.0, 3.0, 3.0))
    sick = diseased(air, Pathology(**{name: getattr(EVERYTHING, name)}), posture="supine")
    assert int(sick.structure.max()) == 0


def test_each_drawn_patient_can_be_made_and_keeps_the_organs(chest: BodyMap) -> None:
    rng = np.random.default_rng(11)
    before = torch.bincount(organ_labels(chest.structure).flatten().int(), minlength=5)[1:].float()
    for _ in range(25):
        sick = diseased(chest, draw_pathology(rng), posture="supine")
        after = torch.bincount(organ_labels(sick.structure).flatten().int(), minlength=5)[1:].float()
        assert (after > 0.55 * before).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_all_at_once_stays_on_the_maps_device(chest: BodyMap) -> None:
    body = BodyMap(structure=chest.structure.cuda(), spacing_zyx_mm=chest.spacing_zyx_mm)
    sick = diseased(body, EVERYTHING, posture="supine")
    assert sick.structure.is_cuda
    assert int((sick.structure.cpu() != chest.structure).sum()) > 1000


@pytest.mark.parametrize("levels", [1, 2])
def test_a_slab_of_a_chest_can_be_ill(chest: BodyMap, levels: int) -> None:
    slab = BodyMap(structure=chest.structure[40 : 40 + levels], spacing_zyx_mm=chest.spacing_zyx_mm)
    assert diseased(slab, EVERYTHING, posture="supine").structure.shape == slab.structure.shape
