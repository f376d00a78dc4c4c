"""An RTSTRUCT that exists, opened so that structures can be added and nothing of its own changes."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pydicom
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
)

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError
from thoar.io.dicom.attributes import naming_faults
from thoar.io.dicom.bounded import BoundedFile
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.parse import check_whole, content_of, read_header
from thoar.io.dicom.records import Series
from thoar.io.structures.derived import check_identifiers, date_and_time
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.rtstruct_items import highest_numbers, image_item
from thoar.io.structures.verbatim import open_sequences, text_of

_log = logging.getLogger(__name__)

_MAXIMUM_BYTES = 256 << 20
_SEQUENCES = ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence")
_OF_A_REVIEW = ("ReviewDate", "ReviewTime", "ReviewerName")


def opened_to_append(path: Path, series: Series, *, maker: Maker, names: Sequence[str]) -> pydicom.Dataset:
    """Read an RTSTRUCT that structures of a series can be added to.

    It gets the date of the addition; an approval is taken back, since it was not given to what is added.

    Args:
        path: the RTSTRUCT.
        series: it must refer to this one.
        maker: decides the date.
        names: ROI names to add.

    Raises:
        InputError: if it is none, is damaged, of another patient, or refers to another series or frame of
            reference.
        LabelError: if it has a structure of one of the names already.
    """
    identity = read_identity(series.identity)
    check_identifiers(series, identity)
    with naming_faults(path):
        ds = _read(path)
        _check_kind(ds, path)
        open_sequences(ds)
        _check_patient(ds, identity, path)
        _refer(_referred_series(ds, identity, path), series)
        _check_names(ds, names, path)
        for keyword in _SEQUENCES:
            if ds.get(keyword) is None:
                setattr(ds, keyword, [])
        highest_numbers(ds)  # what is wrong with them is this file's fault
        ds.StructureSetDate, ds.StructureSetTime = date_and_time(identity, maker)
        _take_back_approval(ds, path)
    return ds


def _read(path: Path) -> pydicom.Dataset:
    read_header(path)  # within bounds, all sequences too: what passes may be taken as a whole
    with content_of(path) as content:
        bounded = BoundedFile(content, path, maximum_bytes=_MAXIMUM_BYTES)
        ds = pydicom.dcmread(cast("BinaryIO", bounded), force=True)
        check_whole(ds, content, path)
        return ds


def _check_kind(ds: pydicom.Dataset, path: Path) -> None:
    if text_of(ds, "SOPClassUID") != RTStructureSetStorage:
        raise UnsupportedFormatError(f"{path}: its SOPClassUID is not that of an RT Structure Set")
    if ds.file_meta.TransferSyntaxUID not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        raise UnsupportedFormatError(
            f"{path}: its TransferSyntaxUID is {ds.file_meta.TransferSyntaxUID.name}; to add to it, convert "
            "it to Implicit VR Little Endian (dcmconv +ti)"
        )


def _check_patient(ds: pydicom.Dataset, identity: pydicom.Dataset, path: Path) -> None:
    theirs, ours = text_of(ds, "PatientID"), text_of(identity, "PatientID")
    if theirs and ours and theirs != ours:
        raise InputError(
            f"{path}: its PatientID is not the series'; add to an RTSTRUCT of the same patient, or write a "
            "new one"
        )


def _referred_series(ds: pydicom.Dataset, identity: pydicom.Dataset, path: Path) -> pydicom.Dataset:
    """Return the item that refers to the series, in the frame of reference that it lies in."""
    frames = [
        frame
        for frame in ds.get("ReferencedFrameOfReferenceSequence") or []
        if text_of(frame, "FrameOfReferenceUID") == text_of(identity, "FrameOfReferenceUID")
    ]
    for series in (series for frame in frames for series in _series_of(frame)):
        if text_of(series, "SeriesInstanceUID") == text_of(identity, "SeriesInstanceUID"):
            return series
    what = "SeriesInstanceUID" if frames else "FrameOfReferenceUID"
    raise InputError(
        f"{path}: does not refer to the series' {what}; add to an RTSTRUCT of the same series, or write a "
        "new one"
    )


def _series_of(frame: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for study in frame.get("RTReferencedStudySequence") or []:
        yield from study.get("RTReferencedSeriesSequence") or []


def _refer(item: pydicom.Dataset, series: Series) -> None:
    """Add those slices to a referred series that it does not list."""
    listed = {
        (text_of(image, "ReferencedSOPInstanceUID"), text_of(image, "ReferencedFrameNumber"))
        for image in item.get("ContourImageSequence") or []
    }
    missing = [
        image_item(r)
        for r in series.references
        if (r.sop_instance_uid, "") not in listed  # which stands for all frames
        and (r.sop_instance_uid, str(r.frame or "")) not in listed
    ]
    if missing:
        item.ContourImageSequence = [*(item.get("ContourImageSequence") or []), *missing]


def _check_names(ds: pydicom.Dataset, names: Sequence[str], path: Path) -> None:
    present = {text_of(roi, "ROIName").casefold() for roi in ds.get("StructureSetROISequence") or []}
    for name in names:
        if name.casefold() in present:
            raise LabelError(f"{path}: has a structure {name!r} already; give ours another name (--names)")


def _take_back_approval(ds: pydicom.Dataset, path: Path) -> None:
    status = text_of(ds, "ApprovalStatus")
    if status not in ("", "UNAPPROVED"):
        _log.warning("%s: was %s; with structures added it is UNAPPROVED", path, status)
    ds.ApprovalStatus = "UNAPPROVED"
    for keyword in _OF_A_REVIEW:
        if keyword in ds:
            delattr(ds, keyword)
