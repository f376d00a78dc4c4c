"""Whose series it is, and the like: what an object derived from a series repeats of it, as bytes."""

from io import SEEK_END, BytesIO

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
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
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Attributes of the patient, study, series and frame of reference (PS3.3 C.7.1 to C.7.4), and what its
pixels have lost (C.7.6.1.1.5), by ascending tag: text all of them, whose bytes no transfer syntax changes."""
_LONGEST = 0xFFFE


def identity_of(header: pydicom.Dataset) -> bytes:
    """Return those of the ``KEPT`` attributes that a file has, as a DICOM file in memory.

    Text keeps the file's own bytes, whatever its character set and transfer syntax, so long as the header is
    fresh: what somebody asked it for, pydicom has decoded. An odd length is evened; a value too long for its
    kind is left out.
    """
    empty = pydicom.Dataset()
    empty.preamble = bytes(128)
    empty.file_meta = FileMetaDataset()
    empty.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kept = DicomBytesIO()
    empty.save_as(kept, implicit_vr=False, little_endian=True)
    kept.is_little_endian, kept.is_implicit_VR = True, False
    kept.seek(0, SEEK_END)
    for keyword in KEPT:
        if keyword in header:
            _write(kept, keyword, header=header)
    return kept.getvalue()


def read_identity(identity: bytes) -> pydicom.Dataset:
    """Return the attributes that :func:`identity_of` kept; they may be copied as they are."""
    return pydicom.dcmread(BytesIO(identity))


def _write(kept: DicomBytesIO, keyword: str, *, header: pydicom.Dataset) -> None:
    element, vr = header.get_item(keyword), dictionary_VR(keyword)
    if not isinstance(element, RawDataElement):
        write_data_element(kept, header[keyword], header.get("SpecificCharacterSet"))
        return
    value = element.value or b""
    value += b"" if len(value) % 2 == 0 else b"\0" if vr == "UI" else b" "
    if len(value) <= _LONGEST:
        write_data_element(kept, element._replace(VR=vr, value=value))
