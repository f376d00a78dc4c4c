import logging
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, RTStructureSetStorage

from thoar.core.errors import GeometryError, InputError, LabelError, ResourceError
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.identity import identity_of
from thoar.io.structures import rtstruct_writer
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rtstruct_writer import RtstructReport, write_rtstruct

MAKER = Maker(model="thorax-fast", model_version="0123456789ab", software_version="0.1.0")
SEEDED = Maker(uid_seed="seed")

OBLIQUE = {"turned": (10, -20, 35)}
PLANES = {
    "axial": {},
    "oblique": OBLIQUE,
    "tilted": {"tilt": 15},
    "uneven": {"steps_mm": (2.5, 2.5, 5.0, 1.25, 2.5)},
    "tilted, oblique and uneven": {**OBLIQUE, "tilt": -20, "steps_mm": (1, 2, 3, 4, 5)},
    "feet first": {"turned": (0, 180, 0)},
    "sagittal": {"turned": (90, 0, 90)},
}


def drawn_mask(ds: pydicom.Dataset, planes: SlicePlanes, winding, *, number: int = 1) -> np.ndarray:
    """Pixel centres that a structure's polygons wind around an odd number of times, slice by slice."""
    counts = np.zeros((len(planes), *planes.shape_yx), int)
    (roi,) = (item for item in ds.ROIContourSequence if item.ReferencedROINumber == number)
    for contour in roi.ContourSequence:
        points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
        normal = np.cross(planes.along_row_xyz, planes.along_column_xyz)
        (k,) = np.flatnonzero(np.abs((planes.origins_xyz_mm - points[0]) @ normal) < 0.001)
        axes = np.stack([planes.along_column_xyz, planes.along_row_xyz]).T * planes.spacing_yx_mm
        polygon, residual, *_ = np.linalg.lstsq(axes, (points - planes.origins_xyz_mm[k]).T)
        assert np.sqrt(residual.max() / 3) < 1e-4
        assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == f"2.25.{100 + k}"
        counts[k] += winding([polygon.T], planes.shape_yx)
    return counts % 2 == 1


def whole(organ: OrganMask, planes: SlicePlanes) -> np.ndarray:
    mask = np.zeros((len(planes), *planes.shape_yx), np.bool_)
    mask[organ.box_zyx.slices] = organ.mask
    return mask


@pytest.mark.parametrize("kind", PLANES)
@pytest.mark.parametrize("holes", ["keyhole", "xor"])
def test_contours_hold_the_mask_on_the_series_own_slices(
    tmp_path, planes_of, series_of, blob, winding, kind, holes
) -> None:
    planes = planes_of(**PLANES[kind])
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes), [blob], maker=MAKER, holes=holes)
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    np.testing.assert_array_equal(drawn_mask(ds, planes, winding), whole(blob, planes))


def test_a_mask_at_the_images_corner_is_drawn_whole(
    tmp_path, planes_of, series_of, organ_of, winding
) -> None:
    planes = planes_of()
    organ = organ_of(np.ones((6, 24, 31)), start_zyx=(0, 0, 0))
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes), [organ], maker=MAKER)
    assert drawn_mask(pydicom.dcmread(tmp_path / "rt.dcm"), planes, winding).all()


@pytest.fixture
def written(tmp_path: Path, planes_of, series_of, blob) -> pydicom.Dataset:
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [blob], maker=MAKER)
    return pydicom.dcmread(tmp_path / "rt.dcm")


def test_it_says_whose_it_is_and_who_made_it(written) -> None:
    assert written.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert written.SOPClassUID == written.file_meta.MediaStorageSOPClassUID == RTStructureSetStorage
    assert written.SOPInstanceUID == written.file_meta.MediaStorageSOPInstanceUID
    assert written.preamble == bytes(128)
    assert written.Modality == "RTSTRUCT"
    assert written.StudyInstanceUID == "2.25.1"
    assert written.FrameOfReferenceUID == "2.25.3"
    assert written.SeriesInstanceUID not in ("2.25.2", written.SOPInstanceUID)
    assert (written.PatientName, written.PatientID, written.StudyDate) == ("Nobody^At all", "id", "20200102")
    assert written.Manufacturer == written.ManufacturerModelName == "thoar"
    assert written.SoftwareVersions == ["thoar 0.1.0", "thorax-fast 0123456789ab"]
    assert written.ApprovalStatus == "UNAPPROVED"
    assert "research" in written.StructureSetDescription
    assert len(written.StructureSetLabel) <= 16
    assert len(written.StructureSetDate) == 8
    assert "SeriesDate" not in written


def test_what_the_source_does_not_say_is_left_empty(tmp_path, planes_of, series_of, blob) -> None:
    def edit(ds: pydicom.Dataset) -> None:
        del ds.PatientName, ds.PatientID, ds.PatientSex, ds.StudyTime, ds.SpecificCharacterSet

    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of(), edit=edit), [blob], maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyTime", "AccessionNumber", "StudyID"):
        assert keyword in ds
        assert not ds[keyword].value
    assert "SpecificCharacterSet" not in ds


def test_it_refers_to_study_series_and_every_slice(written) -> None:
    (frame,) = written.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == "2.25.3"
    assert study.ReferencedSOPInstanceUID == "2.25.1"
    assert series.SeriesInstanceUID == "2.25.2"
    assert [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence] == [
        f"2.25.{100 + k}" for k in range(6)
    ]
    assert {image.ReferencedSOPClassUID for image in series.ContourImageSequence} == {CTImageStorage}


def test_a_structure_is_named_coloured_and_called_an_automatic_organ(written) -> None:
    (roi,), (drawn,) = written.StructureSetROISequence, written.ROIContourSequence
    (observed,) = written.RTROIObservationsSequence
    assert (roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm) == (1, "Heart", "AUTOMATIC")
    assert roi.ReferencedFrameOfReferenceUID == "2.25.3"
    assert drawn.ReferencedROINumber == observed.ReferencedROINumber == 1
    assert drawn.ROIDisplayColor == [1, 2, 3]
    assert (observed.RTROIInterpretedType, observed.ROIInterpreter) == ("ORGAN", "")


def test_contours_of_unknown_origin_claim_no_algorithm(tmp_path, planes_of, series_of, blob) -> None:
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [blob], maker=Maker(automatic=False))
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    assert ds.StructureSetROISequence[0].ROIGenerationAlgorithm == ""
    assert ds.SoftwareVersions == "thoar of unknown version"


def test_coordinates_are_short_decimal_strings_of_four_decimals(written) -> None:
    for contour in written.ROIContourSequence[0].ContourSequence:
        strings = contour.get_item("ContourData").value.decode().split("\\")
        assert len(strings) == 3 * contour.NumberOfContourPoints
        assert max(map(len, strings)) <= 16
        assert all(len(text.strip().rsplit(".")[1]) == 4 for text in strings)
        points = np.reshape(np.array(strings, float), (-1, 3))
        assert len(np.unique(points, axis=0)) >= 3
        assert not (points[0] == points[-1]).all()


def test_contours_are_keyholes_unless_asked_for_xor(written, tmp_path, planes_of, series_of, blob) -> None:
    def kinds(ds: pydicom.Dataset) -> set[str]:
        return {c.ContourGeometricType for c in ds.ROIContourSequence[0].ContourSequence}

    assert kinds(written) == {"CLOSED_PLANAR"}
    write_rtstruct(tmp_path / "x.dcm", series_of(planes_of()), [blob], maker=MAKER, holes="xor")
    ds = pydicom.dcmread(tmp_path / "x.dcm")
    assert kinds(ds) == {"CLOSEDPLANAR_XOR"}
    assert len(ds.ROIContourSequence[0].ContourSequence) == 8
    assert len(written.ROIContourSequence[0].ContourSequence) == 6


def test_xor_without_holes_is_plain(tmp_path, planes_of, series_of, organ_of) -> None:
    organ = organ_of(np.ones((1, 2, 2)))
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [organ], maker=MAKER, holes="xor")
    (contour,) = pydicom.dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence
    assert contour.ContourGeometricType == "CLOSED_PLANAR"


def test_a_report_counts_contours_and_names_empty_organs(tmp_path, planes_of, series_of, organ_of) -> None:
    full, none = organ_of(np.eye(3)[None]), organ_of(np.full((1, 2, 2), 0.4), name="aorta", id=4)
    report = write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [none, full], maker=MAKER)
    assert report == RtstructReport(empty=("aorta",), contours={"heart": 3}, points={"heart": 12})
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == ["heart"]


def test_no_file_is_written_of_empty_organs_alone(tmp_path, planes_of, series_of, organ_of) -> None:
    with pytest.raises(LabelError, match=r"rt\.dcm: no organ has a voxel"):
        write_rtstruct(
            tmp_path / "rt.dcm", series_of(planes_of()), [organ_of(np.zeros((1, 2, 2)))], maker=MAKER
        )
    assert list(tmp_path.iterdir()) == []


def test_slices_of_a_multi_frame_file_are_referred_to_by_frame(tmp_path, planes_of, series_of, blob) -> None:
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of(), frames=True), [blob], maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    images = [c.ContourImageSequence[0] for c in ds.ROIContourSequence[0].ContourSequence]
    assert [image.ReferencedFrameNumber for image in images] == [2, 3, 3, 4, 5, 5]
    assert {image.ReferencedSOPInstanceUID for image in images} == {"2.25.99"}


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_a_series_without_a_uid_to_refer_to_is_refused(tmp_path, planes_of, series_of, blob, keyword) -> None:
    series = series_of(planes_of(), edit=lambda ds: delattr(ds, keyword))
    with pytest.raises(InputError, match=rf"0\.dcm: its series has no {keyword}.*put it back"):
        write_rtstruct(tmp_path / "rt.dcm", series, [blob], maker=MAKER)
    assert list(tmp_path.iterdir()) == []


def test_uids_against_the_rules_are_written_as_they_are(tmp_path, planes_of, series_of, blob, caplog) -> None:
    def edit(ds: pydicom.Dataset) -> None:
        ds.FrameOfReferenceUID, ds.StudyInstanceUID = pydicom.uid.UID("1.02.3"), pydicom.uid.UID("1.2." * 20)

    with pydicom.config.disable_value_validation():
        series = series_of(planes_of(), edit=edit)
    with caplog.at_level(logging.WARNING):
        write_rtstruct(tmp_path / "rt.dcm", series, [blob], maker=MAKER)
    assert "FrameOfReferenceUID is against the rules" in caplog.text
    raw = (tmp_path / "rt.dcm").read_bytes()
    assert raw.count(b"1.02.3") == 3
    assert raw.count(b"1.2." * 20) == 2


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"ISO_IR 144", b"\xbb\xee\xda\xdd\xe8\xd6\xef "),
        (b"ISO_IR 192", b"\xff\xfe not utf-8"),
        (b"NO SUCH CHARSET ", b"\x80\x81\x82\x83"),
    ],
)
def test_names_keep_their_bytes_whatever_the_character_set(
    tmp_path, planes_of, series_of, blob, charset, name
) -> None:
    header = pydicom.Dataset()
    for keyword, value in {
        "SpecificCharacterSet": charset,
        "PatientName": name,
        "StudyInstanceUID": b"2.25.1",
        "SeriesInstanceUID": b"2.25.2",
        "FrameOfReferenceUID": b"2.25.3",
    }.items():
        tag = pydicom.tag.Tag(keyword)
        header[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    series = replace(series_of(planes_of()), identity=identity_of(header))
    write_rtstruct(tmp_path / "rt.dcm", series, [blob], maker=MAKER)
    content = (tmp_path / "rt.dcm").read_bytes()
    for tag, value in ((0x00050008, charset), (0x00100010, name)):
        assert struct.pack("<II", tag, len(value)) + value in content


def test_the_same_call_with_a_seed_gives_the_same_bytes(tmp_path, planes_of, series_of, blob) -> None:
    for name in ("a", "b"):
        write_rtstruct(tmp_path / name, series_of(planes_of()), [blob], maker=SEEDED)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    ds = pydicom.dcmread(tmp_path / "a", force=True)
    assert (ds.StructureSetDate, ds.StructureSetTime) == ("20200103", "")


def test_other_contours_or_no_seed_give_other_uids(tmp_path, planes_of, series_of, blob, organ_of) -> None:
    other = organ_of(blob.probability[:3])
    for name, organ, maker in (
        ("a", blob, SEEDED),
        ("b", other, SEEDED),
        ("c", blob, MAKER),
        ("d", blob, MAKER),
    ):
        write_rtstruct(tmp_path / name, series_of(planes_of()), [organ], maker=maker)
    uids = [pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in "abcd"]
    assert len(set(uids)) == 4


def test_long_names_are_kept_with_a_warning(tmp_path, planes_of, series_of, organ_of, caplog) -> None:
    names = [f"lung_upper_lobe_{side}" for side in ("left", "right")]
    organs = [organ_of(np.ones((1, 2, 2)), name=name) for name in names]
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), organs, maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == names
    assert "lung_upper_lobe_left: a ROIName of over 16 characters" in caplog.text


def test_names_that_are_no_roi_names_are_refused(tmp_path, planes_of, series_of, organ_of) -> None:
    organs = [organ_of(np.ones((1, 2, 2)), name=name) for name in ("Heart", "heart")]
    with pytest.raises(LabelError, match="several organs would have the ROIName 'heart'"):
        write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), organs, maker=MAKER)
    assert list(tmp_path.iterdir()) == []


def test_an_organ_that_reaches_beyond_the_series_is_refused(tmp_path, planes_of, series_of, organ_of) -> None:
    organ = organ_of(np.ones((6, 2, 2)))
    with pytest.raises(GeometryError, match=r"heart: .* reaches beyond the series"):
        write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [organ], maker=MAKER)


@pytest.mark.parametrize("spacing_yx_mm", [(0.001, 0.001), (0.9, 0.0199)])
def test_pixels_too_fine_for_decimal_strings_are_refused(
    tmp_path, planes_of, series_of, blob, spacing_yx_mm
) -> None:
    planes = planes_of(spacing_yx_mm=spacing_yx_mm)
    with pytest.raises(GeometryError, match="do not fit decimal strings"):
        write_rtstruct(tmp_path / "rt.dcm", series_of(planes), [blob], maker=MAKER)


def test_the_finest_pixels_keep_the_mask(tmp_path, planes_of, series_of, blob, winding) -> None:
    planes = planes_of(spacing_yx_mm=(0.02, 0.025), **OBLIQUE)
    write_rtstruct(tmp_path / "rt.dcm", series_of(planes), [blob], maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "rt.dcm")
    np.testing.assert_array_equal(drawn_mask(ds, planes, winding), whole(blob, planes))


def test_a_contour_of_a_hundred_thousand_points_survives(tmp_path, planes_of, series_of, organ_of) -> None:
    noise = np.random.default_rng(0).random((1, 360, 360)) * 0.49
    noise[0, ::2] = noise[0, :, 0] = 0.51 + noise[0, ::2].max()
    planes = planes_of(shape_yx=(360, 360))
    report = write_rtstruct(
        tmp_path / "rt.dcm", series_of(planes), [organ_of(noise, start_zyx=(0, 0, 0))], maker=MAKER
    )
    assert report.contours == {"heart": 1}
    assert report.points["heart"] > 100_000


def test_a_fault_in_the_writer_leaves_no_file(tmp_path, planes_of, series_of, blob, monkeypatch) -> None:
    right = rtstruct_writer.level_rings
    monkeypatch.setattr(rtstruct_writer, "level_rings", lambda p: right(p[:, ::-1]))
    with pytest.raises(ResourceError, match=r"rt\.dcm: .* not what was meant \(heart"):
        write_rtstruct(tmp_path / "rt.dcm", series_of(planes_of()), [blob], maker=MAKER)
    assert list(tmp_path.iterdir()) == []
