from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from thoar.core.errors import GeometryError, InputError
from thoar.core.volume import Volume
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, numbers, text
from thoar.io.dicom.parse import slices_of


def slice_with(**fields: object) -> Slice:
    header = pydicom.Dataset()
    for keyword, value in fields.items():
        setattr(header, keyword, value)
    return Slice(path=Path("a.dcm"), header=header)


def test_numbers_are_so_many_and_finite() -> None:
    item = slice_with(PixelSpacing=["0.5", "0.7"], Rows=5)
    assert numbers(item, "PixelSpacing", 2) == (0.5, 0.7)
    assert numbers(item, "Rows", 1) == (5.0,)
    with pytest.raises(GeometryError, match=r"a\.dcm: PixelSpacing is .*, not 3 numbers"):
        numbers(item, "PixelSpacing", 3, kind=GeometryError)
    with pytest.raises(InputError, match=r"a\.dcm: SliceThickness is missing"):
        numbers(item, "SliceThickness", 1)
    with pytest.raises(InputError, match=r"a\.dcm: DoseGridScaling is missing"):
        numbers(slice_with(DoseGridScaling=None), "DoseGridScaling", 1)


@pytest.mark.parametrize("value", [b"nan\\1", b"inf\\1", b"1\\two", b"1e999\\1"])
def test_what_is_no_finite_number_is_refused_by_name(value: bytes) -> None:
    header = pydicom.Dataset()
    header[0x00280030] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00280030), "DS", len(value), value, 0, is_implicit_VR=False, is_little_endian=True
    )
    with pytest.raises(InputError, match=r"^a\.dcm: "):
        numbers(Slice(path=Path("a.dcm"), header=header), "PixelSpacing", 2)


def test_a_frame_has_its_own_attributes_before_those_of_all_frames_and_of_the_file(
    phantom: Volume, write_series: Callable[..., Path], as_frames: Callable[..., Path]
) -> None:
    path = as_frames(write_series(phantom))
    ds = pydicom.dcmread(path)
    ds.ImagePositionPatient, ds.PixelSpacing = [9, 9, 9], [9, 9]
    ds.SharedFunctionalGroupsSequence[0].PlanePositionSequence = [pydicom.Dataset()]
    ds.SharedFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [8, 8, 8]
    ds.save_as(path)
    frames = slices_of(path)
    heights = [numbers(item, "ImagePositionPatient", 3)[2] for item in frames]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 5
    assert numbers(frames[0], "PixelSpacing", 2)[0] == pytest.approx(0.7)
    assert attribute(frames[0], "Modality") == "CT"
    assert attribute(frames[0], "NoSuchKeyword") is None
    assert text(frames[0], "ImageType") == "ORIGINAL\\PRIMARY\\AXIAL"
    assert text(frames[0], "StudyTime") == ""
    with pytest.raises(InputError, match=r"frames\.dcm: cannot be read"):
        Slice(path=path, header=frames[0].header, frame=5)


def test_faults_of_others_name_the_file_and_our_own_pass() -> None:
    with (
        pytest.raises(InputError, match=r"a\.dcm: cannot be read as DICOM \(KeyError\)"),
        naming_faults(Path("a.dcm")),
    ):
        raise KeyError("PatientName")
    with pytest.raises(InputError, match=r"a\.dcm: takes more memory"), naming_faults(Path("a.dcm")):
        raise MemoryError
    with pytest.raises(GeometryError, match="ours"), naming_faults(Path("a.dcm")):
        raise GeometryError("ours")


def test_only_the_number_of_pydicoms_warnings_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "thoar")
    with naming_faults(Path("a.dcm")):
        pydicom.misc.warn_and_log("Secret^Name is odd")
    assert [r.getMessage() for r in caplog.records if r.name.startswith("thoar")] == [
        "a.dcm: pydicom had 1 remarks"
    ]
