import numpy as np
import pytest
from anatomy import implausible, largest_part, left_of_midline_mm, lowest_trachea_slice, share_in_front

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume

SPACING = (5.0, 1.0, 1.0)
CARINA = 12
"""The lowest undivided slice of the airways below."""


def airways(*, bronchi=("right", "left"), slices=30):
    mask = np.zeros((slices, 40, 60), dtype=bool)
    mask[CARINA:28, 14:26, 24:36] = True
    for z in range(4, CARINA):
        if "right" in bronchi:
            mask[z, 16:24, 20:28] = True
        if "left" in bronchi:
            mask[z, 16:24, 32:40] = True
    return mask


@pytest.mark.parametrize("bronchi", [("right", "left"), ("right",), ("left",)])
def test_the_trachea_ends_where_it_falls_in_two_or_loses_a_bronchus(bronchi):
    assert lowest_trachea_slice(airways(bronchi=bronchi), spacing_zyx_mm=SPACING) == CARINA


def test_specks_and_a_narrow_upper_end_are_no_division():
    mask = airways()
    mask[20, 2, 2] = True
    mask[25:28] = False
    mask[25:28, 16:22, 26:32] = True
    mask[24, 14:26, 24:27] = False
    assert lowest_trachea_slice(mask, spacing_zyx_mm=SPACING) == CARINA


def test_a_mask_that_does_not_divide_is_all_trachea_and_an_empty_one_has_none():
    mask = airways(bronchi=())
    assert lowest_trachea_slice(mask, spacing_zyx_mm=SPACING) == CARINA
    assert lowest_trachea_slice(np.zeros_like(mask), spacing_zyx_mm=SPACING) is None


def scan_of(shape_zyx=(30, 40, 60)):
    hu = np.full(shape_zyx, -1000, dtype=np.int16)
    hu[:, 3:-3, 5:-5] = 40
    hu[:, 10, 10] = -100
    return Volume(voxels=hu, geometry=Geometry.axial(shape_zyx, (5.0, 5.0, 5.0)))


def test_in_front_counts_the_levels_above_the_carina_alone():
    scan, trachea = scan_of(), airways()
    esophagus = np.zeros_like(trachea)
    esophagus[CARINA:, 30:33, 29:31] = True
    esophagus[:CARINA, 2:5, 29:31] = True
    assert share_in_front(trachea, esophagus, scan) == 1
    assert share_in_front(trachea, esophagus[:, ::-1], scan) == 0
    assert share_in_front(trachea, np.zeros_like(trachea), scan) is None


def test_left_of_the_midline_is_towards_larger_x():
    scan, heart = scan_of(), np.zeros((30, 40, 60), dtype=bool)
    heart[5:10, 10:20, 32:44] = True
    assert left_of_midline_mm(heart, scan) == pytest.approx(40, abs=3)
    assert left_of_midline_mm(heart[:, :, ::-1], scan) == pytest.approx(-40, abs=3)
    assert left_of_midline_mm(np.zeros_like(heart), scan) is None


def test_the_largest_part_of_a_broken_mask():
    mask = np.zeros((4, 4, 9), dtype=bool)
    mask[1, 1, :3] = mask[1, 1, 5] = True
    assert largest_part(mask) == pytest.approx(0.75)
    assert largest_part(np.zeros_like(mask)) is None


class _Result:
    def __init__(self, *, unusual):
        self.volume_ml = 3.0
        self.flags = type("Flags", (), {"unusual_volume": unusual})()


class _Segmentation:
    def __init__(self, **unusual):
        self.unusual = unusual

    def organ(self, name):
        return _Result(unusual=self.unusual.get(name, False))


def chest_masks():
    masks = {name: np.zeros((30, 40, 60), dtype=bool) for name in ("esophagus", "heart", "trachea", "aorta")}
    masks["trachea"] = airways()
    masks["esophagus"][5:28, 30:33, 29:31] = True
    masks["heart"][5:10, 10:20, 32:44] = True
    masks["aorta"][5:20, 30:34, 36:40] = True
    return masks


def test_plausible_contours_have_no_fault_and_each_fault_is_named():
    scan, masks = scan_of(), chest_masks()
    assert implausible(_Segmentation(), scan, masks) == []
    masks["aorta"][:] = False
    masks["heart"] = masks["heart"][:, :, ::-1]
    masks["esophagus"][12:20] = False
    faults = implausible(_Segmentation(esophagus=True), scan, masks)
    assert faults[0] == "esophagus 3 mL"
    assert faults[1].startswith("esophagus: largest piece ")
    assert faults[2] == "aorta not found"
    assert faults[3].endswith("mm right of the midline")
