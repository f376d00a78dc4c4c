import pytest

from thoar.core.errors import UsageError
from thoar.pipeline.outputs import check_formats, is_result


def test_formats_are_taken_once_each() -> None:
    assert check_formats(("png", "nifti", "png")) == ("png", "nifti")


@pytest.mark.parametrize("names", [(), ("nifti", "rtstruct"), ("NIFTI",), ("",)])
def test_unknown_formats_are_refused_and_the_known_named(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="nifti, nrrd, mha, safetensors, png"):
        check_formats(names)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("segmentation.nii.gz", True),
        ("coarse.mha", True),
        ("probability_left lung.nrrd", True),
        ("overview.png", True),
        ("probability_/../../precious.nrrd", False),
        ("patient.nii.gz", False),
        ("segmentation.nii.gz.bak", False),
        ("my segmentation.nii.gz", False),
        ("overview.png\n", False),
    ],
)
def test_results_are_known_by_their_names(name: str, ours: bool) -> None:
    assert is_result(name) is ours
