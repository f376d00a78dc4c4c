import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.datasets.layouts import msd
from thoar.datasets.layouts.take_over import take_over
from thoar.datasets.manifest import read_dataset

PutScan = Callable[..., Path]

SAID = {
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "lung", "2": "cancer"},
    "numTraining": 1,
    "training": [{"image": "./imagesTr/lung_001.nii.gz", "label": "./labelsTr/lung_001.nii.gz"}],
    "test": ["./imagesTs/lung_002.nii.gz"],
}


@pytest.fixture
def task(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Path:
    root = tmp_path / "Task06_Lung"
    put_scan(root / "imagesTr" / "lung_001.nii.gz")
    put_label(root / "labelsTr" / "lung_001.nii.gz", {1: 3, 2: 2})
    put_scan(root / "imagesTs" / "lung_002.nii.gz")
    (root / "dataset.json").write_text(json.dumps(SAID))
    return root


def test_what_the_list_says_is_taken(task: Path, tmp_path: Path) -> None:
    take_over(msd.find(task), tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert [(o.name, o.id) for o in dataset.label_set.organs] == [("lung", 1), ("cancer", 2)]
    assert [(c.id, c.organs) for c in dataset.cases] == [("lung_001", ("lung", "cancer")), ("lung_002", ())]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"modality": {"0": "MRI"}}, UnsupportedFormatError, "one channel that is CT"),
        ({"numTraining": 2}, InputError, "lists 1 training cases"),
        ({"training": [{"image": "../../x.nii.gz", "label": "y"}]}, InputError, "only files below"),
        ({"training": ["x"]}, InputError, "needs the path of an image"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused(
    task: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    (task / "dataset.json").write_text(json.dumps(SAID | changes))
    with pytest.raises(error, match=says):
        msd.find(task)


def test_a_file_that_is_listed_and_not_there_refuses_its_case(task: Path, tmp_path: Path) -> None:
    (task / "labelsTr" / "lung_001.nii.gz").unlink()
    report = take_over(msd.find(task), tmp_path / "out")
    assert [(r.id, r.reason) for r in report.refused] == [
        ("lung_001", "labelsTr/lung_001.nii.gz: no such file or folder")
    ]
