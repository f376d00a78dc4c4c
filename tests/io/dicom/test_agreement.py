from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from thoar.core.errors import IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("keyword", "value", "shown"),
    [
        ("PatientID", "PHI-2", False),
        ("PatientName", "PHI^Other", False),
        ("PatientBirthDate", "19010203", False),
        ("StudyInstanceUID", "1.2.3", True),
        ("FrameOfReferenceUID", "1.2.3", True),
        ("Rows", 3, True),
        ("Modality", "MR", True),
    ],
)
def test_what_differs_on_one_slice_is_refused_by_file_and_tag(
    keyword: str, value: object, shown: bool, phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            setattr(ds, keyword, value)

    folder = write_series(phantom, edit=edit)
    with pytest.raises(IncompleteSeriesError, match=rf"97: its {keyword} differs") as caught:
        read_series(folder, ReadOptions(any_modality=True))
    message = str(caught.value).replace(str(folder), "")
    assert (f"({value}; there" in message) == shown
    assert "PHI" not in message
    assert "Nobody" not in message


def test_the_file_that_differs_is_named_even_if_it_comes_first(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 4:  # file 95 is read first
            ds.FrameOfReferenceUID = "1.2.3"

    with pytest.raises(IncompleteSeriesError, match=r"95: its FrameOfReferenceUID differs from that of 96"):
        read_series(write_series(phantom, edit=edit))


def test_a_missing_frame_of_reference_on_one_slice_is_refused(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            del ds.FrameOfReferenceUID

    with pytest.raises(IncompleteSeriesError, match=r"97: its FrameOfReferenceUID differs .*\(''; there"):
        read_series(write_series(phantom, edit=edit))


def test_other_modalities_are_refused_unless_asked_for(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.Modality = "MR"

    folder = write_series(phantom, edit=edit)
    with pytest.raises(
        UnsupportedFormatError, match=r"95 and 4 more: Modality is MR, not CT.*--any-modality"
    ):
        read_series(folder)
    found = read_series(folder, ReadOptions(any_modality=True))
    assert np.array_equal(found.stack.voxels, phantom.voxels)
    assert "Modality is MR, not CT; taken as asked" in caplog.text


POSTURES = {
    "HFS": [1, 0, 0, 0, 1, 0],
    "FFS": [-1, 0, 0, 0, 1, 0],
    "HFP": [-1, 0, 0, 0, -1, 0],
    "FFP": [1, 0, 0, 0, -1, 0],
    "HFDL": [0, -1, 0, 1, 0, 0],
    "FFDR": [0, -1, 0, -1, 0, 0],
}


@pytest.mark.parametrize("claimed", POSTURES)
@pytest.mark.parametrize("imaged", POSTURES)
def test_a_patient_position_that_contradicts_the_orientation_is_not_believed(
    claimed: str, imaged: str, phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    row, column = np.array(POSTURES[imaged][:3]), np.array(POSTURES[imaged][3:])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([2.5 * np.cross(row, column), 0.7 * column, 0.9 * row], axis=1)
    taken = Volume(
        voxels=phantom.voxels, geometry=Geometry(shape_zyx=phantom.voxels.shape, lps_from_index=matrix)
    )

    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.PatientPosition = claimed

    volume = read_series(write_series(taken, edit=edit)).volume
    assert volume is not None
    assert np.allclose(volume.geometry.lps_from_index, matrix)
    opposite = {"S": "P", "P": "S", "DL": "DR", "DR": "DL"}[claimed[2:]] == imaged[2:]
    assert (f"PatientPosition is {claimed}, but" in caplog.text) == opposite


def test_slices_without_sop_class_or_instance_take_them_from_the_meta_information(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    uids = {}
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        uids[path.name] = str(ds.SOPInstanceUID)
        del ds.SOPClassUID, ds.SOPInstanceUID
        if path.name == "97":
            del ds.file_meta.MediaStorageSOPClassUID
        ds.save_as(path)
    references = read_series(folder).references
    assert [reference.file for reference in references] == ["99", "98", "97", "96", "95"]
    assert {reference.sop_class_uid for reference in references} == {CTImageStorage}
    assert {reference.file: reference.sop_instance_uid for reference in references} == uids
    assert "99 and 4 more: no SOPClassUID" in caplog.text
    assert "99 and 4 more: no SOPInstanceUID" in caplog.text


def test_a_series_without_a_name_or_any_identity_is_read(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            delattr(ds, keyword)

    assert np.array_equal(read_series(write_series(phantom, edit=edit)).stack.voxels, phantom.voxels)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert f"95 and 4 more: no {keyword}; nothing ties it" in caplog.text


@pytest.mark.parametrize("odd", ["../../x\n", "PHI-17", "PHI^Jane"])
def test_text_in_the_place_of_a_uid_is_not_shown(odd: str, phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            with pydicom.config.disable_value_validation():
                del ds.FrameOfReferenceUID
                ds.FrameOfReferenceUID = odd

    found = r"97: its FrameOfReferenceUID differs .*\(unfit text; there 1\.2"
    with pytest.raises(InputError, match=found) as caught:
        read_series(write_series(phantom, edit=edit))
    assert odd not in str(caught.value)


def test_long_values_are_cut(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            with pydicom.config.disable_value_validation():
                del ds.FrameOfReferenceUID
                ds.FrameOfReferenceUID = "9" * 300

    with pytest.raises(InputError, match=r"\(9{64}…; there"):
        read_series(write_series(phantom, edit=edit))
