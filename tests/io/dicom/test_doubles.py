from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from thoar.core.errors import IncompleteSeriesError
from thoar.core.volume import Volume
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]


def again(folder: Path, name: str, *, new_uid: bool, of: str = "97", **fields: object) -> None:
    ds = pydicom.dcmread(folder / of)
    if new_uid:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    ds.save_as(folder / name)


def test_a_file_copied_counts_once(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    for path in list(folder.iterdir()):
        (folder / f"copy of {path.name}").write_bytes(path.read_bytes())
    again(folder, "written again", new_uid=False, InstanceNumber=99)
    series = read_series(folder)
    assert np.array_equal(series.stack.voxels, phantom.voxels)
    assert [reference.file for reference in series.references] == ["99", "98", "97", "96", "95"]
    assert "copy of 95 and 5 more: copies of other files (SOPInstanceUID), left out" in caplog.text


def test_a_slice_stored_under_two_uids_counts_once(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    again(folder, "again", new_uid=True)
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)
    assert "again: slices that repeat others, place and pixels, left out" in caplog.text


def test_the_same_values_in_another_encoding_are_the_same(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    ds = pydicom.dcmread(folder / "97")
    ds.SOPInstanceUID = generate_uid()
    ds.RescaleIntercept = "-1024"
    ds.PixelData = (phantom.voxels[2] + 1024).astype("<i2").tobytes()
    ds.save_as(folder / "again")
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)


def test_one_uid_with_other_pixels_is_refused(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    again(folder, "again", new_uid=False, PixelData=bytes(84))
    found = r"again: has the SOPInstanceUID of 97 but other pixels or another place"
    with pytest.raises(IncompleteSeriesError, match=found):
        read_series(folder)


def test_one_uid_in_two_places_is_refused(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    again(folder, "again", new_uid=False, ImagePositionPatient=[0, 0, 77])
    with pytest.raises(IncompleteSeriesError, match=r"again: has the SOPInstanceUID of 97"):
        read_series(folder)


def test_slices_without_a_uid_are_no_copies_of_one_another(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        del ds.SOPInstanceUID

    assert np.array_equal(read_series(write_series(phantom, edit=edit)).stack.voxels, phantom.voxels)


@pytest.mark.parametrize("sideways_mm", [0.0, 1.0])
def test_other_pixels_in_one_place_are_refused(
    sideways_mm: float, phantom: Volume, write_series: Write
) -> None:
    folder = write_series(phantom)
    x, y, z = pydicom.dcmread(folder / "97").ImagePositionPatient
    place = [x, float(y) + sideways_mm, z]
    same = {} if sideways_mm else {"PixelData": bytes(84)}
    again(folder, "again", new_uid=True, ImagePositionPatient=place, **same)
    with pytest.raises(
        IncompleteSeriesError, match=r"again: lies in the same place as 97 but differs, and no"
    ):
        read_series(folder)
