"""All of a DICOM-SEG but its pixels: made by highdicom, with the source's own identity and references."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import highdicom as hd
import numpy as np
import pydicom
from jaxtyping import Bool
from pydicom.uid import UID, CTImageStorage
from pydicom.valuerep import format_number_as_ds

from thoar.core.box import Box
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series, SliceReference
from thoar.io.structures.derived import (
    FROM_THE_SOURCE,
    check_identifiers,
    date_and_time,
    lenient,
    software_versions,
)
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.seg_frames import FULL_PROBABILITY
from thoar.io.structures.seg_segments import described_segment
from thoar.io.structures.uids import new_uid
from thoar.io.structures.verbatim import text_of

_ASKED_FOR = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_SERIES_NUMBER = 9001
_UNKNOWN = "unknown"
_STAND_IN_UID = "2.25.0"
_NO_DATE, _NO_TIME = "19000101", "000000"


def segmentation_header(
    series: Series,
    organs: Sequence[OrganMask],
    slices: Sequence[Sequence[int]],
    *,
    maker: Maker,
    fractional: bool,
) -> tuple[pydicom.Dataset, tuple[tuple[int, int], ...]]:
    """Return a segmentation object without pixels, and what each of its frames shows.

    highdicom makes it of one pixel a frame, which says whether the organ is there; so no mask of the scan
    is ever stacked. What the source says of patient and study is put in afterwards, as the bytes it had.

    Args:
        series: what the organs were drawn on.
        organs: one segment each, numbered from 1 in this order.
        slices: of each organ, the slices that need a frame.
        maker: who drew them.
        fractional: store probabilities, not masks.

    Returns:
        The object, and of each frame in turn the organ's index and the slice's.

    Raises:
        InputError: if the series lacks a UID to refer to.
    """
    uid_of = _uids(series, organs, maker=maker, fractional=fractional)
    with lenient():
        identity = read_identity(series.identity)
        check_identifiers(series, identity)
        ds = _by_highdicom(series, organs, slices, maker=maker, fractional=fractional)
        frames = _refer(ds, series)
        ds.Rows, ds.Columns = series.stack.planes.shape_yx
        del ds.PixelData
        ds.SegmentsOverlap = "UNDEFINED" if fractional else "YES" if _overlap(organs) else "NO"
        _identify(ds, identity, uid_of)
        _tell_of_losses(ds, identity)
        ds["SoftwareVersions"].value = software_versions(maker)
        _date(ds, *date_and_time(identity, maker))
    return ds, frames


def _uids(
    series: Series, organs: Sequence[OrganMask], *, maker: Maker, fractional: bool
) -> Callable[[str], str]:
    """Return a function from what needs a UID to a new one; with a seed it depends on all that is written."""
    digest = hashlib.sha256()
    if maker.uid_seed is not None:
        planes = series.stack.planes
        digest.update(repr((maker, fractional, series.references, planes.spacing_yx_mm)).encode())
        digest.update(series.identity)
        for array in (planes.origins_xyz_mm, planes.along_row_xyz, planes.along_column_xyz):
            digest.update(array.tobytes())
        for organ in organs:
            digest.update(repr((organ.organ, organ.box_zyx)).encode())
            digest.update(np.ascontiguousarray(organ.probability).data)
    return lambda of: new_uid(maker.uid_seed, f"SEG {of}", digest.hexdigest())


def _overlap(organs: Sequence[OrganMask]) -> bool:
    """Say whether a voxel belongs to two organs."""
    for one, other in combinations(organs, 2):
        common = one.box_zyx.intersection(other.box_zyx)
        if common is not None and (_within(one, common) & _within(other, common)).any():
            return True
    return False


def _within(organ: OrganMask, box_zyx: Box) -> Bool[np.ndarray, "z y x"]:
    back = [-corner for corner in organ.box_zyx.start_zyx]
    return organ.probability[box_zyx.shifted(back).slices] >= 0.5  # noqa: PLR2004 (what a mask is)


def _identify(ds: pydicom.Dataset, identity: pydicom.Dataset, uid_of: Callable[[str], str]) -> None:
    for keyword in FROM_THE_SOURCE:
        if keyword in identity:
            ds[keyword] = identity.get_item(keyword)
    ds.set_original_encoding(False, True, identity.original_character_set)  # so pydicom leaves bytes alone
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = text_of(identity, "SeriesInstanceUID")
    ds.SeriesInstanceUID, ds.SOPInstanceUID = uid_of("series"), uid_of("instance")
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    dimensions = uid_of("dimensions")
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions


def _tell_of_losses(ds: pydicom.Dataset, identity: pydicom.Dataset) -> None:
    """Say of what was drawn on lossy images that it is lossy too (PS3.3 C.7.6.1.1.5)."""
    if text_of(identity, "LossyImageCompression") == "01":
        for keyword in (keyword for keyword in _LOSSY if keyword in identity):
            ds[keyword] = identity.get_item(keyword)


def _date(ds: pydicom.Dataset, date: str, time: str) -> None:
    for of in ("Series", "Content", "InstanceCreation"):
        setattr(ds, f"{of}Date", date or _NO_DATE)
        setattr(ds, f"{of}Time", time or _NO_TIME)
    for item in ds.ContributingEquipmentSequence:
        item.ContributionDateTime = ds.ContentDate + ds.ContentTime


def _by_highdicom(
    series: Series,
    organs: Sequence[OrganMask],
    slices: Sequence[Sequence[int]],
    *,
    maker: Maker,
    fractional: bool,
) -> hd.seg.Segmentation:
    planes = series.stack.planes
    present = np.zeros((len(planes), 1, 1, len(organs)), np.uint8)
    for k, touched in enumerate(slices):
        present[list(touched), 0, 0, k] = 1
    return hd.seg.Segmentation(
        source_images=[_stand_in(planes, k) for k in range(len(planes))],
        pixel_array=present,
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        max_fractional_value=FULL_PROBABILITY,
        segment_descriptions=[
            described_segment(k, organ.organ, maker) for k, organ in enumerate(organs, start=1)
        ],
        series_instance_uid=_STAND_IN_UID,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=_STAND_IN_UID,
        instance_number=1,
        manufacturer="thoar",
        manufacturer_model_name="thoar",
        software_versions="",
        device_serial_number=maker.model_version or _UNKNOWN,
        content_label="ORGANS_AT_RISK",
        content_description="Organs by thoar, for research, not approved",
        content_creator_name="",
        series_description="Organs by thoar, not approved",
    )


def _stand_in(planes: SlicePlanes, index: int) -> pydicom.Dataset:
    """Return what highdicom asks of a source image: its place; who is shown is none of its business."""
    ds = pydicom.Dataset()
    for keyword in _ASKED_FOR:
        setattr(ds, keyword, None)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{_STAND_IN_UID}.{index}"
    ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.FrameOfReferenceUID = _STAND_IN_UID
    ds.Modality, ds.Rows, ds.Columns = "CT", 1, 1
    ds.ImagePositionPatient = _decimals(planes.origins_xyz_mm[index])
    ds.ImageOrientationPatient = _decimals([*planes.along_row_xyz, *planes.along_column_xyz])
    ds.PixelSpacing = _decimals(planes.spacing_yx_mm)
    ds.SliceThickness = _decimals([np.median(planes.distances_mm) if len(planes) > 1 else 1.0])[0]
    return ds


def _decimals(values: Iterable[float]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]


def _refer(ds: pydicom.Dataset, series: Series) -> tuple[tuple[int, int], ...]:
    """Put the source's own references in place of the stand-ins'; return each frame's organ and slice."""
    groups = ds.PerFrameFunctionalGroupsSequence
    sources = [group.DerivationImageSequence[0].SourceImageSequence[0] for group in groups]
    slices = [int(source.ReferencedSOPInstanceUID.rsplit(".")[-1]) for source in sources]
    for index, source in zip(slices, sources, strict=True):
        reference = series.references[index]
        source.update(_reference(reference))
        if reference.frame is not None:
            source.ReferencedFrameNumber = reference.frame
    images = list({item.sop_instance_uid: _reference(item) for item in series.references}.values())
    ds.SourceImageSequence = images
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = images
    organs = [group.FrameContentSequence[0].DimensionIndexValues[0] - 1 for group in groups]
    return tuple(zip(organs, slices, strict=True))


def _reference(item: SliceReference) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.ReferencedSOPClassUID = item.sop_class_uid or CTImageStorage
    ds.ReferencedSOPInstanceUID = item.sop_instance_uid
    return ds
