import io

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import RTStructureSetStorage

from thoar.io.structures.verbatim import dicom_file, encoded, open_sequences, text_of


def example() -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ROINumber, item.ROIName = 7, "odd"
    item.ROIDisplayColor = [1, 2, 3]
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, "2.25.1"
    ds.PatientName, ds.PatientSex = "A^B", None
    ds.StructureSetROISequence = [item, pydicom.Dataset()]
    return ds


def test_pydicom_reads_the_same_from_the_file() -> None:
    ds = pydicom.dcmread(io.BytesIO(dicom_file(example())))
    assert ds.to_json_dict() == example().to_json_dict()
    assert ds.preamble == bytes(128)


def test_bytes_are_those_that_pydicom_writes() -> None:
    buffer = io.BytesIO()
    example().save_as(buffer, implicit_vr=True, little_endian=True)
    assert encoded(example()) == buffer.getvalue()


def test_values_read_go_out_as_they_came_in() -> None:
    ds = example()
    for keyword, value in (("PatientName", b"\x80\xff\\^  "), ("PatientID", b" \x00\x00\x00")):
        ds[Tag(keyword)] = RawDataElement(Tag(keyword), None, len(value), value, 0, True, True)
    again = pydicom.dcmread(io.BytesIO(dicom_file(ds)))
    assert encoded(again) == encoded(ds)
    assert again.get_item("PatientName").value == b"\x80\xff\\^  "


def test_values_of_a_file_with_explicit_vr_stay_the_same_bytes() -> None:
    inner = pydicom.Dataset()
    inner.FrameOfReferenceUID = "2.25.5"
    inner.add_new(0x00091001, "LO", "private")
    outer = example()
    outer.StructureSetROISequence[0].ReferencedFrameOfReferenceSequence = [inner]
    buffer = io.BytesIO()
    outer.save_as(buffer, implicit_vr=False, little_endian=True)
    read = pydicom.dcmread(io.BytesIO(buffer.getvalue()), force=True)
    open_sequences(read)
    assert encoded(read) == encoded(outer)


def test_group_lengths_are_left_out() -> None:
    ds = example()
    ds.add_new(0x00100000, "UL", 4)
    assert encoded(ds) == encoded(example())


def test_text_is_read_without_touching_it() -> None:
    ds = pydicom.Dataset()
    tag = Tag("ROINumber")
    ds[tag] = RawDataElement(tag, "IS", 2, b"7 ", 0, True, True)
    assert text_of(ds, "ROINumber") == "7"
    assert ds.get_item(tag).is_raw
    assert text_of(ds, "ROIName") == ""
    ds.ROIName, ds.ROIGenerationAlgorithm = "Heart ", None
    assert (text_of(ds, "ROIName"), text_of(ds, "ROIGenerationAlgorithm")) == ("Heart", "")
