"""From a folder of scans to a trained, cross-validated, reported model, as the tutorial goes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume
from thoar.datasets.manifest import Case, Dataset, read_dataset
from thoar.inference.bundle import read_bundle
from thoar.io.formats import read_labels, read_volume, write_labels

RECIPE = """
name = "trial"
preparation.spacing_zyx_mm = [6.0, 6.0, 6.0]
localisation = { threshold = 0.5, organ_threshold = {} }

[network]
stem_channels = 8
blocks = [
    { channels = 12, convolutions = 1, stride_zyx = [1, 2, 2] },
    { channels = 16, convolutions = 1, stride_zyx = [2, 1, 1] },
    { channels = 16, convolutions = 2, dilation = 2 },
]
average = "logits"

[train]
coarse_epochs = 8
joint_epochs = 6
optimiser = "adamw"
learning_rate = 1e-2
averaging = 0.8
cases_per_epoch = 4
validate_every = 20
precision = "bfloat16"
threads = 1
"""
WITHOUT_AORTA = ("Patient_03", "Patient_04")
IDS = {organ.name: organ.id for organ in SEGTHOR.organs}


def thoar(*arguments: str | Path, code: int = 0) -> str:
    program = [sys.executable, "-m", "thoar", *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def contents(path: Path) -> Any:
    return json.loads(path.read_text())


def ids(of: list[dict[str, Any]]) -> list[str]:
    return sorted(case["case_id"] for case in of)


@pytest.fixture(scope="module")
def thorax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return four phantoms as SegTHOR lays its cases out."""
    out = tmp_path_factory.mktemp("thorax") / "thorax"
    size = ("--spacing-zyx-mm", "6", "6", "6")
    thoar("phantom", out, "--cases", "4", "--seed", "1", "--layout", "segthor", *size)
    return out


def test_from_segthor_s_layout_to_an_ensemble_that_is_reported(thorax: Path, tmp_path: Path) -> None:
    assert_trained_and_reported(thorax, tmp_path, folds=2)


@pytest.mark.slow
def test_from_dicom_with_structure_sets_to_an_ensemble_that_is_reported(
    thorax: Path, tmp_path: Path, write_slices: Callable[..., Path]
) -> None:
    clinic, names, data = tmp_path / "clinic", tmp_path / "names.toml", tmp_path / "mydata"
    patients = read_dataset(thorax).cases[:3]
    for case in patients:
        series = clinic / case.id / "ct"
        series.mkdir(parents=True)
        write_slices(series, read_volume(case.image), edit=identity(case.id))
        structures = series.parent / "rs.dcm"
        thoar("convert", labels_of(case), "-o", structures, "--to", "rtstruct", "--like", series)
    thoar("dataset", "import", "dicom", clinic, "--propose", names)
    thoar("dataset", "import", "dicom", clinic, "-o", data, "--names", names)
    imported = read_dataset(data)
    assert len({case.group for case in imported.cases}) == 3
    was, came = (
        sorted(np.count_nonzero(read_volume(labels_of(case)).voxels == IDS["heart"]) for case in some)
        for some in (patients, imported.cases)
    )
    assert came == pytest.approx(was, rel=0.05)
    assert_trained_and_reported(data, tmp_path, folds=3, more=("--set", "train.joint_epochs=12"))


def test_a_damaged_copy_is_caught_before_training(thorax: Path, tmp_path: Path) -> None:
    """The two faults of a circulated copy of SegTHOR: half of the aortas missing, hearts in another place."""
    for case in read_dataset(thorax).cases:
        copy = tmp_path / "damaged" / "train" / case.id
        copy.mkdir(parents=True)
        (copy / case.image.name).write_bytes(case.image.read_bytes())
        labels = read_labels(labels_of(case), SEGTHOR)
        voxels = without_aorta(labels) if case.id in WITHOUT_AORTA else with_displaced_heart(labels)
        damaged = LabelVolume(voxels=voxels, geometry=labels.geometry, label_set=SEGTHOR)
        write_labels(copy / "GT.nii.gz", damaged)
    said = thoar("dataset", "check", tmp_path / "damaged", "-o", tmp_path / "checked", code=3)
    assert said.splitlines()[-1].startswith("error: ")
    found = contents(tmp_path / "checked" / "findings.json")["findings"]
    errors = {(one["case_id"], one["organ"]) for one in found if one["severity"] == "error"}
    assert {(case, "aorta") for case in WITHOUT_AORTA} <= errors
    assert {one["case_id"] for one in found if one["organ"] == "heart"} == {"Patient_01", "Patient_02"}


def assert_trained_and_reported(data: Path, work: Path, *, folds: int, more: tuple[str, ...] = ()) -> None:
    """Go the tutorial's way from a data set on, and check that what comes out hangs together."""
    dataset = read_dataset(data)
    recipe, plan, cv = work / "trial.toml", work / "plan.toml", work / "cv"
    recipe.write_text(RECIPE)
    thoar("dataset", "check", data, "-o", work / "checked")
    assert_checked(work / "checked", dataset)
    assert f"{plan}: thoar train" in thoar("dataset", "plan", data, "--recipe", recipe, *more, "-o", plan)
    said = thoar("train", plan, "--data", data, "-o", cv, "--fold", "all", "--folds", str(folds))
    assert f"thoar segment INPUT -o OUT --model {cv}" in said
    assert_folds(cv, dataset, folds=folds)
    thoar("report", cv, "-o", work / "again.html")
    assert (work / "again.html").read_text().count("<svg") == (cv / "report.html").read_text().count("<svg")
    thoar("segment", data, "-o", work / "results", "--model", cv)
    assert_segmented(work / "results", dataset, folds=folds)
    table = thoar("evaluate", work / "results", data, "-o", work / "results.json")
    assert "training data" in table
    assert_scored(work / "results.json", dataset)
    thoar("report", work / "results.json", "-o", work / "results.html")
    assert_page(work / "results.html", dataset)


def assert_checked(checked: Path, dataset: Dataset) -> None:
    assert_page(checked / "index.html", dataset)
    assert {picture.stem for picture in (checked / "pictures").iterdir()} == {c.id for c in dataset.cases}
    assert contents(checked / "findings.json")["organs"]["aorta"]["drawn"] == len(dataset.cases)


def assert_folds(cv: Path, dataset: Dataset, *, folds: int) -> None:
    everyone = sorted(case.id for case in dataset.cases)
    splits = contents(cv / "splits.json")
    assert sorted(name for split in splits for name in split["val"]) == everyone
    assert len(splits) == folds
    for number, split in enumerate(splits):
        run = cv / f"fold_{number}"
        record = contents(run / "run.json")
        assert (record["outcome"], record["fold"]) == ("finished", number)
        assert (record["training"], record["validation"]) == (split["train"], split["val"])
        assert sorted(split["train"] + split["val"]) == everyone
        assert ids(contents(run / "validation.json")["cases"]) == sorted(split["val"])
        learnt_from = set(read_bundle(run / "best").manifest.training_cases)
        assert learnt_from >= set(split["train"])
        assert not learnt_from & set(split["val"])
        assert (run / "report.html").is_file()
    together = contents(cv / "cross_validation.json")
    assert ids(together["cases"]) == everyone
    assert tuple(together["organs"]) == SEGTHOR.names
    assert not together["missing"]
    assert_page(cv / "report.html", dataset)


def assert_segmented(results: Path, dataset: Dataset, *, folds: int) -> None:
    for case in dataset.cases:
        record = contents(results / case.id / "run.json")
        assert len(record["model"]["members"]) == folds
        assert set(record["model"]["training_cases"]) >= {case.id for case in dataset.cases}
        assert {name: organ["id"] for name, organ in record["organs"].items()} == IDS
        drawn = read_labels(results / case.id / "segmentation.nii.gz", SEGTHOR)
        assert drawn.geometry.same_grid(read_volume(case.image).geometry)


def assert_scored(results: Path, dataset: Dataset) -> None:
    cases = contents(results)["cases"]
    assert ids(cases) == sorted(case.id for case in dataset.cases)
    assert all(case["in_training_data"] for case in cases)
    dice = {name: np.mean([case["scores"][name]["dice"] for case in cases]) for name in SEGTHOR.names}
    assert dice["heart"] > 0.4, dice


def assert_page(page: Path, dataset: Dataset) -> None:
    text = page.read_text()
    assert all(case.id in text for case in dataset.cases)


def identity(patient: str) -> Callable[[pydicom.Dataset, int], None]:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.PatientID = ds.PatientName = patient

    return edit


def labels_of(case: Case) -> Path:
    assert case.label is not None
    return case.label


def without_aorta(labels: LabelVolume) -> np.ndarray:
    return np.where(labels.voxels == IDS["aorta"], 0, labels.voxels)


def with_displaced_heart(labels: LabelVolume) -> np.ndarray:
    """Move the heart 48 mm to the patient's left and 30 mm to the back, as a wrong affine would."""
    heart = labels.voxels == IDS["heart"]
    index_from_lps = np.linalg.inv(labels.geometry.lps_from_index)[:3, :3]
    moved = np.argwhere(heart) + np.rint(index_from_lps @ (48.0, 30.0, 0.0)).astype(int)
    inside = moved[((moved >= 0) & (moved < heart.shape)).all(axis=1)]
    voxels = np.where(heart, 0, labels.voxels)
    voxels[tuple(inside.T)] = IDS["heart"]
    return voxels
