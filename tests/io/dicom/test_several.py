"""Several volumes in one series: refused by what tells them apart, and one of them picked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.core.errors import IncompleteSeriesError, InputError
from thoar.core.volume import Volume
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]
Edit = Callable[[pydicom.Dataset, int], None]

TELLING = {
    "TemporalPositionIdentifier": (1, 2),
    "AcquisitionNumber": (1, 2),
    "ConvolutionKernel": ("B30f", "B70f"),
    "NominalPercentageOfCardiacPhase": (30.0, 70.0),
    "EchoTime": ("1.5", "3"),
    "KVP": ("80", "140"),
    "AcquisitionTime": ("101010.5", "101055"),
    "ContentTime": ("101010", "101011"),
    "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]),
}


def two_volumes(
    volume: Volume, write_series: Write, *, edit: Callable[[pydicom.Dataset, int, int], object]
) -> Path:
    """Write a volume twice under one SeriesInstanceUID, the second 100 HU higher."""

    def number(which: int) -> Edit:
        def change(ds: pydicom.Dataset, k: int) -> None:
            ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2", "1.2.4"
            ds.RescaleIntercept = str(-24 + 100 * which)
            edit(ds, k, which)

        return change

    folder = write_series(volume, edit=number(0))
    write_series(volume, name="series/second", edit=number(1))
    return folder


@pytest.mark.parametrize("keyword", TELLING)
def test_two_volumes_in_the_same_places_are_told_apart_and_picked(
    keyword: str, phantom: Volume, write_series: Write
) -> None:
    values = TELLING[keyword]
    folder = two_volumes(phantom, write_series, edit=lambda ds, _, which: setattr(ds, keyword, values[which]))
    written = ["\\".join(v) if isinstance(v, list) else str(v) for v in values]
    with pytest.raises(IncompleteSeriesError) as caught:
        read_series(folder)
    message = str(caught.value)
    assert f"which {keyword} tells apart: {written[0]} (5 images), {written[1]} (5 images)" in message
    assert f"--select {keyword}={written[0]}" in message
    for which in range(2):
        found = read_series(folder, ReadOptions(select=(keyword, written[which])))
        assert np.array_equal(found.stack.voxels, phantom.voxels + 100 * which)


@pytest.mark.parametrize("keyword", ["ImageComments", "SeriesDescription"])
def test_free_text_that_tells_volumes_apart_is_named_but_not_shown(
    keyword: str, phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = two_volumes(
        phantom, write_series, edit=lambda ds, _, which: setattr(ds, keyword, f"PHI {which}")
    )
    with pytest.raises(
        IncompleteSeriesError, match=rf"{keyword} tells apart.*--select {keyword}=VALUE"
    ) as no:
        read_series(folder)
    assert "PHI" not in str(no.value)
    assert read_series(folder, ReadOptions(select=(keyword, "PHI 1"))).volume is not None
    assert f"5 images without {keyword}=…, left out" in caplog.text
    with pytest.raises(InputError, match=rf"no image has {keyword}=…") as no:
        read_series(folder, ReadOptions(select=(keyword, "PHI 2")))
    assert "PHI" not in caplog.text + str(no.value)


def test_a_value_that_one_volume_lacks_tells_apart_too(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int, which: int) -> None:
        if which:
            ds.AcquisitionNumber = 2

    folder = two_volumes(phantom, write_series, edit=edit)
    with pytest.raises(IncompleteSeriesError, match=r"'' \(5 images\), 2 \(5 images\).*AcquisitionNumber=2"):
        read_series(folder)
    found = read_series(folder, ReadOptions(select=("AcquisitionNumber", "")))
    assert np.array_equal(found.stack.voxels, phantom.voxels)


def test_a_value_that_differs_from_slice_to_slice_tells_no_volumes_apart(
    phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int, which: int) -> None:
        ds.AcquisitionNumber = 10 * which + k

    with pytest.raises(IncompleteSeriesError, match=r"no attribute tells the volumes apart"):
        read_series(two_volumes(phantom, write_series, edit=edit))


def test_a_volume_between_the_slices_of_another_is_refused(tall: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.TemporalPositionIdentifier = 1 + k % 2

    folder = write_series(tall, edit=edit)
    found = r"slices lie between those of another volume: .*TemporalPositionIdentifier tells apart.*--select"
    with pytest.raises(IncompleteSeriesError, match=found):
        read_series(folder)
    half = read_series(folder, ReadOptions(select=("TemporalPositionIdentifier", "2"))).stack
    assert np.array_equal(half.voxels, tall.voxels[1::2])


def test_volumes_that_meet_end_to_end_are_one_with_a_warning(
    tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.AcquisitionNumber, ds.ConvolutionKernel = 1 + (k > 5), "B30f" if k < 4 else "B70f"

    assert np.array_equal(read_series(write_series(tall, edit=edit)).stack.voxels, tall.voxels)
    for keyword in ("AcquisitionNumber", "ConvolutionKernel"):
        assert f"joined of parts that differ in {keyword}" in caplog.text


def test_blocks_that_take_turns_are_one_volume_with_a_warning(
    tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.add_new("NominalCardiacTriggerDelayTime", "FD", 450.0 + (k // 3) % 2)

    assert np.array_equal(read_series(write_series(tall, edit=edit)).stack.voxels, tall.voxels)
    assert "joined of parts that differ in NominalCardiacTriggerDelayTime" in caplog.text


def test_few_slices_between_many_of_another_volume_are_refused(tall: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.ConvolutionKernel = "B30f" if k % 4 == 1 else "B70f"

    with pytest.raises(IncompleteSeriesError, match=r"between those of another .*ConvolutionKernel tells"):
        read_series(write_series(tall, edit=edit))


def test_an_acquisition_for_every_slice_or_two_is_one_volume(
    tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.AcquisitionNumber, ds.AcquisitionTime = k // 2, f"1010{k:02d}"

    assert np.array_equal(read_series(write_series(tall, edit=edit)).stack.voxels, tall.voxels)
    assert not caplog.text
