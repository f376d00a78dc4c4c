from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.core.errors import InputError
from thoar.pipeline.inputs import find_cases, is_single


def found(path: Path) -> list[tuple[str, str]]:
    return [(case.id, str(case.path.relative_to(path))) for case in find_cases(path)]


def empty_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "name", ["a.b.nii.gz", "a.b.nii", "a.b.nrrd", "a.b.nhdr", "a.b.mha", "a.b.mhd", "a.b.NII.GZ"]
)
def test_a_file_is_one_case_called_by_its_name(tmp_path: Path, name: str) -> None:
    path = empty_files(tmp_path, name) / name
    (case,) = find_cases(path)
    assert (case.id, case.path) == ("a.b", path)
    assert is_single(path)


def test_a_dicom_folder_is_one_case_called_by_its_name(
    tmp_path: Path, write_scan_series: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_scan_series(tmp_path / "study" / "series.1")
    (case,) = find_cases(folder)
    assert (case.id, case.path) == ("series.1", folder)
    assert is_single(folder)
    assert [case.id for case in find_cases(tmp_path / "study")] == ["study"]
    monkeypatch.chdir(folder)
    assert [case.id for case in find_cases(Path())] == ["series.1"]


@pytest.mark.parametrize(
    ("name", "case_id"),
    [("a.b.zip", "a.b"), ("a.ZIP", "a"), ("a.b.dcm", "a.b"), ("1.2.840", "1.2.840"), ("IM01", "IM01")],
)
def test_a_dicom_file_or_archive_is_one_case_called_by_its_name(
    tmp_path: Path, name: str, case_id: str
) -> None:
    path = empty_files(tmp_path, name) / name
    (case,) = find_cases(path)
    assert (case.id, case.path) == (case_id, path)
    assert is_single(path)


def test_every_volume_of_a_folder_is_a_case(tmp_path: Path) -> None:
    folder = empty_files(
        tmp_path, "b.nii.gz", "a.mha", "c.nrrd", "notes.txt", "c.raw", ".hidden.nii.gz", "below/d.nii.gz"
    )
    assert found(folder) == [("a", "a.mha"), ("b", "b.nii.gz"), ("c", "c.nrrd")]
    assert not is_single(folder)


def test_ground_truth_is_never_an_input(tmp_path: Path) -> None:
    folder = empty_files(tmp_path, "GT.nii.gz", "GT_01.nii", "GTV.nrrd", "a.nii.gz")
    assert found(folder) == [("a", "a.nii.gz")]


def test_a_folder_of_ground_truth_alone_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither DICOM"):
        find_cases(empty_files(tmp_path, "GT.nii.gz"))


def test_segthors_layout_gives_its_images(tmp_path: Path) -> None:
    folder = empty_files(
        tmp_path,
        "train/Patient_01/Patient_01.nii.gz",
        "train/Patient_01/GT.nii.gz",
        "train/Patient_02/Patient_02.nii.gz",
    )
    assert [case_id for case_id, _ in found(folder)] == ["Patient_01", "Patient_02"]
    assert all("GT" not in path for _, path in found(folder))


def test_a_manifest_says_what_the_cases_are(tmp_path: Path) -> None:
    folder = empty_files(tmp_path, "x/scan.nii.gz", "x/truth.nii.gz", "stray.nii.gz")
    (folder / "dataset.toml").write_text(
        '[[cases]]\nid = "one"\nimage = "x/scan.nii.gz"\nlabel = "x/truth.nii.gz"\n'
    )
    assert found(folder) == [("one", "x/scan.nii.gz")]
    assert not is_single(folder)


def test_a_manifest_stands_above_dicom_in_the_same_folder(
    tmp_path: Path, write_scan_series: Callable[..., Path]
) -> None:
    write_scan_series(tmp_path / "images")
    (tmp_path / "dataset.toml").write_text('[[cases]]\nid = "one"\nimage = "images"\n')
    assert found(tmp_path) == [("one", "images")]
    assert not is_single(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_place_without_scans_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "scans"
    if kind == "empty":
        path.mkdir()
    with pytest.raises(InputError, match=str(path)):
        find_cases(path)


@pytest.mark.parametrize("names", [("a.nii.gz", "a.nrrd"), ("a.nii", "A.mha")])
def test_two_volumes_that_would_write_to_one_folder_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match="would write to one folder"):
        find_cases(empty_files(tmp_path, *names))
