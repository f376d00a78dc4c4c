"""A clinic's export becomes a data set that trains and names nobody; what cannot be used is said and left."""

import gzip
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from thoar.core.errors import InputError, UsageError
from thoar.core.labels import SEGTHOR
from thoar.datasets import scans
from thoar.datasets.dicom_import import Wish, import_dicom, names_in
from thoar.datasets.manifest import read_dataset
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series
from thoar.io.formats import read_labels, read_volume

AddPatient = Callable[..., Path]
VOXEL_ML = 1.5 * 1.5 * 2.5 / 1000
GRID_MATRIX = np.array([[0, 0, 1.5, -30], [0, 1.5, 0, -25], [2.5, 0, 0, 100], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def _read_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each series the start of a process; the command's own test takes the long way."""
    monkeypatch.setattr(scans, "read_series", read_series)


def labels_of(out: Path, case: str) -> np.ndarray:
    return read_labels(out / case / "GT.nii.gz", SEGTHOR).voxels


def rename(**names: str) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        for roi in ds.StructureSetROISequence:
            roi.ROIName = names.get(roi.ROIName, roi.ROIName)

    return edit


def test_series_and_structures_become_cases_on_the_series_own_grid(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    add_patient("A")
    add_patient("B", kind="seg")
    imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert sorted(case.id for case in dataset.cases) == ["case_0000", "case_0001"]
    assert {case.group for case in dataset.cases} == {"patient_0000", "patient_0001"}
    assert {record.kind for record in imported.report.cases} == {"rtstruct", "seg"}
    for case, record in zip(dataset.cases, imported.report.cases, strict=True):
        assert case.organs == ("heart", "aorta")
        volume, labels = read_volume(case.image), labels_of(tmp_path / "out", case.id)
        assert np.array_equal(volume.geometry.lps_from_index, GRID_MATRIX)
        assert (volume.voxels[2, 10, 10], volume.voxels[5, 0, 0]) == (42, -995)
        heart, aorta = (next(o for o in record.organs if o.organ == name) for name in ("heart", "aorta"))
        assert (heart.names, heart.faults) == (("Heart",), ())
        assert heart.volume_ml == pytest.approx(4 * 216 * VOXEL_ML)
        taken = record.overlaps_ml["aorta over heart"]
        assert (labels == 2).sum() * VOXEL_ML == pytest.approx(heart.volume_ml - taken, abs=1e-3)
        assert (labels == 4).sum() * VOXEL_ML == pytest.approx(aorta.volume_ml, abs=1e-3)
    a, b = (labels_of(tmp_path / "out", f"case_000{k}") for k in (0, 1))
    assert np.array_equal(a, b)


def test_nothing_of_anybodys_identity_is_in_files_names_or_logs(
    add_patient: AddPatient, tmp_path: Path, caplog: pytest.LogCaptureFixture, canaries: tuple[str, ...]
) -> None:
    def spill(ds: Dataset) -> None:
        ds.StructureSetLabel = ds.StructureSetName = "SECRETNAME"
        ds.StructureSetDescription = ds.SeriesDescription = "SECRET HOSPITAL"
        for roi in ds.StructureSetROISequence:
            roi.ROIDescription = "PHI-ID-12345"

    add_patient("A", edit=spill)
    orphan = add_patient("B", edit=spill)
    shutil.rmtree(orphan / "CT")
    (tmp_path / "clinic" / "SECRETFILE_empty.dcm").write_bytes(b"")
    cut = next((tmp_path / "clinic" / "SECRETNAME A" / "CT").iterdir()).read_bytes()[:300]
    (tmp_path / "clinic" / "SECRETFILE_cut.dcm").write_bytes(cut)
    with caplog.at_level(logging.DEBUG):
        imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    report = imported.report
    assert (len(report.cases), len(report.refused)) == (1, 1)
    assert len(report.unreadable_files) == 2
    texts = {"log": caplog.text.encode(), "report": repr(report).encode()}
    for path in (tmp_path / "out").rglob("*"):
        texts[str(path.relative_to(tmp_path))] = path.name.encode()
        if path.is_file():
            texts[path.name] = path.read_bytes()
            if path.suffix == ".gz":
                texts[f"{path.name} inside"] = gzip.decompress(path.read_bytes())
    uids = [
        str(pydicom.dcmread(p).SeriesInstanceUID) for p in (tmp_path / "clinic").rglob("SECRETFILE r*.dcm")
    ]
    for where, text in texts.items():
        for canary in (*canaries, *uids, str(tmp_path / "clinic")):
            assert canary.lower().encode() not in text.lower(), (where, canary)
    assert any("SECRETNAME" in path for path in imported.key.values())


def test_names_that_mean_no_organ_stay_out_of_the_data_set(add_patient: AddPatient, tmp_path: Path) -> None:
    add_patient("A", edit=rename(A_Aorta="PHI^SECRETNAME 1947"))
    imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    assert imported.report.cases[0].left_out == {"unknown": 1}
    assert "SECRETNAME" not in (tmp_path / "out" / "import.json").read_text()
    assert [(n.name, n.meaning.kind) for n in imported.names] == [
        ("Heart", "organ"),
        ("PHI^SECRETNAME 1947", "unknown"),
    ]


def test_name_that_a_pattern_told_stays_out_too(add_patient: AddPatient, tmp_path: Path) -> None:
    add_patient("A", edit=rename(Heart="heart of PHI^SECRETNAME"))
    names = tmp_path / "names.toml"
    names.write_text("[[organs]]\norgan = 'heart'\npatterns = ['heart.*']")
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out", wish=Wish(names_file=names)).report.cases
    assert [organ.names for organ in record.organs] == [("(by a pattern)",), ("A_Aorta",)]
    assert "SECRETNAME" not in (tmp_path / "out" / "import.json").read_text()


def test_structure_of_an_organ_that_another_was_taken_for_is_counted(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    add_patient("A", edit=rename(A_Aorta="Herz"))
    names = tmp_path / "names.toml"
    names.write_text('[[organs]]\norgan = "heart"\nnames = ["Heart"]\nwhen_several = "first"')
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out", wish=Wish(names_file=names)).report.cases
    assert [organ.names for organ in record.organs] == [("Heart",)]
    assert record.left_out == {"another of an organ": 1}


def test_organ_that_others_took_whole_is_not_called_labelled(add_patient: AddPatient, tmp_path: Path) -> None:
    def same_contours(ds: Dataset) -> None:
        ds.ROIContourSequence[1].ContourSequence = ds.ROIContourSequence[0].ContourSequence

    add_patient("A", edit=same_contours)
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out").report.cases
    assert all(organ.volume_ml > 0 for organ in record.organs)
    assert record.overlaps_ml["aorta over heart"] == record.organs[0].volume_ml
    assert read_dataset(tmp_path / "out").cases[0].organs == ("aorta",)


@pytest.mark.parametrize("uid", ["", "1.2.3.4.5.6.7"])
def test_structure_files_of_one_uid_are_all_taken_unless_they_are_copies(
    add_patient: AddPatient, tmp_path: Path, uid: str
) -> None:
    def one_uid(ds: Dataset) -> None:
        ds.SOPInstanceUID = uid

    for patient in ("A", "B"):
        folder = add_patient(patient, edit=one_uid)
    shutil.copy(folder / "SECRETFILE rtstruct.dcm", folder / "a copy of it.dcm")
    report = import_dicom(tmp_path / "clinic", tmp_path / "out").report
    assert {case.group for case in report.cases} == {"patient_0000", "patient_0001"}
    assert len(report.cases) == 2


def test_bad_case_does_not_stop_the_others_and_its_reason_is_kept(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    def gap(ds: Dataset, k: int) -> None:
        if k > 2:
            ds.ImagePositionPatient = [-30, -25, 100 + 2.5 * k + 2.5]

    add_patient("A")
    add_patient("B", edit_slice=gap)
    add_patient("C", edit=rename(Heart="Heart_v2"))
    add_patient("D", edit=rename(A_Aorta="heart"))
    add_patient("E", edit=rename(Heart="Liver", A_Aorta="Spleen"))
    imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    assert len(imported.report.cases) == 1
    reasons = "\n".join(refusal.reason for refusal in imported.report.refused)
    for expected in (
        "missing",
        "may mean an organ and are not known: 1",
        "several structures are heart",
        "none of its 2 structures is an organ asked for",
    ):
        assert expected in reasons
    assert json.loads((tmp_path / "out" / "import.json").read_text())["refused"]
    ids = [record.id for record in (*imported.report.cases, *imported.report.refused)]
    assert sorted(ids) == [f"case_{k:04d}" for k in range(5)]
    names = tmp_path / "names.toml"
    names.write_text(
        'ignore = ["Liver"]\n[[organs]]\norgan = "heart"\n'
        'names = ["Heart", "heart_v2"]\nwhen_several = "join"'
    )
    again = import_dicom(
        tmp_path / "clinic",
        tmp_path / "out",
        wish=Wish(names_file=names, options=ReadOptions(fill_gaps=1)),
        overwrite=True,
    )
    assert len(again.report.cases) == 4
    assert again.report.names_sha256 is not None


def test_unreadable_file_beside_a_series_refuses_it_as_a_slice_may_be_missing(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    add_patient("A")
    first = min((add_patient("B") / "CT").iterdir())
    first.write_bytes(first.read_bytes()[:200])
    imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    (refusal,) = imported.report.refused
    (unreadable,) = imported.report.unreadable_files
    assert refusal.reason.split(":")[0] == unreadable.split(":")[0]
    assert imported.key[unreadable.split(":")[0]] == str(first)
    assert "lies beside files of the series" in refusal.reason


def test_case_numbers_do_not_depend_on_names_of_files(add_patient: AddPatient, tmp_path: Path) -> None:
    for patient in ("A", "B", "C"):
        add_patient(patient)
    first = import_dicom(tmp_path / "clinic", tmp_path / "one").report
    (tmp_path / "clinic" / "SECRETNAME A").rename(tmp_path / "clinic" / "zzz")
    second = import_dicom(tmp_path / "clinic", tmp_path / "two").report
    assert [(c.id, c.structures, c.group) for c in first.cases] == [
        (c.id, c.structures, c.group) for c in second.cases
    ]
    assert first == second


def test_structure_sets_of_one_patient_share_a_group_and_are_told_of(
    add_patient: AddPatient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = add_patient("A")
    ds = pydicom.dcmread(folder / "SECRETFILE rtstruct.dcm")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.save_as(folder / "second.dcm")
    shutil.copy(folder / "second.dcm", folder / "a copy of it.dcm")
    imported = import_dicom(tmp_path / "clinic", tmp_path / "out")
    assert [c.group for c in imported.report.cases] == ["patient_0000"] * 2
    assert "2 structure files were drawn on it" in caplog.text


def test_structures_that_name_no_series_here_go_by_their_frame_of_reference(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    def lose_series(ds: Dataset) -> None:
        del ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence

    folder = add_patient("A", edit=lose_series)
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out").report.cases
    assert "is alone in its frame" in record.warnings[0]
    for path in (folder / "CT").iterdir():
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.3", generate_uid()
        ds.save_as(folder / f"other {path.name}")
    with pytest.raises(InputError, match="of the folder's 2 CT series 2 are named by it"):
        import_dicom(tmp_path / "clinic", tmp_path / "out", overwrite=True)


def test_wrong_frame_of_reference_is_refused(add_patient: AddPatient, tmp_path: Path) -> None:
    def move(ds: Dataset) -> None:
        for roi in ds.StructureSetROISequence:
            roi.ReferencedFrameOfReferenceUID = "1.2.3.4.5.6.7"

    add_patient("A", edit=move)
    with pytest.raises(InputError, match=r"file_\d+: ROINumber 1 is in FrameOfReferenceUID UID [0-9a-f]{12}"):
        import_dicom(tmp_path / "clinic", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faults_of_the_drawing_stand_in_the_report(add_patient: AddPatient, tmp_path: Path) -> None:
    def open_one(ds: Dataset) -> None:
        ds.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = "OPEN_PLANAR"

    add_patient("A", edit=open_one)
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out").report.cases
    assert record.organs[0].faults == (
        "OPEN_PLANAR contours are left out, since they are not closed: 1",
        "slices between its first and its last without a contour: 1, at 105.00 mm",
    )


def test_organ_drawn_on_every_other_slice_is_unknown_and_not_labelled(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    def every_other(ds: Dataset) -> None:
        heart = ds.ROIContourSequence[0]
        heart.ContourSequence = heart.ContourSequence[::2]

    add_patient("A", edit=every_other)
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out").report.cases
    assert read_dataset(tmp_path / "out").cases[0].organs == ("aorta",)
    assert set(np.unique(labels_of(tmp_path / "out", "case_0000"))) == {0, SEGTHOR.organ("aorta").id}
    assert [(organ.organ, organ.volume_ml > 0) for organ in record.organs] == [
        ("heart", False),
        ("aorta", True),
    ]
    assert any("heart is not taken, since" in line for line in record.warnings)


def test_tilted_series_is_rectified_where_asked_and_labels_lie_on_its_grid(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    def tilt(ds: Dataset, k: int) -> None:
        ds.ImagePositionPatient = [-30, -25 + 1.5 * k, 100 + 2.5 * k]

    add_patient("A")
    add_patient("B", edit_slice=tilt)
    flat = import_dicom(tmp_path / "clinic", tmp_path / "out").report
    assert "--rectify" in flat.refused[0].reason
    straight = labels_of(tmp_path / "out", flat.cases[0].id)
    wish = Wish(options=ReadOptions(rectify=True))
    cases = import_dicom(tmp_path / "clinic", tmp_path / "out", wish=wish, overwrite=True).report.cases
    (name,) = (case.id for case in cases if case.rectified)
    labels = read_labels(tmp_path / "out" / name / "GT.nii.gz", SEGTHOR)
    image = read_volume(tmp_path / "out" / name / f"{name}.nii.gz")
    assert np.array_equal(labels.geometry.lps_from_index, image.geometry.lps_from_index)
    for k in range(1, 5):  # the organs move with their slices
        y, x = (float(axis.mean()) for axis in np.nonzero(labels.voxels[k]))
        plain_y, plain_x = (float(axis.mean()) for axis in np.nonzero(straight[k]))
        expected = (-30 + 1.5 * plain_x, -25 + 1.5 * plain_y + 1.5 * k, 100 + 2.5 * k)
        assert image.geometry.position_xyz_mm((k, y, x)) == pytest.approx(expected, abs=1e-3)


def test_priority_of_the_file_of_names_decides_overlaps(add_patient: AddPatient, tmp_path: Path) -> None:
    add_patient("A")
    names = tmp_path / "names.toml"
    names.write_text('priority = ["aorta", "heart"]')
    (record,) = import_dicom(tmp_path / "clinic", tmp_path / "out", wish=Wish(names_file=names)).report.cases
    assert list(record.overlaps_ml) == ["heart over aorta"]
    heart = next(organ for organ in record.organs if organ.organ == "heart")
    assert (labels_of(tmp_path / "out", "case_0000") == 2).sum() * VOXEL_ML == pytest.approx(
        heart.volume_ml, abs=1e-3
    )


def test_only_organs_asked_for_are_taken(add_patient: AddPatient, tmp_path: Path) -> None:
    add_patient("A")
    import_dicom(tmp_path / "clinic", tmp_path / "out", wish=Wish(organs=("aorta",)))
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.label_set.names, dataset.cases[0].organs) == (("aorta",), ("aorta",))


def test_names_are_listed_without_reading_a_scan(add_patient: AddPatient, tmp_path: Path) -> None:
    for patient in "AB":
        shutil.rmtree(add_patient(patient) / "CT")
    found = {name.name: (name.sets, name.meaning.kind) for name in names_in(tmp_path / "clinic")}
    assert found == {"A_Aorta": (2, "organ"), "Heart": (2, "organ")}


def test_folders_without_structures_or_that_are_taken_are_refused(
    add_patient: AddPatient, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file"):
        import_dicom(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="is no folder"):
        import_dicom(tmp_path / "absent", tmp_path / "out")
    (add_patient("A") / "SECRETFILE rtstruct.dcm").unlink()
    with pytest.raises(InputError, match="no RTSTRUCT and no DICOM-SEG"):
        import_dicom(tmp_path / "clinic", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        import_dicom(tmp_path / "clinic", tmp_path / "out", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clinic", "empty", "out"]  # and nothing half-made
