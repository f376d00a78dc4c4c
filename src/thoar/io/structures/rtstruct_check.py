"""An RTSTRUCT read back and compared with the masks it was to hold, by code the writer has no part in.

What must hold, of every organ:

- patient, study and frame of reference are the series' own, and the file refers to the series (of a file of
  somebody else's that structures were added to, only the latter two);
- there is one structure of its name, in the series' frame of reference, and nothing in it is malformed;
- each contour refers to one slice of the series and lies in that slice's plane, within ``OFF_PLANE_MM``;
- the pixel centres inside its contours, told apart by counting crossings, are the mask, to the pixel: so Dice
  is 1, and volume, centroid and side are the mask's;
- in patient millimetres, along each of x, y and z and on each slice, its points reach at least as far as the
  centres of the mask's pixels, and less than a pixel farther. This holds for any contour that keeps between
  the centres inside and their neighbours, however thin or soft the organ; it goes by the points' coordinates
  alone, not by their rows and columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float, Int

from thoar.core.errors import InputError, ResourceError, ThoarError
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.attributes import naming_faults
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series
from thoar.io.structures.organ_mask import OrganMask
from thoar.io.structures.source_check import differing

OFF_PLANE_MM = 0.001
ROUNDING_MM = 0.001
"""Of coordinates with four decimals, generously."""
_PLAIN, _XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
_MOST_BYTES, _LEAST_POINTS = 16, 3

Points = Float[np.ndarray, "_ 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Contour:
    """A contour as it was read: its type, the image it refers to, and its points."""

    kind: str
    image: tuple[str, int | None]
    points_xyz_mm: Points


class _Wrong(ThoarError):  # noqa: N818 (never leaves this file)
    """What is wrong with the file."""


def check_rtstruct(
    path: Path,
    series: Series,
    organs: Sequence[OrganMask],
    *,
    added: bool = False,
    called: Path | None = None,
) -> None:
    """Read an RTSTRUCT and compare it with organs; other structures in it are not looked at.

    Args:
        path: the file.
        series: what the organs were drawn on.
        organs: what must be in it, none of them empty.
        added: the file was somebody else's, whose patient and study need not be written as the series' are.
        called: what messages call the file.

    Raises:
        ResourceError: if it cannot be read or differs, naming the organ and how.
    """
    places = {(r.sop_instance_uid, r.frame): index for index, r in enumerate(series.references)}
    subject = "the file"
    try:
        with naming_faults(path):
            ds = pydicom.dcmread(path)
            frame = _checked_frame(ds, series, added=added)
        for organ in organs:
            subject = organ.organ.name
            with naming_faults(path):
                contours = _contours(ds, (organ.organ.tg263 or organ.organ.name).strip(), frame=frame)
            _check(organ, contours, planes=series.stack.planes, places=places)
    except (_Wrong, InputError) as error:
        raise ResourceError(
            f"{called or path}: what was written is not what was meant ({subject}: {error}); it was removed: "
            "check disk and memory, and report it if it happens again"
        ) from error


def _checked_frame(ds: pydicom.Dataset, series: Series, *, added: bool) -> str:
    """Return the series' frame of reference, in which the file must refer to it."""
    different = [] if added else differing(ds, series)
    if different:
        raise _Wrong(f"its {different[0]} is not the series'")
    identity = read_identity(series.identity)
    frame, uid = str(identity.FrameOfReferenceUID), str(identity.SeriesInstanceUID)
    frames = [f for f in ds.ReferencedFrameOfReferenceSequence if frame == f.FrameOfReferenceUID]
    studies = [study for f in frames for study in f.get("RTReferencedStudySequence") or ()]
    if not any(uid == s.SeriesInstanceUID for study in studies for s in study.RTReferencedSeriesSequence):
        raise _Wrong("it does not refer to the series in its frame of reference")
    return frame


def _contours(ds: pydicom.Dataset, name: str, *, frame: str) -> list[_Contour]:
    """Return the contours of the one structure of a name."""
    found = [roi for roi in ds.StructureSetROISequence if name == roi.ROIName]
    if len(found) != 1:
        raise _Wrong(f"{len(found)} structures are called {name}")
    if found[0].ReferencedFrameOfReferenceUID != frame:
        raise _Wrong(f"{name} lies in another frame of reference than the series")
    (drawn,), (_,) = (
        [item for item in items if found[0].ROINumber == item.ReferencedROINumber]
        for items in (ds.ROIContourSequence, ds.RTROIObservationsSequence)
    )
    return [_contour(item) for item in drawn.ContourSequence]


def _contour(item: pydicom.Dataset) -> _Contour:
    data = item.get_item("ContourData")
    strings = bytes(data.value).rstrip(b" ").split(b"\\") if data is not None else []
    if len(strings) != 3 * item.NumberOfContourPoints or max(map(len, strings), default=0) > _MOST_BYTES:
        raise _Wrong("the ContourData of a contour is malformed")
    points = np.array(strings).astype(np.float64).reshape(-1, 3)
    distinct = set(zip(strings[0::3], strings[1::3], strings[2::3], strict=True))
    if not np.isfinite(points).all() or len(distinct) < _LEAST_POINTS:
        raise _Wrong("a contour has fewer than three points, or one that is none")
    (image,) = item.ContourImageSequence
    frame = image.get("ReferencedFrameNumber")
    return _Contour(
        kind=item.ContourGeometricType,
        image=(image.ReferencedSOPInstanceUID, None if frame is None else int(frame)),
        points_xyz_mm=points,
    )


def _check(
    organ: OrganMask,
    contours: Sequence[_Contour],
    *,
    planes: SlicePlanes,
    places: Mapping[tuple[str, int | None], int],
) -> None:
    kinds = {contour.kind for contour in contours}
    if kinds not in ({_PLAIN}, {_XOR}):
        raise _Wrong(f"its contours are of the types {sorted(kinds)}")
    slices = [places.get(contour.image, -1) for contour in contours]
    if min(slices) < 0:
        raise _Wrong("a contour refers to an image that is not of the series")
    points = [contour.points_xyz_mm for contour in contours]
    _check_mask(organ, slices, points, planes=planes, xor=kinds == {_XOR})
    mask = organ.mask
    for index in set(slices):
        here = np.concatenate([some for k, some in zip(slices, points, strict=True) if k == index])
        pixels_yx = _ends_of_rows(mask[index - organ.box_zyx.start_zyx[0]]) + organ.box_zyx.start_zyx[1:]
        _check_extent(pixels_yx, here, index=index, planes=planes)


def _check_mask(
    organ: OrganMask, slices: Sequence[int], points: Sequence[Points], *, planes: SlicePlanes, xor: bool
) -> None:
    """Compare the pixel centres inside the contours with the mask."""
    found = np.zeros(organ.box_zyx.shape_zyx, np.bool_)
    start, stop = np.array(organ.box_zyx.start_zyx), np.array(organ.box_zyx.stop_zyx)
    combine = np.logical_xor if xor else np.logical_or
    for index, contour in zip(slices, points, strict=True):
        polygon_yx = _rows_and_columns(contour, index, planes)
        first = np.ceil(polygon_yx.min(axis=0)).astype(int)
        last = np.floor(polygon_yx.max(axis=0)).astype(int)
        if not start[0] <= index < stop[0] or (first < start[1:]).any() or (last >= stop[1:]).any():
            raise _Wrong("a contour lies outside the box of its mask")
        (y0, x0), (y1, x1) = (first - start[1:]).tolist(), (last - start[1:] + 1).tolist()
        here = found[index - start[0], y0:y1, x0:x1]
        combine(here, _centres_inside(polygon_yx - first, (y1 - y0, x1 - x0)), out=here)
    mask = organ.mask
    if not np.array_equal(found, mask):
        common = 2 * (found & mask).sum() / (found.sum() + mask.sum())
        raise _Wrong(
            f"its contours hold {found.sum()} pixels, its mask {mask.sum()}, and Dice is {common:.6f}"
        )


def _rows_and_columns(points_xyz_mm: Points, index: int, planes: SlicePlanes) -> Float[np.ndarray, "_ 2"]:
    """Return points in rows and columns of their slice, in whose plane they must lie."""
    y_mm, x_mm = planes.spacing_yx_mm
    axes = np.stack([planes.along_column_xyz * y_mm, planes.along_row_xyz * x_mm, planes.normal_xyz])
    y, x, off_mm = np.linalg.solve(axes.T, (points_xyz_mm - planes.origins_xyz_mm[index]).T)
    if np.abs(off_mm).max() > OFF_PLANE_MM:
        raise _Wrong(f"a contour lies {np.abs(off_mm).max():.4f} mm off the slice it refers to")
    return np.stack([y, x], axis=1)


def _centres_inside(
    polygon_yx: Float[np.ndarray, "_ 2"], shape_yx: tuple[int, int]
) -> Bool[np.ndarray, "y x"]:
    """Return which pixel centres lie inside a polygon: those that have passed an odd number of its sides."""
    y0, x0 = polygon_yx.T
    y1, x1 = np.roll(polygon_yx, -1, axis=0).T
    first, stop = np.ceil(np.minimum(y0, y1)).astype(int), np.ceil(np.maximum(y0, y1)).astype(int)
    side = np.repeat(np.arange(len(y0)), stop - first)
    row = np.arange(len(side)) - np.repeat(np.cumsum(stop - first) - stop, stop - first)
    x = x0[side] + (row - y0[side]) / (y1 - y0)[side] * (x1 - x0)[side]
    crossings = np.zeros((shape_yx[0], shape_yx[1] + 1), np.uint8)
    np.add.at(crossings, (row, np.ceil(x).astype(int)), 1)
    return np.bitwise_xor.accumulate(crossings & 1, axis=1)[:, :-1].astype(np.bool_)


def _ends_of_rows(mask_yx: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "_ 2"]:
    """Return the first and last pixel of each row that a mask touches: it reaches no farther than they."""
    rows = np.flatnonzero(mask_yx.any(axis=1))
    first = mask_yx[rows].argmax(axis=1)
    last = mask_yx.shape[1] - 1 - mask_yx[rows, ::-1].argmax(axis=1)
    return np.stack([np.tile(rows, 2), np.concatenate([first, last])], axis=1)


def _check_extent(
    pixels_yx: Int[np.ndarray, "_ 2"], points_xyz_mm: Points, *, index: int, planes: SlicePlanes
) -> None:
    """Compare how far the contours of one slice reach in the patient with how far the mask's pixels do."""
    along_column = planes.along_column_xyz * planes.spacing_yx_mm[0]
    along_row = planes.along_row_xyz * planes.spacing_yx_mm[1]
    centres = planes.origins_xyz_mm[index] + pixels_yx @ np.stack([along_column, along_row])
    pixel = np.maximum(np.abs(along_column), np.abs(along_row))
    beyond = np.stack([centres.min(0) - points_xyz_mm.min(0), points_xyz_mm.max(0) - centres.max(0)])
    if (beyond < -ROUNDING_MM).any() or (beyond > pixel + ROUNDING_MM).any():
        raise _Wrong(f"on slice {index} its contours reach {beyond.round(3).tolist()} mm beyond its pixels")
