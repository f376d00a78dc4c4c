"""Whose series it is: the attributes that an object derived from a series repeats, as bytes."""

from io import BytesIO

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

KEPT = (
    "SpecificCharacterSet",
    "StudyDate",
    "SeriesDate",
    "StudyTime",
    "SeriesTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)
"""Attributes of the patient, study, series and frame of reference (PS3.3 C.7.1 to C.7.4)."""


def identity_of(header: pydicom.Dataset) -> bytes:
    """Return those of the ``KEPT`` attributes that a file has, as a DICOM file in memory.

    Text keeps the file's own bytes: it is written as it was read, whatever its character set.
    """
    kept = pydicom.Dataset()
    kept.file_meta = FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in KEPT:
        if keyword in header:
            kept[keyword] = header.get_item(keyword)
    buffer = BytesIO()
    kept.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def read_identity(identity: bytes) -> pydicom.Dataset:
    """Return the attributes that :func:`identity_of` kept; they may be copied as they are."""
    return pydicom.dcmread(BytesIO(identity), force=True)
