"""The data set of an RT Structure Set (PS3.3 A.19) but for its structures."""

import pydicom
from pydicom.uid import RTStructureSetStorage

from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series
from thoar.io.structures.derived import FROM_THE_SOURCE, check_identifiers, date_and_time, software_versions
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.rtstruct_items import image_item
from thoar.io.structures.verbatim import text_of

NOTICE = "For research. A qualified person must check every contour before any use."
_EMPTY_IF_UNKNOWN = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "PositionReferenceIndicator",
    "OperatorsName",
)
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, yet still what a study is referred to by in an RTSTRUCT."""
_SERIES_NUMBER = 9002


def new_structure_set(series: Series, maker: Maker) -> pydicom.Dataset:
    """Return a structure set without structures, on the patient, study and frame of reference of a series.

    Raises:
        InputError: if the series lacks a UID that an RTSTRUCT refers to.
    """
    identity = read_identity(series.identity)
    check_identifiers(series, identity)
    ds = pydicom.Dataset()
    for keyword in FROM_THE_SOURCE:
        if keyword in identity:
            ds[keyword] = identity.get_item(keyword)
    for keyword in _EMPTY_IF_UNKNOWN:
        if keyword not in ds:
            setattr(ds, keyword, None)
    ds.SOPClassUID = RTStructureSetStorage
    ds.Modality, ds.SeriesDescription = "RTSTRUCT", "Contours by thoar, not approved"
    ds.Manufacturer = ds.ManufacturerModelName = "thoar"
    ds.SoftwareVersions = software_versions(maker)
    ds.SeriesNumber = _SERIES_NUMBER
    ds.StructureSetLabel, ds.StructureSetName = "thoar", "Contours by thoar, not approved"
    ds.StructureSetDescription = NOTICE
    ds.StructureSetDate, ds.StructureSetTime = date_and_time(identity, maker)
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series, identity)]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    return ds


def _frame_of_reference(series: Series, identity: pydicom.Dataset) -> pydicom.Dataset:
    of_series = pydicom.Dataset()
    of_series.SeriesInstanceUID = text_of(identity, "SeriesInstanceUID")
    of_series.ContourImageSequence = [image_item(reference) for reference in series.references]
    study = pydicom.Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = text_of(identity, "StudyInstanceUID")
    study.RTReferencedSeriesSequence = [of_series]
    frame = pydicom.Dataset()
    frame.FrameOfReferenceUID = text_of(identity, "FrameOfReferenceUID")
    frame.RTReferencedStudySequence = [study]
    return frame
