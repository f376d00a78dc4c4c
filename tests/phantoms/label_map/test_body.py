from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from scipy import ndimage
from skimage.measure import label

from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import Volume
from thoar.phantoms.label_map.body import (
    LabelMapParameters,
    ReadyLabelMap,
    draw_label_map,
    label_map_body,
    ready_label_map,
)
from thoar.phantoms.label_map.names import structure_of
from thoar.phantoms.structures import IDS, organ_labels

CPU = torch.device("cpu")
NAMES = (
    "lung_upper_lobe_right", "lung_lower_lobe_left", "heart", "atrial_appendage_left", "aorta", "esophagus",
    "trachea", "vertebrae_T6", "spinal_cord", "rib_left_5", "rib_right_5", "sternum", "liver", "stomach",
    "pulmonary_vein",
)  # fmt: skip
TABLE = {name: number for number, name in enumerate(NAMES, start=1)}
SHAPE = (64, 84, 112)


def ball(centre: tuple[float, float, float], radius: tuple[float, float, float]) -> np.ndarray:
    z, y, x = np.ogrid[tuple(slice(n) for n in SHAPE)]
    away = [((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radius, strict=True)]
    return np.asarray(sum(away[1:], away[0]) <= 1, dtype=bool)


def column(y: float, x: float, radius: float, levels: slice = slice(None)) -> np.ndarray:
    inside = ball((32, y, x), (1e3, radius, radius))
    out = np.zeros(SHAPE, dtype=bool)
    out[levels] = inside[levels]
    return out


def small_chest() -> UInt8[np.ndarray, "z y x"]:
    """Return a small labelled chest: z to the head, y to the back, x to the left; the heart on the left."""
    out = np.zeros(SHAPE, dtype=np.uint8)
    shell = ball((32, 42, 56), (200, 41, 55)) & ~ball((32, 42, 56), (200, 38, 52))
    x = np.arange(SHAPE[2])[None, None, :]
    level = (np.arange(SHAPE[0]) % 12 < 4)[:, None, None]
    parts = {
        "rib_left_5": shell & level & (x >= 56),
        "rib_right_5": shell & level & (x < 56),
        "lung_upper_lobe_right": ball((36, 42, 26), (26, 30, 20)),
        "lung_lower_lobe_left": ball((36, 42, 86), (26, 30, 20)),
        "liver": ball((4, 40, 34), (9, 30, 24)),
        "stomach": ball((3, 34, 84), (9, 16, 14)),
        "heart": ball((28, 32, 62), (20, 17, 20)),
        "atrial_appendage_left": ball((46, 34, 70), (4, 4, 5)),
        "pulmonary_vein": ball((38, 46, 46), (2, 2, 7)),
        "sternum": ball((40, 4, 56), (22, 2.5, 8)),
        "vertebrae_T6": column(68, 56, 9) | column(80, 56, 3),
        "spinal_cord": column(74, 56, 3),
        "aorta": column(57, 67, 6) | column(30, 52, 6, slice(44, 64)),
        "esophagus": column(54, 55, 4.5),
        "trachea": column(44, 56, 4.5, slice(46, 64)),
    }
    for name, inside in parts.items():
        out[inside] = TABLE[name]
    return out


def ready_of(voxels: np.ndarray, ids: Mapping[str, int] = TABLE, **kwargs: Volume) -> ReadyLabelMap:
    geometry = Geometry.axial(SHAPE, (1.5, 1.5, 1.5))
    return ready_label_map(Volume(voxels=voxels, geometry=geometry), ids=ids, **kwargs)


@pytest.fixture(scope="module")
def ready() -> ReadyLabelMap:
    return ready_of(small_chest())


def parameters(number: int = 0) -> LabelMapParameters:
    return draw_label_map(rng_for(2, "label_map", number))


def eroded(mask: np.ndarray, element: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_erosion(mask, element, border_value=1), dtype=bool)


def filled(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_fill_holes(mask), dtype=bool)


def pieces(mask: np.ndarray) -> int:
    return int(np.max(np.asarray(label(mask, connectivity=3))))


def inner(array: np.ndarray) -> np.ndarray:
    """Return the part of a body's grid that the small chest fills."""
    cuts = [(a - b) // 2 for a, b in zip(array.shape, SHAPE, strict=True)]
    return array[tuple(slice(c, c + n) for c, n in zip(cuts, SHAPE, strict=True))]


def test_every_organ_stays_voxel_for_voxel(ready: ReadyLabelMap) -> None:
    chest = small_chest()
    members = {
        "esophagus": ("esophagus",),
        "heart": ("heart", "atrial_appendage_left"),
        "trachea": ("trachea",),
        "aorta": ("aorta",),
    }
    for number in range(2):
        body = label_map_body(ready, parameters(number), device=CPU)
        found = organ_labels(body.structure).numpy()
        for organ, names in members.items():
            wanted = np.isin(chest, [TABLE[name] for name in names])
            assert np.array_equal(inner(found) == SEGTHOR.organ(organ).id, wanted), organ
        assert (found > 0).sum() == (inner(found) > 0).sum()


def test_the_outline_is_one_piece_and_holds_every_label(ready: ReadyLabelMap) -> None:
    for number in range(2):
        body = label_map_body(ready, parameters(number), device=CPU).structure.numpy()
        assert pieces(body > 0) == 1
        assert (inner(body)[small_chest() > 0] > 0).all()
        holes = np.stack([filled(s > 0) for s in body]) & (body == 0)
        assert not holes.any()


def test_muscle_fat_and_skin_lie_outside_the_ribs_and_skin_outermost(ready: ReadyLabelMap) -> None:
    wall = msgspec.structs.replace(parameters().wall, fat_mm=25.0, fat_front=1.0)
    body = label_map_body(
        ready, msgspec.structs.replace(parameters(), wall=wall), device=CPU
    ).structure.numpy()
    for name in ("muscle", "subcutaneous_fat", "skin", "intermuscular_fat", "mediastinal_fat"):
        assert (body == IDS[name]).any(), name
    edge = (body > 0) & ~eroded(body > 0, np.ones((1, 3, 3)))
    assert (body[edge] == IDS["skin"]).mean() > 0.95


def test_more_fat_makes_a_wider_body(ready: ReadyLabelMap) -> None:
    case = parameters()
    sizes = []
    for fat in (2.0, 30.0):
        wall = msgspec.structs.replace(case.wall, fat_mm=fat)
        body = label_map_body(ready, msgspec.structs.replace(case, wall=wall), device=CPU)
        sizes.append(int((body.structure > 0).sum()))
    assert sizes[0] < 0.95 * sizes[1]


def test_left_stays_left_whatever_the_files_orientation(ready: ReadyLabelMap) -> None:
    flipped = Geometry.axial(SHAPE, (1.5, 1.5, 1.5)).reordered((2, 1, 0), flipped=(True, False, False))
    voxels = np.ascontiguousarray(small_chest().transpose(2, 1, 0)[::-1])
    again = ready_label_map(Volume(voxels=voxels, geometry=flipped), ids=TABLE)
    assert torch.equal(again.structure, ready.structure)
    body = label_map_body(again, parameters(), device=CPU).structure
    left = (body == IDS["lung_lower_lobe_left"]).nonzero()[:, 2].float().mean()
    right = (body == IDS["lung_upper_lobe_right"]).nonzero()[:, 2].float().mean()
    assert left > right + 30


def test_the_same_parameters_give_the_same_body_and_others_another(ready: ReadyLabelMap) -> None:
    first = label_map_body(ready, parameters(), device=CPU).structure
    assert torch.equal(first, label_map_body(ready, parameters(), device=CPU).structure)
    assert not torch.equal(first, label_map_body(ready, parameters(1), device=CPU).structure)


def test_chambers_lie_where_they_do_in_a_heart(ready: ReadyLabelMap) -> None:
    body = label_map_body(ready, parameters(), device=CPU).structure
    middle = {
        name: (body == IDS[name]).nonzero().float().mean(dim=0)
        for name in ("left_ventricle", "right_ventricle", "left_atrium", "right_atrium", "pulmonary_trunk")
    }
    assert middle["right_ventricle"][1] < middle["left_ventricle"][1] < middle["left_atrium"][1]
    assert middle["right_atrium"][2] < middle["left_ventricle"][2]
    assert middle["pulmonary_trunk"][0] > middle["left_ventricle"][0] + 10


def test_the_esophagus_opens_as_far_as_asked(ready: ReadyLabelMap) -> None:
    case = parameters()

    def lumen(share: float) -> int:
        gullet = msgspec.structs.replace(case.esophagus, open_share=share, wall_mm=2.5)
        body = label_map_body(ready, msgspec.structs.replace(case, esophagus=gullet), device=CPU)
        return int((body.structure == IDS["esophagus_lumen"]).sum())

    assert lumen(0.0) == 0
    assert 0 < lumen(0.3) < lumen(0.9)


def test_gas_rises_against_gravity(ready: ReadyLabelMap) -> None:
    case = msgspec.structs.replace(parameters(), gas=0.5, hollow_wall_mm=3.0)
    height = {}
    for posture in ("supine", "prone"):
        body = label_map_body(ready, case, device=CPU, posture=posture).structure
        height[posture] = float((body == IDS["stomach_gas"]).nonzero()[:, 1].float().mean())
    assert height["supine"] + 3 < height["prone"]


def test_vessels_and_airways_grow_in_the_lungs(ready: ReadyLabelMap) -> None:
    body = label_map_body(ready, parameters(), device=CPU).structure
    count = {
        n: int((body == IDS[n]).sum())
        for n in ("lung_artery", "lung_vein", "lung_airway", "main_bronchus_wall")
    }
    lung = int((body == IDS["lung_lower_lobe_left"]).sum() + (body == IDS["lung_upper_lobe_right"]).sum())
    assert min(count.values()) > 0
    assert 0.01 < (count["lung_artery"] + count["lung_vein"]) / lung < 0.6
    assert (body == IDS["trachea_wall"]).any()


def test_a_map_without_a_chest_makes_a_body_without_its_organs() -> None:
    voxels = small_chest()
    voxels[~np.isin(voxels, [TABLE[n] for n in ("liver", "stomach", "vertebrae_T6", "spinal_cord")])] = 0
    body = label_map_body(ready_of(voxels), parameters(), device=CPU).structure
    assert not organ_labels(body).any()
    assert (body == IDS["liver"]).any()


def test_a_map_of_strange_names_is_refused() -> None:
    with pytest.raises(LabelError, match="no structure that is known"):
        ready_of(small_chest(), {name.upper(): number for name, number in TABLE.items()})


def test_an_organ_divided_by_its_labels_keeps_its_parts() -> None:
    assert structure_of("heart_ventricle_right") == "right_ventricle"
    assert structure_of("heart_myocardium") == "left_myocardium"
    assert structure_of("vertebrae_T12") == "cortical_bone"
    assert structure_of("face") is None


def test_with_a_scan_fat_muscle_and_skin_are_the_real_ones() -> None:
    chest = small_chest()
    hu = np.full(SHAPE, -1000.0, dtype=np.float32)
    trunk = ball((32, 42, 56), (200, 41.5, 55.5))
    hu[trunk] = -100
    muscle = trunk & ball((32, 20, 56), (200, 10, 50)) & (chest == 0)
    hu[muscle] = 55
    for name in NAMES:
        value = {"l": -850, "t": -1000, "v": 300, "r": 700, "s": 300}.get(name[0], 45)
        hu[chest == TABLE[name]] = 55 if name in ("liver", "stomach") else value
    scan = Volume(voxels=hu, geometry=Geometry.axial(SHAPE, (1.5, 1.5, 1.5)))
    body = label_map_body(ready_of(chest, ct=scan), parameters(), device=CPU).structure.numpy()
    assert body.shape == SHAPE
    soft = np.isin(body, [IDS[n] for n in ("muscle", "lymph_node", "lung_artery", "effusion", "diaphragm")])
    fat = np.isin(body, [IDS[n] for n in ("subcutaneous_fat", "mediastinal_fat", "abdominal_fat")])
    deep = eroded(muscle, np.ones((5, 5, 5)))
    assert soft[deep].mean() > 0.9
    yellow = eroded((hu == -100) & (chest == 0), np.ones((5, 5, 5)))
    assert fat[yellow].mean() > 0.9
    assert not (body[~trunk & (chest == 0)] > 0).mean() > 0.02
    found = organ_labels(torch.from_numpy(body)).numpy()
    assert np.array_equal(found == SEGTHOR.organ("esophagus").id, chest == TABLE["esophagus"])


def test_a_lobe_of_a_few_voxels_gets_no_airways() -> None:
    speck = np.zeros(SHAPE, dtype=np.uint8)
    speck[30, 40:42, 26] = TABLE["lung_upper_lobe_right"]
    body = label_map_body(ready_of(speck), parameters(), device=CPU).structure
    assert (inner(body.numpy()) == IDS["lung_upper_lobe_right"]).sum() <= 2
    assert not (body == IDS["lung_airway"]).any()
