from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.core.errors import ResourceError
from thoar.io.structures import rtstruct_check
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.rtstruct_check import check_rtstruct
from thoar.io.structures.rtstruct_writer import write_rtstruct

SPACING_YX_MM = (0.9, 0.7)


def contours(ds: pydicom.Dataset) -> list[pydicom.Dataset]:
    return list(ds.ROIContourSequence[0].ContourSequence)


def move(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[pydicom.Dataset], None]:
    def edit(ds: pydicom.Dataset) -> None:
        for contour in contours(ds):
            points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
            contour.ContourData = [f"{v:.4f}" for v in change(points).ravel()]

    return edit


def shift(x: float = 0, y: float = 0, z: float = 0) -> Callable[[pydicom.Dataset], None]:
    return move(lambda points: points + np.array([x, y, z]))


def mirror(points: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    return np.stack([2 * (-120.3 + 0.7 * 15) - x, y, z], axis=1)


def swap(points: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    row, column = (y + 171.7) / 0.9, (x + 120.3) / 0.7
    return np.stack([-120.3 + 0.7 * row, -171.7 + 0.9 * column, z], axis=1)


def swap_spacing(points: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    return np.stack([-120.3 + (x + 120.3) * 0.9 / 0.7, -171.7 + (y + 171.7) * 0.7 / 0.9, z], axis=1)


def next_images(ds: pydicom.Dataset) -> None:
    for contour in contours(ds):
        image = contour.ContourImageSequence[0]
        number = int(image.ReferencedSOPInstanceUID.rsplit(".")[-1])
        image.ReferencedSOPInstanceUID = f"2.25.{number + 1}"


def next_slice(ds: pydicom.Dataset) -> None:
    next_images(ds)
    shift(z=2.5)(ds)


def strange_image(ds: pydicom.Dataset) -> None:
    contours(ds)[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "2.25.7"


def strange_frame_number(ds: pydicom.Dataset) -> None:
    contours(ds)[0].ContourImageSequence[0].ReferencedFrameNumber = 1


def without_holes(ds: pydicom.Dataset) -> None:
    for contour in contours(ds):
        points = [tuple(point) for point in np.reshape(contour.ContourData, (-1, 3))]
        start = next((k for k, point in enumerate(points) if k and point == points[0]), len(points))
        contour.ContourData = [v for point in points[:start] for v in point]
        contour.NumberOfContourPoints = start


def hole_lost(ds: pydicom.Dataset) -> None:
    del ds.ROIContourSequence[0].ContourSequence[-3]


def island_lost(ds: pydicom.Dataset) -> None:
    smallest = min(range(len(contours(ds))), key=lambda k: contours(ds)[k].NumberOfContourPoints)
    del ds.ROIContourSequence[0].ContourSequence[smallest]


def plain_polygons(ds: pydicom.Dataset) -> None:
    for contour in contours(ds):
        contour.ContourGeometricType = "CLOSED_PLANAR"


def mixed_types(ds: pydicom.Dataset) -> None:
    contours(ds)[0].ContourGeometricType = "OPEN_PLANAR"


def organ_lost(ds: pydicom.Dataset) -> None:
    for keyword in ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence"):
        del ds[keyword].value[0]


def organs_swapped(ds: pydicom.Dataset) -> None:
    first, second = ds.StructureSetROISequence
    first.ROINumber, second.ROINumber = 2, 1


def named_twice(ds: pydicom.Dataset) -> None:
    ds.StructureSetROISequence[1].ROIName = "Heart"


def other_frame_of_reference(ds: pydicom.Dataset) -> None:
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "2.25.7"


def other_frames_of_reference(ds: pydicom.Dataset) -> None:
    other_frame_of_reference(ds)
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "2.25.7"


def other_series(ds: pydicom.Dataset) -> None:
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.7"


def said(keyword: str, value: str) -> Callable[[pydicom.Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


def unobserved(ds: pydicom.Dataset) -> None:
    del ds.RTROIObservationsSequence[0]


def miscounted(ds: pydicom.Dataset) -> None:
    contours(ds)[0].NumberOfContourPoints += 1


def too_long_a_number(ds: pydicom.Dataset) -> None:
    contour = contours(ds)[0]
    contour.ContourData = [f"{float(contour.ContourData[0]):.14f}", *contour.ContourData[1:]]


def no_number(ds: pydicom.Dataset) -> None:
    contour = contours(ds)[0]
    contour.ContourData = ["nan", *contour.ContourData[1:]]


def two_points(ds: pydicom.Dataset) -> None:
    contour = contours(ds)[0]
    contour.ContourData, contour.NumberOfContourPoints = (
        [*contour.ContourData[:6], *contour.ContourData[:3]],
        3,
    )


def a_polygon_more(ds: pydicom.Dataset) -> None:
    copy = pydicom.dcmread(pydicom.filebase.DicomBytesIO(b""), force=True)
    copy.update(contours(ds)[0])
    points = np.reshape([float(v) for v in copy.ContourData], (-1, 3))
    copy.ContourData = [
        f"{v:.4f}" for v in (points.mean(0) + (points - points.mean(0)) / 3 - (5, 5, 0)).ravel()
    ]
    ds.ROIContourSequence[0].ContourSequence.append(copy)


@pytest.fixture
def check(tmp_path: Path, planes_of, series_of, blob, organ_of) -> Callable[..., None]:
    """Write two organs, spoil the file, and check it."""

    def run(edit: Callable[[pydicom.Dataset], None], *, holes: str = "keyhole", frames: bool = False) -> None:
        planes, path = planes_of(), tmp_path / "rt.dcm"
        series = series_of(planes, frames=frames)
        organs = [blob, organ_of(np.eye(4)[None], name="aorta", id=4)]
        write_rtstruct(path, series, organs, maker=Maker(), holes=holes)
        ds = pydicom.dcmread(path)
        with pydicom.config.disable_value_validation():
            edit(ds)
            ds.save_as(path)
        check_rtstruct(path, series, organs)

    return run


@pytest.mark.parametrize("holes", ["keyhole", "xor"])
@pytest.mark.parametrize("frames", [False, True])
def test_what_was_written_passes(check, holes, frames) -> None:
    check(lambda ds: ds.StructureSetLabel, holes=holes, frames=frames)


FAULTS = {
    "mirrored": (move(mirror), "outside the box of its mask"),
    "swapped rows and columns": (move(swap), "outside the box of its mask"),
    "swapped spacings": (move(swap_spacing), "outside the box of its mask"),
    "one pixel to the left": (shift(x=0.7), "outside the box of its mask|hold .* Dice"),
    "one pixel to the front": (shift(y=-0.9), "outside the box of its mask|hold .* Dice"),
    "half a pixel": (shift(x=0.35, y=0.45), "outside the box of its mask|hold .* Dice"),
    "a fifth of a pixel": (shift(x=0.14), "hold .* pixels, its mask .*, and Dice is 0"),
    "other places on the same slices": (shift(z=2.5), "mm off the slice it refers to"),
    "hardly off the slices": (shift(z=0.002), "0.0020 mm off the slice it refers to"),
    "the next slices' images": (next_images, "2.5000 mm off the slice it refers to"),
    "the next slices": (next_slice, "outside the box of its mask|hold .* Dice"),
    "an image of another series": (strange_image, "an image that is not of the series"),
    "a frame of a single image": (strange_frame_number, "an image that is not of the series"),
    "keyholed holes left out": (without_holes, "hold .* pixels, its mask .*, and Dice is 0"),
    "a speck left out": (island_lost, "hold .* pixels, its mask .*, and Dice is 0"),
    "an open contour": (mixed_types, "OPEN_PLANAR"),
    "an organ left out": (organ_lost, "heart: 0 structures are called Heart"),
    "two organs' contours swapped": (organs_swapped, "heart: its contours hold"),
    "two structures of a name": (named_twice, "2 structures are called Heart"),
    "a frame of reference without reference": (
        other_frame_of_reference,
        "Heart lies in another frame of reference",
    ),
    "all of another frame of reference": (other_frames_of_reference, "does not refer to the series in its"),
    "of another series": (other_series, "does not refer to the series in its"),
    "another patient": (said("PatientID", "somebody"), "its PatientID is not the series'"),
    "another study": (said("StudyInstanceUID", "2.25.7"), "its StudyInstanceUID is not the series'"),
    "no observation": (unobserved, "cannot be read"),
    "a wrong number of points": (miscounted, "ContourData of a contour is malformed"),
    "a number of 17 characters": (too_long_a_number, "ContourData of a contour is malformed"),
    "not a number": (no_number, "fewer than three points, or one that is none"),
    "two points": (two_points, "fewer than three points"),
    "a polygon more": (a_polygon_more, "hold .* Dice|outside the box"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_file_is_caught(check, fault) -> None:
    edit, message = FAULTS[fault]
    with pytest.raises(
        ResourceError, match=rf"rt\.dcm: what was written is not what was meant \(.*({message})"
    ):
        check(edit)


@pytest.mark.parametrize("edit", [hole_lost, plain_polygons])
def test_spoilt_xor_contours_are_caught(check, edit) -> None:
    with pytest.raises(ResourceError, match=r"hold .* pixels, its mask .*, and Dice is 0"):
        check(edit, holes="xor")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.9, 0.99])
def test_a_file_cut_short_is_caught(tmp_path, planes_of, series_of, blob, kept) -> None:
    path, series = tmp_path / "rt.dcm", series_of(planes_of())
    write_rtstruct(path, series, [blob], maker=Maker())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ResourceError, match=r"rt\.dcm"):
        check_rtstruct(path, series, [blob])


def test_places_are_compared_even_where_rows_and_columns_are_reckoned_wrongly(check, monkeypatch) -> None:
    right = rtstruct_check._rows_and_columns

    def edit(ds: pydicom.Dataset) -> None:
        shift(x=0.7)(ds)
        wrong = lambda points, *rest: right(points - np.array([0.7, 0, 0]), *rest)  # noqa: E731
        monkeypatch.setattr(rtstruct_check, "_rows_and_columns", wrong)

    with pytest.raises(ResourceError, match=r"on slice . its contours reach .* mm beyond its pixels"):
        check(edit)
