import numpy as np
import pytest

from thoar.core.configuration import Configuration, Preparation
from thoar.core.errors import InputError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.fingerprint import fingerprint
from thoar.datasets.manifest import Case, Dataset
from thoar.io.formats import write_labels, write_volume

ORGANS = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="trachea", id=3)))
RECIPE = Configuration(preparation=Preparation(spacing_zyx_mm=(4.0, 4.0, 4.0)))
"""The default network's coarse cells are 2×8×8 voxels."""


def write_case(folder, name, *, heart_hu=50, organs=ORGANS.names, label=True):
    z, y, x = np.meshgrid(*(np.arange(n) for n in (24, 60, 80)), indexing="ij")
    body = ((y - 30) / 26) ** 2 + ((x - 40) / 36) ** 2 < 1
    lungs = (((y - 30) / 18) ** 2 + ((np.abs(x - 40) - 18) / 12) ** 2 < 1) & (z > 3)
    hu = np.where(body, 30, -1000)
    hu[lungs] = -850
    ids = np.zeros(hu.shape, dtype=np.uint8)
    ids[8:16, 20:28, 40:56] = 2
    ids[16:24, 32:36, 38:42] = 3
    hu[ids == 2], hu[ids == 3] = heart_hu, -980
    grid = Geometry.axial(hu.shape, (4.0, 4.0, 4.0))
    place = folder / name
    place.mkdir()
    write_volume(place / "ct.nii.gz", Volume(voxels=hu.astype(np.int16), geometry=grid))
    write_labels(place / "gt.nii.gz", LabelVolume(voxels=ids, geometry=grid, label_set=ORGANS))
    return Case(
        id=name,
        image=place / "ct.nii.gz",
        label=place / "gt.nii.gz" if label else None,
        organs=organs if label else (),
        group=name,
    )


def dataset_of(folder, *cases):
    return Dataset(root=folder, label_set=ORGANS, cases=cases)


def test_sizes_and_boxes_are_those_of_the_prepared_cases(tmp_path):
    found = fingerprint(dataset_of(tmp_path, write_case(tmp_path, "a")), RECIPE)
    (case,) = found.cases
    assert case.shape_zyx == case.resampled_shape_zyx == (24, 60, 80)
    assert case.spacing_zyx_mm == (4.0, 4.0, 4.0)
    assert all(n % s == 0 for n, s in zip(case.prepared_shape_zyx, found.stride_zyx, strict=True))
    assert all(
        c <= p < c + s for c, p, s in zip(case.content_zyx, case.prepared_shape_zyx, (2, 8, 8), strict=True)
    )
    assert case.box_cells_zyx["heart"][0] == 4
    assert case.box_cells_zyx["trachea"][0] == 4


def test_values_of_organs_are_counted_over_all_cases(tmp_path):
    cases = [write_case(tmp_path, str(hu), heart_hu=hu) for hu in (40, 60, 2000)]
    found = fingerprint(dataset_of(tmp_path, *cases), RECIPE, workers=2)
    heart = found.organ_hu["heart"]
    assert (heart.lowest, heart.median, heart.highest) == (40, 60, 2000)
    assert found.organ_hu["trachea"].median == -980
    assert found.body_hu.median == pytest.approx(30, abs=1)


def test_an_organ_that_is_not_labelled_somewhere_does_not_count_there(tmp_path):
    cases = (write_case(tmp_path, "a"), write_case(tmp_path, "b", heart_hu=300, organs=("trachea",)))
    found = fingerprint(dataset_of(tmp_path, *cases), RECIPE)
    assert "heart" not in found.cases[1].box_cells_zyx
    assert found.organ_hu["heart"].highest == 50


def test_every_case_read_is_announced(tmp_path):
    seen: list[str] = []
    cases = (write_case(tmp_path, "a"), write_case(tmp_path, "b"))
    fingerprint(dataset_of(tmp_path, *cases), RECIPE, on_case=seen.append)
    assert seen == ["a", "b"]


def test_a_case_without_a_label_is_refused_by_name(tmp_path):
    cases = (write_case(tmp_path, "a"), write_case(tmp_path, "bare", label=False))
    with pytest.raises(InputError, match="case bare: has no label"):
        fingerprint(dataset_of(tmp_path, *cases), RECIPE)


def test_a_case_that_cannot_be_prepared_is_refused_by_name(tmp_path):
    case = write_case(tmp_path, "flat")
    grid = Geometry.axial((24, 60, 80), (4.0, 4.0, 4.0))
    write_volume(case.image, Volume(voxels=np.full((24, 60, 80), 7, dtype=np.int16), geometry=grid))
    with pytest.raises(InputError, match=r"case flat \(ct.nii.gz, gt.nii.gz\): no body found"):
        fingerprint(dataset_of(tmp_path, case), RECIPE)
