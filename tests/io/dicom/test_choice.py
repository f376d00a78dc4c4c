from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from thoar.core.errors import InputError
from thoar.core.volume import Volume
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]


@pytest.fixture
def two_series(phantom: Volume, write_series: Write) -> Path:
    """A folder with a CT of UID 1.2.3.4 in it, and of 1.2.3.5.6 in a sub-folder, 1000 HU higher."""

    def named(ds: pydicom.Dataset, k: int) -> None:
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.SeriesDescription = "1.2.3.4", 12, "MUELLER"

    def other(ds: pydicom.Dataset, k: int) -> None:
        ds.SeriesInstanceUID, ds.SeriesNumber, ds.RescaleIntercept = "1.2.3.5.6", 3, "976"

    folder = write_series(phantom, edit=named)
    write_series(phantom, name="series/sub", edit=other)
    return folder


def test_several_series_are_refused_with_a_table(two_series: Path) -> None:
    with pytest.raises(InputError, match=r"holds 2 series; pick one with --series UID") as caught:
        read_series(two_series)
    head, *rows = str(caught.value).splitlines()[1:]
    assert head.split("  ")[1] == "SeriesInstanceUID"
    assert [" ".join(row.split()) for row in rows] == [
        r"1.2.3.5.6 CT 5 7 × 6 0.9766 × 0.7 × 2.5 3 ORIGINAL\PRIMARY\AXIAL",
        r"1.2.3.4 CT 5 7 × 6 0.9766 × 0.7 × 2.5 12 ORIGINAL\PRIMARY\AXIAL",
    ]
    assert "MUELLER" not in str(caught.value)
    assert "Nobody" not in str(caught.value)


@pytest.mark.parametrize(("wanted", "higher"), [("1.2.3.4", 0), ("1.2.3.5", 1000), ("5.6", 1000), (".4", 0)])
def test_one_is_picked_by_its_uid_or_an_end_of_it(
    wanted: str, higher: int, two_series: Path, phantom: Volume
) -> None:
    voxels = read_series(two_series, ReadOptions(series=wanted)).stack.voxels
    assert np.array_equal(voxels, phantom.voxels + higher)


@pytest.mark.parametrize(
    ("wanted", "found"), [("1.2", "2 series with"), ("9", "no series with"), ("", "no s")]
)
def test_a_uid_of_none_or_both_is_refused_with_the_table(wanted: str, found: str, two_series: Path) -> None:
    with pytest.raises(InputError, match=rf"{found}.* \(--series\)\n  SeriesInstanceUID"):
        read_series(two_series, ReadOptions(series=wanted))


def test_a_uid_is_checked_where_there_is_one_series_only(phantom: Volume, write_series: Write) -> None:
    with pytest.raises(InputError, match=r"no series with a UID like 9\.9"):
        read_series(write_series(phantom), ReadOptions(series="9.9"))


def test_series_without_any_place_are_left_out_beside_others(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    report = pydicom.dcmread(folder / "97")
    del report.ImagePositionPatient
    report.SeriesInstanceUID = "9.8.7"
    report.save_as(folder / "report")
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)
    assert "report: no ImagePositionPatient, a screen capture or report, left out" in caplog.text
    with pytest.raises(InputError, match=r"report: ImagePositionPatient is missing"):
        read_series(folder, ReadOptions(series="9.8.7"))


def test_a_uid_that_some_images_lack_is_refused_and_one_that_all_lack_is_not(
    phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        del ds.SeriesInstanceUID

    folder = write_series(phantom, edit=edit)
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)
    ds = pydicom.dcmread(folder / "97")
    ds.SeriesInstanceUID = generate_uid()
    ds.save_as(folder / "97")
    with pytest.raises(InputError, match=r"95: has no SeriesInstanceUID, as others have"):
        read_series(folder)


@pytest.mark.parametrize("value", ["2", "2.0", " 2"])
def test_slices_are_selected_by_an_attribute_s_value(
    value: str, tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.AcquisitionNumber = 1 + (k > 5)

    found = read_series(write_series(tall, edit=edit), ReadOptions(select=("AcquisitionNumber", value)))
    assert np.array_equal(found.stack.voxels, tall.voxels[6:])
    assert "6 images without AcquisitionNumber=" in caplog.text


@pytest.mark.parametrize(
    ("select", "found"),
    [
        (("AcquisitionNumber", "9"), r"no image has AcquisitionNumber=9 \(--select\); found: 4 \(5 images\)"),
        (("PatientName", "X"), r"found: 1 values, not shown"),
        (("ImageComments", "X"), r"found: 1 values, not shown"),
        (("Acquisition", "1"), r"Acquisition \(--select\) is no DICOM keyword"),
    ],
)
def test_a_selection_of_nothing_is_refused_with_what_there_is(
    select: tuple[str, str], found: str, phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.AcquisitionNumber, ds.ImageComments = 4, "MUELLER"

    with pytest.raises(InputError, match=found) as caught:
        read_series(write_series(phantom, edit=edit), ReadOptions(select=select))
    assert "MUELLER" not in str(caught.value)
    assert "Nobody" not in str(caught.value)


def test_text_in_the_place_of_a_series_uid_is_not_shown(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            with pydicom.config.disable_value_validation():
                del ds.SeriesInstanceUID
                ds.SeriesInstanceUID = "PHI^Jane"

    with pytest.raises(InputError, match=r"holds 2 series[\s\S]*unfit text +CT +1 ") as caught:
        read_series(write_series(phantom, edit=edit))
    assert "PHI" not in str(caught.value)
