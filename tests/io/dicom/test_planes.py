from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement

from thoar.core.errors import GeometryError
from thoar.core.volume import Volume
from thoar.io.dicom.attributes import Slice
from thoar.io.dicom.planes import plane_of, slice_planes, stacked
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]


def header(**fields: object) -> Slice:
    ds = pydicom.Dataset()
    ds.ImagePositionPatient = ["-10.5", "20", "3e1"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = ["0.7", "0.9"]
    with pydicom.config.disable_value_validation():
        for keyword, value in fields.items():
            ds.pop(keyword, None)
            setattr(ds, keyword, value)
    return Slice(path=Path("a", "b.dcm"), header=ds)


def test_place_spacing_and_directions_are_those_of_the_header() -> None:
    plane = plane_of(header(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    assert plane.origin_xyz_mm.tolist() == [-10.5, 20, 30]
    assert plane.spacing_yx_mm == (0.7, 0.9)
    assert plane.normal_xyz.tolist() == [-1, 0, 0]


def test_directions_a_hair_off_unit_length_are_taken() -> None:
    plane = plane_of(header(ImageOrientationPatient=[1.0004, 0, 0, 0, 0.9996, 0]))
    assert plane.along_row_xyz.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"ImagePositionPatient": None}, r"b\.dcm: ImagePositionPatient is missing"),
        ({"ImagePositionPatient": ""}, "ImagePositionPatient is missing"),
        ({"ImagePositionPatient": [1, 2]}, r"ImagePositionPatient is \[1.*, 2.*\], not 3 numbers"),
        ({"ImagePositionPatient": ["1", "nan", "2"]}, "nan.*, not 3 numbers"),
        ({"ImagePositionPatient": ["1", "1e400", "2"]}, "not 3 numbers"),
        ({"ImageOrientationPatient": ["1e300", 0, 0, 0, 1, 0]}, r"1e\+?300, .* not 6 numbers"),
        ({"ImageOrientationPatient": ["1e9", 0, 0, 0, 1, 0]}, r"1e\+09, .* no unit vectors"),
        ({"ImagePositionPatient": [0, 0, 1e7]}, r"ImagePositionPatient .*1e\+07|10000000"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "not 6 numbers"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, "2, 0, 0, 0, 2, 0, are no unit vectors; export"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "no unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "not at right angles; export"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not at right angles"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [1, 1]}, "PixelSpacing is missing"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing 0, 1 is no length"),
        ({"PixelSpacing": [1, -1]}, "PixelSpacing 1, -1 is no length"),
        ({"PixelSpacing": [500, 500]}, "no length of a pixel"),
        ({"PixelSpacing": "0.7"}, "not 2 numbers"),
    ],
)
def test_impossible_places_are_refused_by_file_tag_and_value(fields: dict[str, object], found: str) -> None:
    with pytest.raises(GeometryError, match=found) as caught:
        plane_of(header(**fields))
    assert str(caught.value).startswith(str(Path("a", "b.dcm")))


def test_text_in_the_place_of_numbers_is_not_shown() -> None:
    item = header()
    tag = pydicom.tag.Tag("ImagePositionPatient")
    item.header[tag] = RawDataElement(tag, "DS", 8, b"PHI^Jane", 0, False, True)
    with pytest.raises(GeometryError, match="ImagePositionPatient is unfit text, not 3 numbers"):
        plane_of(item)


def test_the_one_that_differs_is_named_and_not_the_others() -> None:
    items = [header(ImagePositionPatient=[0, 0, k]) for k in range(5)]
    items[0] = Slice(path=Path("odd"), header=header(PixelSpacing=["0.7", "0.8"]).header)
    with pytest.raises(GeometryError, match=r"^odd: its PixelSpacing \(0\.7, 0\.8\) differs .*b\.dcm"):
        stacked([plane_of(item) for item in items])


def test_slices_are_sorted_along_their_normal_only() -> None:
    items = [header(ImagePositionPatient=[0, 0, z], InstanceNumber=1, SliceLocation=-z) for z in (4, 0, 2)]
    planes = slice_planes(stacked([plane_of(item) for item in items]), shape_yx=(2, 3))
    assert planes.origins_xyz_mm[:, 2].tolist() == [0, 2, 4]
    downwards = [
        header(ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[1, 0, 0, 0, -1, 0]) for z in (4, 0, 2)
    ]
    planes = slice_planes(stacked([plane_of(item) for item in downwards]), shape_yx=(2, 3))
    assert planes.origins_xyz_mm[:, 2].tolist() == [4, 2, 0]


@pytest.mark.parametrize("turned", [[0.99863, 0.05234, 0, -0.05234, 0.99863, 0], [-1, 0, 0, 0, 1, 0]])
def test_a_slice_turned_or_mirrored_is_refused(
    turned: list[float], tall: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k == 3:
            ds.ImageOrientationPatient = turned

    with pytest.raises(GeometryError, match=r"96: its ImageOrientationPatient .* differs"):
        read_series(write_series(tall, edit=edit))


def across(ds: pydicom.Dataset) -> None:
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.Rows, ds.PixelData = ds.Rows + 1, ds.PixelData + bytes(ds.Columns * 2)


def test_an_image_across_many_others_is_taken_for_a_localizer(
    tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(tall)
    scout = pydicom.dcmread(folder / "97")
    across(scout)
    scout.save_as(folder / "scout")
    assert np.array_equal(read_series(folder).stack.voxels, tall.voxels)
    assert "scout: across the other images (ImageOrientationPatient)" in caplog.text


def test_several_images_across_few_others_are_no_localizers(tall: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k < 4:
            across(ds)

    with pytest.raises(Exception, match=r"Rows differs|ImageOrientationPatient .* differs"):
        read_series(write_series(tall, edit=edit))
