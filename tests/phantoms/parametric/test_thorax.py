"""The parametric chest as a whole: volumes, sides, neighbours."""

import msgspec
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.parametric.thorax import ThoraxParameters, draw_thorax, thorax_map
from thoar.phantoms.structures import IDS, LOBES, LUNGS, ORGAN_STRUCTURES, STRUCTURES, chosen

SPACING_MM = 3.0
SEEDS = (3, 4)
LOW_ONLY = {"kidney", "adrenal_gland", "gallbladder", "pancreas"}
"""Out of view after a deep breath."""
SOMETIMES = {"stomach_gas", "bowel_gas", "breast_gland", "thymus", "esophagus_lumen", "lymph_node"}
ELSEWHERE = {"bladder", "brain"}
"""What only label maps hold."""


@pytest.fixture(scope="module")
def maps() -> dict[int, BodyMap]:
    """Return chests of two people."""
    return {seed: made(drawn(seed)) for seed in SEEDS}


def drawn(seed: int) -> ThoraxParameters:
    """Return the parameters of one chest."""
    return draw_thorax(np.random.default_rng(seed))


def made(parameters: ThoraxParameters) -> BodyMap:
    """Return its map."""
    return thorax_map(parameters, device=torch.device("cpu"), spacing_mm=SPACING_MM)


def volume_ml(body: BodyMap, *names: str) -> float:
    """Return the volume of structures."""
    return float(chosen(body.structure, *names).sum()) * SPACING_MM**3 / 1000


def middle_xyz(body: BodyMap, *names: str) -> np.ndarray:
    """Return the middle of structures in voxels."""
    return chosen(body.structure, *names).nonzero().float().mean(dim=0).numpy()[::-1]


def test_the_same_parameters_give_the_same_map(maps: dict[int, BodyMap]) -> None:
    assert torch.equal(made(drawn(SEEDS[0])).structure, maps[SEEDS[0]].structure)


def test_parameters_outlive_a_file(maps: dict[int, BodyMap]) -> None:
    parameters = drawn(SEEDS[1])
    again = msgspec.json.decode(msgspec.json.encode(parameters), type=ThoraxParameters)
    assert again == parameters
    assert torch.equal(made(again).structure, maps[SEEDS[1]].structure)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_structure_of_a_chest_is_there(maps: dict[int, BodyMap], seed: int) -> None:
    healthy = STRUCTURES[: STRUCTURES.index("tumour")]
    held = set(maps[seed].structure.unique().tolist())
    absent = {name for name in healthy if IDS[name] not in held}
    assert absent <= LOW_ONLY | SOMETIMES | ELSEWHERE


@pytest.mark.parametrize("seed", SEEDS)
def test_volumes_are_those_of_adults(maps: dict[int, BodyMap], seed: int) -> None:
    body = maps[seed]
    assert 2200 < volume_ml(body, *LUNGS) < 7500
    assert 700 < volume_ml(body, "liver", "portal_vein") < 2600
    assert 60 < volume_ml(body, "spleen") < 400
    assert 300 < volume_ml(body, *ORGAN_STRUCTURES["heart"]) < 1300
    assert 40 < volume_ml(body, "lung_artery", "lung_vein") < 450
    for lobe in LOBES:
        assert volume_ml(body, lobe) > 60, lobe


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_lies_on_the_wrong_side(maps: dict[int, BodyMap], seed: int) -> None:
    body = maps[seed]
    spine = middle_xyz(body, "spinal_cord")
    across = {name: middle_xyz(body, name)[0] - spine[0] for name in ("liver", "spleen", "stomach_wall")}
    assert across["liver"] < 0 < min(across["spleen"], across["stomach_wall"])
    assert middle_xyz(body, "left_ventricle")[0] > spine[0]
    for side, sign in (("left", 1), ("right", -1)):
        names = [name for name in LOBES if name.endswith(side)]
        assert sign * (middle_xyz(body, *names)[0] - spine[0]) > 0
    assert middle_xyz(body, "lung_upper_lobe_right")[2] > middle_xyz(body, "lung_middle_lobe_right")[2]
    assert middle_xyz(body, "lung_middle_lobe_right")[1] < middle_xyz(body, "lung_lower_lobe_right")[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_come_close_to_heart_and_aorta(maps: dict[int, BodyMap], seed: int) -> None:
    body = maps[seed]
    lungs = chosen(body.structure, *LUNGS).numpy()
    for organ, mm in (("heart", 10.0), ("aorta", 6.0)):
        held = chosen(body.structure, *ORGAN_STRUCTURES[organ]).numpy()
        near = binary_dilation(held, iterations=int(mm / SPACING_MM))
        touched = (near & lungs).any(axis=(1, 2)) & held.any(axis=(1, 2))
        assert touched.sum() * SPACING_MM > 60, organ


@pytest.mark.parametrize("seed", SEEDS)
def test_no_air_but_that_around_lies_in_the_body(maps: dict[int, BodyMap], seed: int) -> None:
    body = maps[seed].structure.numpy()
    slab = body[body.shape[0] // 2]
    rows = np.flatnonzero(slab[:, slab.shape[1] // 2])
    assert np.all(slab[rows[0] : rows[-1] + 1, slab.shape[1] // 2] != 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_bone_sticks_out_of_the_skin(maps: dict[int, BodyMap], seed: int) -> None:
    structure = maps[seed].structure[1:-1]
    bone = chosen(structure, "cortical_bone", "marrow").numpy()
    around = binary_dilation(chosen(structure, "outside").numpy(), iterations=1)
    assert (bone & around).sum() < 20


def test_a_deep_breath_makes_large_lungs() -> None:
    parameters = drawn(SEEDS[0])
    low, high = (
        made(msgspec.structs.replace(parameters, build=msgspec.structs.replace(parameters.build, dome_mm=d)))
        for d in (60.0, 115.0)
    )
    assert volume_ml(low, *LUNGS) > volume_ml(high, *LUNGS) + 800


def test_arms_beside_the_trunk_widen_the_field() -> None:
    parameters = drawn(SEEDS[0])
    up, down = (
        made(msgspec.structs.replace(parameters, build=msgspec.structs.replace(parameters.build, arms=a)))
        for a in ("up", "down")
    )
    level = up.structure.shape[0] // 3
    width_mm = [float((body.structure[level] > 0).any(dim=0).sum()) * SPACING_MM for body in (up, down)]
    assert width_mm[1] > width_mm[0] + 100
    assert volume_ml(down, "muscle") > volume_ml(up, "muscle")
