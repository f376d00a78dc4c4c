"""Prepared cases: kept as long as nothing they were made of changes."""

from collections.abc import Callable
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
