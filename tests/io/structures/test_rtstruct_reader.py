"""RTSTRUCT files are read as they are; what is broken is refused by file and number, never by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.structures.rtstruct_reader import read_rtstruct

SQUARE = ["1.5", "-2", "3e0", "4", "-2", "3", "4", "2.25", "3"]
Edit = Callable[[Dataset], None]


def items(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(
            ds,
            keyword,
            Sequence(value) if isinstance(value, list) and keyword.endswith("Sequence") else value,
        )
    return ds


def contour(data: list[str] = SQUARE, kind: str = "CLOSED_PLANAR") -> Dataset:
    return items(
        ContourImageSequence=[
            items(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID="1.2.3.7")
        ],
        ContourGeometricType=kind,
        NumberOfContourPoints=str(len(data) // 3),
        ContourData=data,
    )


def roi(number: int, name: str) -> Dataset:
    return items(ROINumber=str(number), ReferencedFrameOfReferenceUID="1.2.9", ROIName=name)


def structure_set() -> Dataset:
    series = items(
        SeriesInstanceUID="1.2.3",
        ContourImageSequence=[items(ReferencedSOPInstanceUID=f"1.2.3.{k}") for k in (7, 8)],
    )
    study = items(RTReferencedSeriesSequence=[series])
    frame = items(FrameOfReferenceUID="1.2.9", RTReferencedStudySequence=[study])
    return items(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID="1.2.4",
        Modality="RTSTRUCT",
        PatientName="PHI^SECRETNAME",
        ReferencedFrameOfReferenceSequence=[frame],
        StructureSetROISequence=[roi(3, "Speiseröhre "), roi(5, "Empty")],
        ROIContourSequence=[
            items(
                ROIDisplayColor=["1", "2", "300"],
                ReferencedROINumber="3",
                ContourSequence=[contour(), contour(SQUARE[:3], "POINT")],
            ),
            items(ReferencedROINumber="5"),
        ],
        RTROIObservationsSequence=[items(ReferencedROINumber="3", RTROIInterpretedType="ORGAN")],
    )


def nothing(ds: Dataset) -> None:
    """Change nothing."""


def written(path: Path, edit: Edit = nothing, *, syntax: str = ExplicitVRLittleEndian) -> Path:
    ds = structure_set()
    edit(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    ds.save_as(path / "rs.dcm", enforce_file_format=True)
    return path / "rs.dcm"


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_structures_are_read_whatever_the_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    found = read_rtstruct(written(tmp_path, syntax=syntax))
    first, second = found.structures
    assert (found.file, found.series_uids, found.frame_of_reference_uids) == (
        "rs.dcm",
        ("1.2.3",),
        ("1.2.9",),
    )
    assert found.sop_instance_uids == {"1.2.3.7", "1.2.3.8"}
    assert (first.name, first.number, first.color_rgb) == ("Speiseröhre", 3, (1, 2, 255))
    assert (first.interpreted_type, first.frame_of_reference_uid) == ("ORGAN", "1.2.9")
    assert (second.name, second.contours, second.color_rgb, second.interpreted_type) == (
        "Empty",
        (),
        None,
        "",
    )
    closed, point = first.contours
    assert closed.points_xyz_mm.tolist() == [[1.5, -2, 3], [4, -2, 3], [4, 2.25, 3]]
    assert (closed.geometric_type, closed.sop_instance_uid) == ("CLOSED_PLANAR", "1.2.3.7")
    assert point.points_xyz_mm.shape == (1, 3)


def first_contour(ds: Dataset) -> Dataset:
    return ds.ROIContourSequence[0].ContourSequence[0]


def test_bare_file_without_optional_attributes_is_read(tmp_path: Path) -> None:
    def strip(ds: Dataset) -> None:
        del ds.ReferencedFrameOfReferenceSequence, ds.RTROIObservationsSequence, ds.SOPClassUID
        del first_contour(ds).ContourImageSequence
        del first_contour(ds).NumberOfContourPoints
        del ds.StructureSetROISequence[0].ROIName

    found = read_rtstruct(written(tmp_path, strip))
    assert (found.series_uids, found.structures[0].name) == ((), "")
    assert found.structures[0].contours[0].sop_instance_uid == ""


def test_file_without_preamble_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rs"
    structure_set().save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert len(read_rtstruct(path).structures) == 2


def test_contour_longer_than_explicit_lengths_allow_is_read(tmp_path: Path) -> None:
    def enlarge(ds: Dataset) -> None:
        long = [f"{v:.4f}" for v in np.random.default_rng(0).uniform(-999, 999, 60_000)]
        ds.ROIContourSequence[0].ContourSequence[0] = contour(long)

    found = read_rtstruct(written(tmp_path, enlarge, syntax=ImplicitVRLittleEndian))
    assert found.structures[0].contours[0].points_xyz_mm.shape == (20_000, 3)


def test_contours_of_an_unknown_structure_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stray(ds: Dataset) -> None:
        ds.ROIContourSequence[0].ReferencedROINumber = "77"

    assert read_rtstruct(written(tmp_path, stray)).structures[0].contours == ()
    assert "ROINumber 77 belong to no structure" in caplog.text


def set_data(*values: str) -> Edit:
    def edit(ds: Dataset) -> None:
        first_contour(ds).ContourData = list(values)

    return edit


def double_number(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ROINumber = "3"


def no_structures(ds: Dataset) -> None:
    del ds.StructureSetROISequence


def no_contours(ds: Dataset) -> None:
    del ds.ROIContourSequence


def no_number(ds: Dataset) -> None:
    del ds.StructureSetROISequence[0].ROINumber


def wrong_count(ds: Dataset) -> None:
    first_contour(ds).NumberOfContourPoints = "4"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_data(*SQUARE[:-1]), r"contour 1 of ROINumber 3: ContourData of 8 numbers"),
        (set_data(*SQUARE[:-1], "nan"), r"contour 1 of ROINumber 3: ContourData of 9 numbers are no points"),
        (set_data(*SQUARE[:-1], "1e999"), r"ContourData of 9 numbers are no points"),
        (set_data(*SQUARE[:-1], "-1e10"), r"ContourData of 9 numbers are no points"),
        (wrong_count, r"contour 1 of ROINumber 3: NumberOfContourPoints is 4, but ContourData holds 3"),
        (double_number, r"two structures have ROINumber 3"),
        (no_number, r"a structure has no ROINumber"),
        (no_structures, r"has no StructureSetROISequence"),
        (no_contours, r"has no ROIContourSequence"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_contents_are_refused_by_number(tmp_path: Path, edit: Edit, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_rtstruct(written(tmp_path, edit))
    assert "rs.dcm" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert "Speise" not in str(caught.value)


def test_text_where_numbers_belong_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"2.25", b"x.25"))
    with pytest.raises(InputError, match=r"rs\.dcm: contour 1 of ROINumber 3: .*no number"):
        read_rtstruct(path)


def test_other_kinds_of_files_are_unsupported(tmp_path: Path) -> None:
    def image(ds: Dataset) -> None:
        ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"

    with pytest.raises(UnsupportedFormatError, match=r"rs\.dcm: its Modality is CT .*not RTSTRUCT"):
        read_rtstruct(written(tmp_path, image))


def test_a_name_that_slipped_into_another_attribute_is_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, lambda ds: setattr(ds, "Modality", "DOEXJANE"))
    path.write_bytes(path.read_bytes().replace(b"DOEXJANE", b"DOE^JANE").replace(b"481.3", b"2.2.2"))
    with pytest.raises(UnsupportedFormatError, match=r"its Modality is unfit text"):
        read_rtstruct(path)


def mark_ends(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                mark_ends(item)


@pytest.mark.parametrize("edit", [nothing, mark_ends])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_file_cut_anywhere_is_refused_unless_all_contours_are_there(
    tmp_path: Path, edit: Edit, syntax: str
) -> None:
    path = written(tmp_path, edit, syntax=syntax)
    content = path.read_bytes()
    whole = [len(s.contours) for s in read_rtstruct(path).structures]
    refused = 0
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        try:
            assert [len(s.contours) for s in read_rtstruct(path).structures] == whole
        except InputError as error:
            refused += 1
            assert "rs.dcm" in str(error)  # noqa: PT017 (not every length raises)
    assert refused > 0.9 * len(content) / 7


def test_pydicoms_own_structure_set_is_read() -> None:
    found = read_rtstruct(Path(get_testdata_file("rtstruct.dcm")))
    assert [(s.name, len(s.contours)) for s in found.structures] == [
        ("patient", 3),
        ("Isocenter 1", 1),
        ("Isocenter 2", 1),
    ]
    assert found.structures[1].contours[0].geometric_type == "POINT"


def test_real_structure_sets_are_read(shared_data: Path) -> None:
    clinical = read_rtstruct(shared_data / "dicompyler_rtss" / "rtss.dcm")
    counts = {s.name: len(s.contours) for s in clinical.structures}
    assert (counts["BODY"], counts["Heart"], counts["Lt Lung"], counts["Areola"]) == (141, 33, 165, 0)
    assert len(clinical.sop_instance_uids) == 98
    mock = shared_data / "rt_utils" / "mock_data"
    assert read_rtstruct(mock / "non_existent_reference_rt.dcm").sop_instance_uids == frozenset()
    assert len(read_rtstruct(mock / "rt.dcm").structures[0].contours) == 2
    slab = read_rtstruct(shared_data / "gstt_slab" / "rt-struct-test-data-81-100.dcm")
    assert len(slab.structures) == 104
    with pytest.raises(UnsupportedFormatError):
        read_rtstruct(shared_data / "dicompyler_rtss" / "rtplan.dcm")


def test_structure_set_larger_than_any_images_attributes_is_read(tmp_path: Path) -> None:
    def enlarge(ds: Dataset) -> None:
        long = contour([f"{v:.4f}" for v in np.random.default_rng(0).uniform(-999, 999, 3000)])
        ds.ROIContourSequence[0].ContourSequence = [long] * 700

    path = written(tmp_path, enlarge)
    assert path.stat().st_size > 18 << 20
    assert len(read_rtstruct(path).structures[0].contours) == 700
