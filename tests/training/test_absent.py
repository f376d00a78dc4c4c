"""Organs that are not labelled in some cases, and organs known to be absent."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thoar.core.errors import InputError
from thoar.datasets.manifest import Case, Dataset
from thoar.io.formats import read_labels, write_labels
from thoar.training.events import Outcome

Train = Callable[..., Outcome]


def without_trachea(case: Case, dataset: Dataset, folder: Path) -> Path:
    """Return a label map of the case in which no voxel is trachea."""
    assert case.label is not None
    labels = read_labels(case.label, dataset.label_set)
    labels.voxels[labels.voxels == 3] = 0
    path = folder / f"{case.id}.nii.gz"
    write_labels(path, labels)
    return path


def values(run: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with (run / "metrics.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["name"], []).append(float(row["value"]))
    return found


@pytest.mark.parametrize("kind", ["unlabelled", "absent", "undrawn"])
def test_run_with_an_organ_in_two_cases_of_four_learns_it_from_these(
    tmp_path: Path, small_dataset: Dataset, train_small: Train, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Unlabelled: not listed. Absent: listed, and said to be. Undrawn: listed, without a voxel: a mistake."""
    changes = {"unlabelled": {"organs": ("heart",)}, "absent": {"absent": ("trachea",)}, "undrawn": {}}
    cases = [
        replace(case, label=without_trachea(case, small_dataset, tmp_path), **changes[kind])
        if number % 2
        else case
        for number, case in enumerate(small_dataset.cases)
    ]
    dataset = replace(small_dataset, cases=tuple(cases))
    assert train_small(tmp_path / "run", dataset=dataset) == "finished"
    found = values(tmp_path / "run")
    assert all(math.isfinite(value) for name in found if name.startswith("train/") for value in found[name])
    assert found["train/fine_trachea"]
    assert found["validation/score"]
    warned = "trachea is listed as labelled and has no voxel" in caplog.text
    assert warned == (kind == "undrawn")


def test_run_goes_on_where_the_validation_case_lacks_an_organs_labels(
    tmp_path: Path, small_dataset: Dataset, train_small: Train
) -> None:
    run = tmp_path / "first"
    train_small(run, only=1)
    held = next(c.id for c in small_dataset.cases if f'"{c.id}"' not in _training(run))
    cases = tuple(replace(c, organs=("heart",)) if c.id == held else c for c in small_dataset.cases)
    assert train_small(tmp_path / "run", dataset=replace(small_dataset, cases=cases)) == "finished"
    found = values(tmp_path / "run")
    assert found["validation/score"][-1] == pytest.approx(found["validation/dice_heart"][-1])
    assert "validation/dice_trachea" not in found


def _training(run: Path) -> str:
    text = (run / "run.json").read_text()
    return text[text.index('"training"') : text.index('"validation"')]


def test_organ_that_no_training_case_shows_is_refused_by_name(
    tmp_path: Path, small_dataset: Dataset, train_small: Train
) -> None:
    cases = tuple(replace(case, organs=("heart",)) for case in small_dataset.cases)
    with pytest.raises(InputError, match="no training case shows trachea"):
        train_small(tmp_path, dataset=replace(small_dataset, cases=cases))
