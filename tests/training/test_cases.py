"""Prepared cases: kept as long as nothing they were made of changes."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)

from thoar.core.configuration import Configuration
from thoar.core.errors import InputError
from thoar.datasets.manifest import Case, Dataset
from thoar.training.cases import TrainingCase, prepare_cases

Prepare = Callable[[Case], TrainingCase]


@pytest.fixture
def prepare(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> Prepare:
    def prepare(case: Case) -> TrainingCase:
        wanted = {"configuration": small_configuration(), "label_set": small_dataset.label_set}
        return prepare_cases([case], **wanted, folder=tmp_path / "kept")[0]

    return prepare


def test_new_voxels_beside_an_old_header_are_prepared_anew(
    tmp_path: Path, small_dataset: Dataset, prepare: Prepare
) -> None:
    (case, *_) = small_dataset.cases
    image = sitk.ReadImage(str(case.image))
    sitk.WriteImage(image + 0, str(tmp_path / "scan.mhd"))
    case = replace(case, image=tmp_path / "scan.mhd")
    first = prepare(case)
    assert prepare(case).key == first.key
    before, header = np.array(first.image()), case.image.read_bytes()
    sitk.WriteImage(image + 100, str(tmp_path / "scan.mhd"))
    assert case.image.read_bytes() == header
    second = prepare(case)
    assert second.key != first.key
    assert not np.array_equal(second.image(), before)


def test_a_missing_file_is_named_with_its_case(
    tmp_path: Path, small_dataset: Dataset, prepare: Prepare
) -> None:
    (case, *_) = small_dataset.cases
    with pytest.raises(InputError, match=rf"case {case.id}.*gone\.nii"):
        prepare(replace(case, image=tmp_path / "gone.nii"))


@pytest.mark.parametrize("part", ["image.npy", "labels.npy", "json"])
@pytest.mark.parametrize("keeps", [0.0, 0.5], ids=["emptied", "cut in half"])
def test_damaged_prepared_case_is_made_anew_with_a_warning(
    small_dataset: Dataset, prepare: Prepare, caplog: pytest.LogCaptureFixture, part: str, keeps: float
) -> None:
    (case, *_) = small_dataset.cases
    first = prepare(case)
    content = first.image_path.read_bytes()
    (damaged,) = first.image_path.parent.glob(f"*.{part}")
    os.truncate(damaged, int(damaged.stat().st_size * keeps))
    again = prepare(case)
    assert "preparing it anew" in caplog.text
    assert case.id in caplog.text
    assert again.key == first.key
    assert again.image_path.read_bytes() == content


def test_two_runs_may_prepare_the_same_cases_into_one_folder_at_once(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> None:
    together = threading.Barrier(3)

    def run(_: int) -> list[TrainingCase]:
        together.wait()
        return prepare_cases(
            small_dataset.cases,
            configuration=small_configuration(),
            label_set=small_dataset.label_set,
            folder=tmp_path / "shared",
            workers=2,
        )

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(run, range(3))
    for other in others:
        assert [case.key for case in other] == [case.key for case in first]
        assert all(
            np.array_equal(a.image(), b.image()) and np.array_equal(a.labels(), b.labels())
            for a, b in zip(first, other, strict=True)
        )
    assert len(list((tmp_path / "shared").iterdir())) == 3 * len(small_dataset.cases)
