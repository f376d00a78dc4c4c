from pathlib import Path

import pytest

from thoar.core.errors import UsageError
from thoar.pipeline.outputs import WriteOptions, is_result


@pytest.mark.parametrize("names", [(), ("nifti", "rtdose"), ("NIFTI",), ("",)])
def test_unknown_formats_are_refused_and_the_known_named(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="nifti, nrrd, mha, safetensors, rtstruct, dicom-seg, png"):
        WriteOptions(formats=names)


def test_only_an_rtstruct_can_be_appended_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--append-to"):
        WriteOptions(formats=("nifti", "dicom-seg"), append_to=tmp_path / "rtstruct.dcm")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("segmentation.nii.gz", True),
        ("coarse.mha", True),
        ("probability_left lung.nrrd", True),
        ("overview.png", True),
        ("rtstruct.dcm", True),
        ("segmentation.dcm", True),
        ("probabilities.dcm", True),
        ("0001.dcm", False),
        ("probability_/../../precious.nrrd", False),
        ("patient.nii.gz", False),
        ("segmentation.nii.gz.bak", False),
        ("my segmentation.nii.gz", False),
        ("overview.png\n", False),
    ],
)
def test_results_are_known_by_their_names(name: str, ours: bool) -> None:
    assert is_result(name) is ours
