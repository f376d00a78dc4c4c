import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.datasets.layouts import nnunet
from thoar.datasets.layouts.nnunet_export import export_nnunet
from thoar.datasets.layouts.take_over import take_over
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.io.formats import read_integers, read_volume

PutScan = Callable[..., Path]

V2 = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "Oesophagus": 1, "left lung": 2, "right lung": 3},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
V1 = {
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "Oesophagus", "2": "left lung", "3": "right lung"},
    "numTraining": 2,
    "training": [{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}],
}


@pytest.fixture
def raw(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Path:
    root = tmp_path / "Dataset007_Lungs"
    for k, name in enumerate(("x", "y")):
        put_scan(root / "imagesTr" / f"{name}_0000.nii.gz", seed=k)
        put_label(root / "labelsTr" / f"{name}.nii.gz", {1: 2, 2: 3, 3: 4})
    put_scan(root / "imagesTs" / "z_0000.nii.gz")
    (root / "imagesTr" / "._x_0000.nii.gz").write_bytes(b"of a Mac")
    return say(root, V2)


def say(root: Path, said: dict[str, Any], **changes: Any) -> Path:
    (root / "dataset.json").write_text(json.dumps(said | changes))
    return root


@pytest.mark.parametrize("said", [V1, V2], ids=["version 1", "version 2"])
def test_both_spellings_of_labels_are_read(raw: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    take_over(nnunet.find(say(raw, said)), tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert [(o.name, o.id) for o in dataset.label_set.organs] == [
        ("esophagus", 1),
        ("left_lung", 5),
        ("right_lung", 6),
    ]
    assert dataset.label_set.symmetric_pairs == (("left_lung", "right_lung"),)
    assert [(case.id, case.organs) for case in dataset.cases] == [
        ("x", dataset.label_set.names),
        ("y", dataset.label_set.names),
        ("z", ()),
    ]
    found = read_integers(tmp_path / "out" / "x" / "GT.nii.gz").voxels
    assert np.bincount(found.ravel())[1:].tolist() == [2, 0, 0, 0, 3, 4]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"labels": {"background": 0, "heart": 1, "ignore": 2}}, LabelError, "ignore label"),
        ({"labels": {"background": 0, "heart": 1, "both": [1, 2]}}, LabelError, "regions"),
        ({"regions_class_order": [1]}, LabelError, "regions"),
        ({"labels": {"heart": 0, "aorta": 1}}, LabelError, "lack a background"),
        ({"labels": {"background": 0, "heart": 1, "aorta": 1}}, LabelError, "1 twice"),
        ({"labels": {"background": 0, "heart": 1.5}}, LabelError, "'heart' has the id 1.5"),
        ({"channel_names": {"0": "T1"}}, UnsupportedFormatError, "one channel that is CT"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, UnsupportedFormatError, "one channel that is CT"),
        ({"channel_names": {}}, UnsupportedFormatError, "not said"),
        ({"numTraining": 3}, InputError, "says numTraining 3, but there are 2"),
        ({"dataset": {"x": {"images": ["/etc/x.nii.gz"], "label": "y"}}}, InputError, "only files below"),
        ({"dataset": {"x": {"images": ["a", "b"], "label": "y"}}}, InputError, "one path under images"),
        ({"labels": 3}, InputError, "labels"),
    ],
)
def test_what_we_have_no_like_of_is_refused_with_the_reason(
    raw: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        nnunet.find(say(raw, V2, **changes))
    assert "dataset.json" in str(caught.value)


def test_images_and_labels_without_each_other_are_refused_by_name(raw: Path) -> None:
    (raw / "labelsTr" / "x.nii.gz").rename(raw / "labelsTr" / "w.nii.gz")
    with pytest.raises(InputError, match="images without a label: x; labels without an image: w"):
        nnunet.find(raw)


def test_a_volume_of_another_ending_is_not_left_out_in_silence(raw: Path, put_scan: PutScan) -> None:
    put_scan(raw / "imagesTr" / "extra_0000.nrrd")
    with pytest.raises(InputError, match=r"extra_0000\.nrrd: does not end in \.nii\.gz"):
        nnunet.find(raw)


@pytest.mark.parametrize(
    ("name", "says"), [("x_0001", "second channel"), ("q", "import msd"), ("../imagesTs/x_0000", "both in")]
)
def test_images_called_otherwise_are_refused(raw: Path, put_scan: PutScan, name: str, says: str) -> None:
    put_scan(raw / "imagesTr" / f"{name}.nii.gz")
    with pytest.raises(InputError, match=says):
        nnunet.find(raw)


def test_cases_listed_in_the_file_itself_are_read(raw: Path) -> None:
    entry = {"images": ["imagesTs/z_0000.nii.gz"], "label": "labelsTr/x.nii.gz"}
    source = nnunet.find(say(raw, V2, dataset={"q": entry}, numTraining=1))
    assert [(c.id, c.image.name) for c in source.cases] == [("q", "z_0000.nii.gz"), ("z", "z_0000.nii.gz")]


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read"):
        nnunet.find(tmp_path)


@pytest.fixture
def ours(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Dataset:
    """Return a data set with all that nnU-Net cannot say."""
    root = tmp_path / "ours"
    label_set = LabelSet(
        organs=(
            Organ(name="lung_left", id=300, color_rgb=(1, 2, 3), tg263="Lung_L"),
            Organ(name="lung_right", id=7, usual_volume_ml=(1.0, 2.0)),
            Organ(name="heart", id=2),
        ),
        symmetric_pairs=(("lung_left", "lung_right"),),
    )
    counts = ({300: 2, 7: 3, 2: 4}, {300: 3, 7: 1}, {300: 2, 2: 1})
    said = ((), ("heart",), ())
    cases = [
        Case(
            id=f"ü {k}",
            image=put_scan(root / f"{k}.nii.gz", seed=k),
            label=put_label(root / f"{k}_gt.nii.gz", count),
            organs=("lung_left", "lung_right", "heart") if k < 2 else ("lung_left", "heart"),
            absent=absent,
            group="patient",
            source="our clinic",
        )
        for k, (count, absent) in enumerate(zip(counts, said, strict=True))
    ]
    bare = Case(id="bare", image=put_scan(root / "b.mha"), label=None, organs=(), group="other")
    dataset = Dataset(root=root, label_set=label_set, cases=(*cases, bare))
    write_dataset(root, dataset)
    return dataset


def test_import_of_our_own_export_gives_the_same_data_set_back(ours: Dataset, tmp_path: Path) -> None:
    export_nnunet(ours, tmp_path / "raw", partial="background")
    raw = tmp_path / "raw" / "Dataset501_Thorax"
    assert sorted(p.name for p in raw.rglob("*.nii.gz")) == [
        "bare_0000.nii.gz",
        *sorted(f"ü {k}{end}.nii.gz" for k in range(3) for end in ("", "_0000")),
    ]
    said = json.loads((raw / "dataset.json").read_text())
    assert said["labels"] == {"background": 0, "lung_left": 1, "lung_right": 2, "heart": 3}
    assert (said["numTraining"], said["file_ending"], said["channel_names"]) == (3, ".nii.gz", {"0": "CT"})
    take_over(nnunet.find(raw), tmp_path / "back")
    back = read_dataset(tmp_path / "back")
    assert back.label_set == ours.label_set
    for given, found in zip(ours.cases, back.cases, strict=True):
        for field in ("id", "organs", "absent", "group", "source"):
            assert getattr(given, field) == getattr(found, field)
        one, other = read_volume(given.image), read_volume(found.image)
        assert np.array_equal(one.voxels, other.voxels)
        assert one.geometry.same_grid(other.geometry)
        if given.label is not None and found.label is not None:
            assert np.array_equal(read_integers(given.label).voxels, read_integers(found.label).voxels)


def test_partial_labels_are_not_written_in_silence(ours: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"1 cases .*ü 2 lacks lung_right.*--drop-partial.*--as-background"):
        export_nnunet(ours, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
    assert export_nnunet(ours, tmp_path / "raw", partial="drop").dropped == ("ü 2",)
    assert len(list((tmp_path / "raw" / "Dataset501_Thorax" / "labelsTr").iterdir())) == 2


def test_export_of_organs_labelled_everywhere_needs_no_decision(ours: Dataset, tmp_path: Path) -> None:
    plan = export_nnunet(ours, tmp_path / "raw", organs=("heart", "lung_left"), name="Dataset002_Two")
    label = read_integers(tmp_path / "raw" / "Dataset002_Two" / "labelsTr" / "ü 0.nii.gz").voxels
    assert np.bincount(label.ravel())[1:].tolist() == [2, 4]
    assert len(plan.labelled) == 3


def test_linked_images_and_names_of_folders(ours: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Dataset501_Thorax"):
        export_nnunet(ours, tmp_path / "raw", name="Thorax")
    export_nnunet(ours, tmp_path / "raw", partial="drop", link=True)
    images = tmp_path / "raw" / "Dataset501_Thorax" / "imagesTr"
    assert (images / "ü 0_0000.nii.gz").resolve() == ours.cases[0].image.resolve()
    with pytest.raises(UsageError, match="not empty"):
        export_nnunet(ours, tmp_path / "raw", partial="drop")
    export_nnunet(ours, tmp_path / "raw", partial="drop", overwrite=True)


def test_a_label_off_its_image_stops_the_export(ours: Dataset, tmp_path: Path, put_scan: PutScan) -> None:
    put_scan(ours.cases[0].image, geometry=Geometry.axial((6, 10, 12), (3.0, 2.0, 1.0)))
    with pytest.raises(InputError, match="does not lie on its image's grid"):
        export_nnunet(ours, tmp_path / "raw", partial="background")
    assert not list((tmp_path / "raw").iterdir())
