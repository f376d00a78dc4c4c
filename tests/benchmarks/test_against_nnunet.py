import numpy as np
import pytest
from costs import Cost
from nnunet.ours import RECIPE
from nnunet.page import page
from nnunet.side import Side, Task, kept, mean_dice, values_of
from nnunet.windows import LARGEST_ZYX, cut_all, window

from thoar.core.configuration import configuration_from, load_toml
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.io.formats import read_labels, read_volume, write_labels, write_volume

COST = Cost(wall_s=120.0, cpu_s=60.0, peak_mib=900.0)
CODE = {"commit": "abc", "changed": "no", "phantoms_sha256": "1234", "torch": "2", "date": "2026-01-02"}


def side_of(name, heart, far):
    cases = {
        case: {"heart": {"dice": value, "hausdorff95_mm": mm}}
        for case, value, mm in zip("ab", heart, far, strict=True)
    }
    return Side(
        name=name, prepare=COST if name == "nnU-Net" else None, train=COST, segment=COST,
        facts={"weights": "1 M"}, cases=cases, code=CODE, minutes=20.0, threads=2,
    )  # fmt: skip


def test_our_recipe_learns_from_every_case_and_can_be_loaded():
    configuration = configuration_from(load_toml(RECIPE))
    assert configuration.train.validation_cases == 0
    assert configuration.preparation.spacing_zyx_mm == (4.0, 4.0, 4.0)


def test_the_page_shows_both_sides_and_what_was_missed():
    sides = [side_of("nnU-Net", [0.8, 0.6], [5.0, None]), side_of("thoar", [0.5, 0.7], [4.0, 6.0])]
    text = "\n".join(page(sides, CODE))
    assert "| nnU-Net | Dice | 0.700 ± 0.141 | 0.700 |" in text
    assert "| | HD95 mm | ∞ (∞) | ∞ |" in text
    assert "| | HD95 mm | 5.0 (6.0) | 5.0 |" in text
    assert "| nnU-Net | 2.0 | 2.0 | 2.0 | 900 | 60.0 | 30.0 | 900 |" in text
    assert "| thoar | – | 2.0 | 1.0 | 900 | 60.0 | 30.0 | 900 |" in text
    assert "nnU-Net 0.5 of 2, thoar 0.5 of 2." in text


def test_an_organ_that_a_case_does_not_have_is_left_out_of_the_mean():
    side = side_of("thoar", [0.5, 0.7], [4.0, 6.0])
    side.cases["a"]["trachea"] = {"dice": 0.9, "hausdorff95_mm": 1.0}
    assert values_of(side, "trachea", "dice") == [0.9]
    assert mean_dice(side) == pytest.approx((0.6 + 0.9) / 2)


def test_a_part_that_is_finished_is_not_done_again(tmp_path):
    task = Task(place=tmp_path, data=tmp_path, peer=tmp_path, minutes=20.0, threads=2)
    assert kept(task, "train", lambda: COST) == COST
    assert kept(task, "train", lambda: pytest.fail("done again")) == COST


def test_a_window_is_no_larger_than_allowed_and_within_the_scan():
    organs = np.zeros((60, 50, 130), dtype=bool)
    organs[50:59, 20:30, 100:125] = True
    box = window(organs, np.random.default_rng(0))
    assert box.shape_zyx == (LARGEST_ZYX[0], 50, LARGEST_ZYX[2])
    assert all(stop <= size for stop, size in zip(box.stop_zyx, organs.shape, strict=True))
    assert organs[box.slices].any()


def test_cutting_keeps_every_voxels_place_in_the_patient(tmp_path):
    geometry = Geometry.axial(
        shape_zyx=(60, 20, 100), spacing_zyx_mm=(4.0, 4.0, 4.0), origin_xyz_mm=(-5.0, 7.0, 9.0)
    )
    labels = np.zeros(geometry.shape_zyx, dtype=np.uint8)
    labels[10, 11, 12] = 2
    whole, place = tmp_path / "whole", tmp_path / "whole" / "p"
    place.mkdir(parents=True)
    image = Volume(voxels=labels.astype(np.int16) * 7, geometry=geometry)
    write_volume(place / "p.nii.gz", image)
    write_labels(place / "GT.nii.gz", LabelVolume(voxels=labels, geometry=geometry, label_set=SEGTHOR))
    case = Case(id="p", image=place / "p.nii.gz", label=place / "GT.nii.gz", organs=SEGTHOR.names, group="p")
    write_dataset(whole, Dataset(root=whole, label_set=SEGTHOR, cases=(case,)))
    (tmp_path / "cut").mkdir()
    cut_all(whole, tmp_path / "cut", seed=1)
    (made,) = read_dataset(tmp_path / "cut").cases
    assert made.label is not None
    image, mask = read_volume(made.image), read_labels(made.label, SEGTHOR)
    (index,) = np.argwhere(mask.voxels == 2)
    assert image.voxels[tuple(index)] == 14
    assert mask.geometry.position_xyz_mm(index.tolist()) == pytest.approx(
        geometry.position_xyz_mm((10, 11, 12))
    )
    assert mask.voxels.shape == (48, 20, 96)
