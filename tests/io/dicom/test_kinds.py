import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RawDataStorage, SecondaryCaptureImageStorage, generate_uid

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]


def everywhere(**fields: object) -> Callable[[pydicom.Dataset, int], None]:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        for keyword, value in fields.items():
            setattr(ds, keyword, value)

    return edit


def test_localizers_are_left_out_with_a_warning(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    for number, series in enumerate((None, None, "1.2.3")):
        scout = pydicom.dcmread(folder / "97")
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        scout.SeriesInstanceUID = series or scout.SeriesInstanceUID
        scout.save_as(folder / f"scout{number}")
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)
    assert "scout0 and 2 more: localizers (ImageType), left out" in caplog.text


@pytest.mark.parametrize(
    "image_type",
    [
        "DERIVED\\SECONDARY\\MIP",
        "DERIVED\\SECONDARY\\AXIAL\\CT_SOM5 MIP",
        "DERIVED\\PRIMARY\\VOLUME\\MAXIMUM",
        "DERIVED\\SECONDARY\\MINIP",
        "DERIVED\\SECONDARY\\PROJECTION IMAGE",
        "DERIVED\\SECONDARY\\VRT",
    ],
)
def test_projections_and_renderings_are_refused(
    image_type: str, phantom: Volume, write_series: Write
) -> None:
    folder = write_series(phantom, edit=everywhere(ImageType=image_type.split("\\")))
    with pytest.raises(UnsupportedFormatError, match=r"95 and 4 more: ImageType DERIVED.* give the original"):
        read_series(folder)


def test_a_projection_said_so_by_its_technique_is_refused(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom, edit=everywhere(VolumeBasedCalculationTechnique="MAX_IP"))
    with pytest.raises(UnsupportedFormatError, match=r"is a projection or rendering"):
        read_series(folder)


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "derived from other images"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "derived from other images"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CBCT"]}, "cone-beam CT"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, "a computed map"),
        ({"RescaleType": "MGML"}, r"not called Hounsfield units \(.*RescaleType MGML\)"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "a secondary capture"),
    ],
)
def test_dubious_images_are_read_with_a_warning(
    fields: dict[str, object],
    remark: str,
    phantom: Volume,
    write_series: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:
    read_series(write_series(phantom, edit=everywhere(**fields)))
    assert re.search(rf"95 and 4 more: .*{remark}", caplog.text)


def test_plain_images_are_read_without_a_word(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    read_series(write_series(phantom, edit=everywhere(RescaleType="HU", PatientPosition="HFS")))
    assert not caplog.text


@pytest.mark.parametrize(
    "sop_class", [RawDataStorage, "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.88.67"]
)
def test_objects_that_are_no_images_are_left_out_whatever_their_modality(
    sop_class: str, phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    other = pydicom.dcmread(folder / "97", stop_before_pixels=True)
    other.SOPClassUID, other.SeriesInstanceUID = sop_class, generate_uid()
    other.save_as(folder / "raw")
    caplog.set_level("INFO")
    assert np.array_equal(read_series(folder).stack.voxels, phantom.voxels)
    assert "left out as no images of a scan: 1 " in caplog.text


@pytest.mark.parametrize("keyword", ["Modality", "PixelData"])
def test_an_image_without_what_every_image_has_is_refused(
    keyword: str, phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 2:
            delattr(ds, keyword)

    with pytest.raises(InputError, match=rf"97: .*{keyword}; it is damaged"):
        read_series(write_series(phantom, edit=edit))


def test_a_ct_image_is_no_plan_whatever_its_modality_says(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 4:
            ds.Modality = "RTPLAN"

    with pytest.raises(
        InputError, match=r"95: its Modality differs .*\(RTPLAN; there CT\)|Modality is RTPLAN"
    ):
        read_series(write_series(phantom, edit=edit))
