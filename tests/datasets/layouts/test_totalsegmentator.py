import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thoar.core.errors import InputError, LabelError
from thoar.datasets.layouts import totalsegmentator
from thoar.datasets.layouts.take_over import Wish, take_over
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import read_integers

PutScan = Callable[..., Path]
WHOLE = ("aorta", "esophagus", "heart", "lung_left", "lung_right", "trachea")
PARTS = ("aorta", "esophagus", "heart_atrium_left", "heart_myocardium", "trachea")
JOINED = (
    '[[organs]]\norgan = "heart"\nnames = ["heart_myocardium", "heart_atrium_left"]\nwhen_several = "join"\n'
)


@pytest.fixture
def put_subject(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Callable[..., Path]:
    def put(name: str, structures: tuple[str, ...], *, voxels: int = 1) -> Path:
        place = tmp_path / "ts" / name
        put_scan(place / "ct.nii.gz")
        for k, structure in enumerate(structures):
            # each further along the row than the one before: 0 for what is painted over
            put_label(place / "segmentations" / f"{structure}.nii.gz", {0: 4 * k, 1: voxels * (k + 1)})
        return tmp_path / "ts"

    return put


def test_the_four_organs_are_joined_from_their_files(
    put_subject: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = put_subject("s0011", WHOLE)
    put_subject("s0012", WHOLE, voxels=0)
    (root / "meta.csv").write_text("image_id;age;institute\ns0011;60;A\ns0012;50;B\ns0099;40;A\n")
    with caplog.at_level(logging.WARNING):
        report = take_over(totalsegmentator.find(root), tmp_path / "out")
    assert "meta.csv lists 1 scans that are not here" in caplog.text
    assert report.without_organs == ("s0012",)
    (case,) = read_dataset(tmp_path / "out").cases
    assert case.organs == ("esophagus", "heart", "trachea", "aorta")
    assert case.source == "TotalSegmentator data set, institute A"
    assert case.label is not None
    assert np.bincount(read_integers(case.label).voxels.ravel())[1:].tolist() == [2, 3, 6, 1]


def test_other_structures_are_taken_where_they_are_asked_for(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    root = put_subject("s0011", WHOLE)
    take_over(totalsegmentator.find(root), tmp_path / "out", wish=Wish(organs=("lung_left", "lung_right")))
    dataset = read_dataset(tmp_path / "out")
    assert [(o.name, o.id) for o in dataset.label_set.organs] == [("lung_left", 1), ("lung_right", 2)]
    assert dataset.label_set.symmetric_pairs == (("lung_left", "lung_right"),)


def test_a_heart_in_parts_is_refused_with_the_parts_and_joined_by_a_file_of_names(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    source = totalsegmentator.find(put_subject("s0011", PARTS))
    with pytest.raises(
        LabelError, match=r"no label means heart \(heart_atrium_left, heart_myocardium can be"
    ):
        take_over(source, tmp_path / "out")
    (tmp_path / "names.toml").write_text(JOINED)
    report = take_over(source, tmp_path / "out", wish=Wish(names_file=tmp_path / "names.toml"))
    assert report.cases[0].volumes_ml["heart"] == pytest.approx(7 * 0.009)


def test_a_heart_that_lacks_the_file_of_a_part_refuses_its_case(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    put_subject("s0011", PARTS)
    root = put_subject("s0012", ("aorta", "esophagus", "heart_myocardium", "trachea"))
    (tmp_path / "names.toml").write_text(JOINED)
    wish = Wish(names_file=tmp_path / "names.toml")
    report = take_over(totalsegmentator.find(root), tmp_path / "out", wish=wish)
    (refused,) = report.refused
    assert (refused.id, "no file of heart_atrium_left" in refused.reason) == ("s0012", True)


def test_an_organ_that_lies_wholly_under_another_is_not_taken_for_absent(
    put_subject: Callable[..., Path], tmp_path: Path, put_label: PutScan
) -> None:
    root = put_subject("s0011", WHOLE)
    put_label(root / "s0011" / "segmentations" / "aorta.nii.gz", {1: 60})
    with pytest.raises(InputError, match="esophagus is drawn, but all of it lies under others"):
        take_over(totalsegmentator.find(root), tmp_path / "out")


def test_a_scan_without_its_image_is_refused_by_name(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    put_subject("s0011", WHOLE)
    root = put_subject("s0012", WHOLE)
    (root / "s0012" / "ct.nii.gz").unlink()
    report = take_over(totalsegmentator.find(root), tmp_path / "out")
    assert [(line.id, line.reason) for line in report.refused] == [
        ("s0012", "s0012/ct.nii.gz: no such file or folder")
    ]


def test_an_organ_out_of_view_is_absent_and_one_without_a_file_is_unlabelled(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    root = put_subject("s0011", ("aorta", "esophagus", "heart", "trachea"))
    put_subject("s0012", ("esophagus", "heart"), voxels=0)
    put_subject("s0012", ("aorta",))
    report = take_over(totalsegmentator.find(root), tmp_path / "out")
    assert "trachea: no file, unlabelled" in report.cases[1].notes
    second = read_dataset(tmp_path / "out").cases[1]
    assert (second.organs, second.absent) == (("esophagus", "heart", "aorta"), ("esophagus", "heart"))


def test_a_mask_that_is_none_is_refused(
    put_subject: Callable[..., Path], tmp_path: Path, put_label: PutScan
) -> None:
    root = put_subject("s0011", WHOLE)
    put_label(root / "s0011" / "segmentations" / "heart.nii.gz", {1: 3, 2: 2})
    with pytest.raises(InputError, match=r"heart\.nii\.gz: holds ids that are not declared: 2 \(2 voxels\)"):
        take_over(totalsegmentator.find(root), tmp_path / "out")


def test_a_folder_without_scans_or_with_a_broken_table_is_refused(
    put_subject: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds no scan"):
        totalsegmentator.find(tmp_path)
    root = put_subject("s0011", ("aorta",))
    (root / "meta.csv").write_text("name,age\nx,1\n")
    with pytest.raises(InputError, match=r"meta\.csv: needs a column image_id"):
        totalsegmentator.find(root)
