"""A folder with one CT series as a Volume of HU."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.uid import MediaStorageDirectoryStorage

from thoar.core.errors import IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, numbers
from thoar.io.dicom.files import dicom_files
from thoar.io.dicom.parse import read_slice
from thoar.io.dicom.pixels import hu_of
from thoar.io.dicom.planes import SAME_PLACE_MM, Plane, grid_of, plane_of, stacked

_log = logging.getLogger(__name__)

_SCANS = ("CT", "MR", "PT", "NM")
_NO_SCANS = ("RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SEG", "PR", "KO", "SR", "REG")
_COMMON = ("Modality", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "Rows", "Columns")


def read(path: Path) -> Volume:
    """Read the one CT series in a folder and those below it.

    Files are known by content; what is no DICOM, no image, or a localizer is logged and left out. The
    slices are sorted by position along their normal; InstanceNumber, SliceLocation and SliceThickness
    are not trusted. Each slice has its own rescale. A slice stored twice counts once.

    Returns:
        HU; int16 where every value is whole and fits, else float32. Array axis z runs along the
        slices' normal, y from row to row, x from column to column.

    Raises:
        InputError: if there is no series, more than one, a damaged file, or HU cannot be told.
        IncompleteSeriesError: if slices are missing, irregular, doubled, or too few.
        GeometryError: if position, orientation or spacing is missing or differs, or slices are sheared.
        UnsupportedFormatError: for other modalities, multi-frame images, and undecodable pixels.
    """
    slices = _one_series(_images(path), path)
    _check_alike(slices)
    planes = _without_doubles(stacked([plane_of(item) for item in slices]))
    rows, columns = (int(numbers(slices[0], keyword, 1)[0]) for keyword in ("Rows", "Columns"))
    geometry = grid_of(planes, rows=rows, columns=columns)
    return Volume(voxels=np.stack([hu_of(plane.item) for plane in planes]), geometry=geometry)


def _images(folder: Path) -> list[Slice]:
    slices = [read_slice(path) for path in dicom_files(folder)]
    return [item for item in slices if _is_scan(item)]


def _is_scan(item: Slice) -> bool:
    modality = attribute(item, "Modality")
    if modality is None and not _is_directory(item):
        raise InputError(f"{item.path}: has no Modality; it is damaged or cut short: fetch it again")
    if modality in _NO_SCANS or (modality not in _SCANS and attribute(item, "Rows") is None):
        _log.info("%s: skipped, no scan (%s)", item.path, modality)
        return False
    if "LOCALIZER" in str(attribute(item, "ImageType")):
        _log.warning("%s: a localizer, left out", item.path)
        return False
    return True


def _is_directory(item: Slice) -> bool:
    with naming_faults(item.path):
        return item.header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def _one_series(slices: Sequence[Slice], folder: Path) -> list[Slice]:
    if not slices:
        raise InputError(f"{folder}: holds no DICOM images")
    nameless = [item for item in slices if not attribute(item, "SeriesInstanceUID")]
    if 0 < len(nameless) < len(slices):  # where all lack it, it was removed on purpose
        path = nameless[0].path
        raise InputError(f"{path}: has no SeriesInstanceUID, as others have; it is damaged or cut short")
    series = Counter((str(attribute(s, "SeriesInstanceUID")), str(attribute(s, "Modality"))) for s in slices)
    if len(series) > 1:
        table = "; ".join(f"{modality} {uid}: {count} images" for (uid, modality), count in series.items())
        raise InputError(f"{folder}: holds {len(series)} series ({table}); leave one in it")
    return list(slices)


def _check_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]
    for item in slices:
        if attribute(item, "Modality") != "CT":
            raise UnsupportedFormatError(
                f"{item.path}: its Modality is {attribute(item, 'Modality')}, not CT"
            )
        if int(str(attribute(item, "NumberOfFrames") or 1)) != 1:
            raise UnsupportedFormatError(f"{item.path}: is a multi-frame image; export single-frame CT")
        for keyword in _COMMON:
            if attribute(item, keyword) != attribute(first, keyword):
                raise IncompleteSeriesError(
                    f"{item.path}: its {keyword} differs from that of {first.path.name}; the images "
                    "make no one volume: leave one series in the folder"
                )


def _without_doubles(planes: Sequence[Plane]) -> list[Plane]:
    """Drop slices that repeat the one before them, place and pixels.

    Raises:
        IncompleteSeriesError: if two slices in one place differ.
    """
    kept: list[Plane] = []
    for plane in planes:
        if not kept or _apart_mm(kept[-1], plane) > SAME_PLACE_MM:
            kept.append(plane)
        elif np.array_equal(hu_of(kept[-1].item), hu_of(plane.item)):
            _log.warning("%s: repeats %s, left out", plane.item.path, kept[-1].item.path.name)
        else:
            raise IncompleteSeriesError(
                f"{plane.item.path}: lies in the same place as {kept[-1].item.path.name} but differs: "
                "two acquisitions or reconstructions in one series; leave one of them in the folder"
            )
    return kept


def _apart_mm(one: Plane, other: Plane) -> float:
    return abs(float((other.origin_xyz_mm - one.origin_xyz_mm) @ one.normal_xyz))
