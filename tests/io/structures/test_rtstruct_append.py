import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rtstruct_writer import write_rtstruct

MAKER = Maker(software_version="0.1.0")
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
SEQUENCES = ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence")


def nothing(ds: pydicom.Dataset) -> None:
    """Change nothing."""


@pytest.fixture
def existing(tmp_path: Path, planes_of, series_of, organ_of) -> Callable[..., Path]:
    """Write an RTSTRUCT of others, with what a planning system leaves in one."""

    def write(
        syntax: str = ImplicitVRLittleEndian, edit: Callable[[pydicom.Dataset], None] = nothing
    ) -> Path:
        path = tmp_path / "theirs.dcm"
        organs = [organ_of(np.eye(4)[None], name=name, id=k) for k, name in enumerate(("PTV", "Cord"), 1)]
        write_rtstruct(path, series_of(planes_of()), organs, maker=MAKER)
        ds = pydicom.dcmread(path)
        for number, roi in zip((3, 11), ds.StructureSetROISequence, strict=True):
            roi.ROINumber = number
            block = roi.private_block(0x3007, "PLANNING", create=True)
            block.add_new(1, "LO", "kept")
        ds.ROIContourSequence[0].ContourSequence[0].ContourData = ["1.50", "-2e1", " 3"] * 4
        ds.PatientName = "Müller^Jürgen"
        ds.preamble = b"MZ" + bytes(126)
        edit(ds)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(
            path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian
        )
        return path

    return write


def elements(ds: pydicom.Dataset) -> dict:
    """Every value's own bytes; those of sequences' items in lists."""
    found = {}
    for tag in sorted(ds.keys()):
        kind = "LO" if tag.is_private else pydicom.datadict.dictionary_VR(tag)
        if kind == "SQ":
            found[tag] = [elements(item) for item in ds[tag].value]
        else:
            value = ds.get_item(tag).value or b""
            found[tag] = value if isinstance(value, bytes) else str(value)  # the character set
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_was_there_stays_as_it_is_to_the_byte(existing, syntax, planes_of, series_of, blob) -> None:
    path = existing(syntax)
    before = elements(pydicom.dcmread(path))
    write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)
    after = elements(pydicom.dcmread(path))
    tags = {name: pydicom.tag.Tag(name) for name in (*SEQUENCES, "SOPInstanceUID", "ApprovalStatus")}
    for name in SEQUENCES:
        assert len(after[tags[name]]) == 3
        after[tags[name]] = after[tags[name]][:2]
    assert after.pop(tags["SOPInstanceUID"]) != before.pop(tags["SOPInstanceUID"])
    for date in ("StructureSetDate", "StructureSetTime"):
        before.pop(pydicom.tag.Tag(date)), after.pop(pydicom.tag.Tag(date))
    assert after == before


def test_numbers_go_on_and_the_preamble_is_emptied(existing, tmp_path, planes_of, series_of, blob) -> None:
    path = existing()
    write_rtstruct(tmp_path / "ours.dcm", series_of(planes_of()), [blob], maker=MAKER, append_to=path)
    theirs, ours = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "ours.dcm")
    assert theirs.preamble[:2] == b"MZ"
    assert ours.preamble == bytes(128)
    assert [roi.ROINumber for roi in ours.StructureSetROISequence] == [3, 11, 12]
    assert [roi.ROIName for roi in ours.StructureSetROISequence] == ["PTV", "Cord", "Heart"]
    assert [item.ObservationNumber for item in ours.RTROIObservationsSequence] == [1, 2, 3]
    assert ours.RTROIObservationsSequence[2].ReferencedROINumber == 12
    assert ours.SeriesInstanceUID == theirs.SeriesInstanceUID
    assert ours.SOPInstanceUID == ours.file_meta.MediaStorageSOPInstanceUID != theirs.SOPInstanceUID


def test_an_approval_is_taken_back_with_a_warning(existing, planes_of, series_of, blob, caplog) -> None:
    def approve(ds: pydicom.Dataset) -> None:
        ds.ApprovalStatus, ds.ReviewDate, ds.ReviewerName = "APPROVED", "20200101", "Doctor"

    path = existing(edit=approve)
    with caplog.at_level(logging.WARNING):
        write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)
    ds = pydicom.dcmread(path)
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert "ReviewDate" not in ds
    assert "ReviewerName" not in ds
    assert "was APPROVED; with structures added it is UNAPPROVED" in caplog.text


def test_slices_that_it_did_not_list_are_listed(existing, planes_of, series_of, blob) -> None:
    def images(ds: pydicom.Dataset) -> pydicom.Dataset:
        frame = ds.ReferencedFrameOfReferenceSequence[0]
        return frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]

    def forget(ds: pydicom.Dataset) -> None:
        images(ds).ContourImageSequence = images(ds).ContourImageSequence[2:4]

    path = existing(edit=forget)
    write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)
    listed = [i.ReferencedSOPInstanceUID for i in images(pydicom.dcmread(path)).ContourImageSequence]
    assert listed == [f"2.25.{100 + k}" for k in (2, 3, 0, 1, 4, 5)]


@pytest.mark.parametrize(("said", "numbers"), [([3], [3, 1, 2, 4, 5, 6]), ([None], [None])])
def test_frames_that_it_did_not_list_are_listed(
    existing, tmp_path, planes_of, series_of, blob, said, numbers
) -> None:
    def of_one_file(ds: pydicom.Dataset) -> None:
        images = [pydicom.Dataset() for _ in said]
        for image, number in zip(images, said, strict=True):
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = (
                "1.2.840.10008.5.1.4.1.1.2.1",
                "2.25.99",
            )
            if number is not None:
                image.ReferencedFrameNumber = number
        frame = ds.ReferencedFrameOfReferenceSequence[0]
        frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].ContourImageSequence = images

    path = existing(edit=of_one_file)
    write_rtstruct(path, series_of(planes_of(), frames=True), [blob], maker=MAKER, append_to=path)
    frame = pydicom.dcmread(path).ReferencedFrameOfReferenceSequence[0]
    (of_series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert [i.get("ReferencedFrameNumber") for i in of_series.ContourImageSequence] == numbers


def other_frame(ds: pydicom.Dataset) -> None:
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "2.25.77"


def other_series(ds: pydicom.Dataset) -> None:
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.77"


def no_references(ds: pydicom.Dataset) -> None:
    del ds.ReferencedFrameOfReferenceSequence


def other_kind(ds: pydicom.Dataset) -> None:
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def other_patient(ds: pydicom.Dataset) -> None:
    ds.PatientID = "somebody"


def same_name(ds: pydicom.Dataset) -> None:
    ds.StructureSetROISequence[1].ROIName = "HEART"


@pytest.mark.parametrize(
    ("edit", "kind", "message"),
    [
        (other_frame, InputError, "does not refer to the series' FrameOfReferenceUID"),
        (other_series, InputError, "does not refer to the series' SeriesInstanceUID"),
        (no_references, InputError, "does not refer to the series' FrameOfReferenceUID"),
        (other_kind, UnsupportedFormatError, "SOPClassUID is not that of an RT Structure Set"),
        (other_patient, InputError, "its PatientID is not the series'; add to an RTSTRUCT of the same"),
        (same_name, LabelError, "has a structure 'Heart' already"),
    ],
)
def test_what_it_cannot_be_added_to_is_refused(
    existing, planes_of, series_of, blob, edit, kind, message
) -> None:
    path = existing(edit=edit)
    before = path.read_bytes()
    with pytest.raises(kind, match=rf"theirs\.dcm: .*{message}"):
        write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_an_encoding_that_cannot_be_kept_is_refused(existing, planes_of, series_of, blob) -> None:
    path = existing()
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, "2.25.1"
    ds.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    with pytest.raises(UnsupportedFormatError, match=r"Explicit VR Big Endian.*dcmconv"):
        write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)


@pytest.mark.parametrize("content", [b"", b"no DICOM at all" * 100, b"RTSTRUCT cut short"])
def test_a_damaged_file_is_refused(existing, planes_of, series_of, blob, content) -> None:
    path = existing()
    path.write_bytes(content or path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"theirs\.dcm"):
        write_rtstruct(path, series_of(planes_of()), [blob], maker=MAKER, append_to=path)


def test_structures_can_be_added_again_and_again(existing, planes_of, series_of, organ_of) -> None:
    path = existing()
    for name in ("heart", "aorta", "trachea"):
        organ: OrganMask = organ_of(np.ones((2, 3, 3)), name=name)
        write_rtstruct(path, series_of(planes_of()), [organ], maker=MAKER, append_to=path)
    ds = pydicom.dcmread(io.BytesIO(path.read_bytes()))
    assert [roi.ROINumber for roi in ds.StructureSetROISequence] == [3, 11, 12, 13, 14]
