"""What a written file says of its source, compared with the source: part of both self-checks."""

from collections.abc import Sequence

import pydicom

from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series

_OF_THE_SOURCE = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "FrameOfReferenceUID"),
)


def differing(header: pydicom.Dataset, series: Series) -> Sequence[str]:
    """Return the attributes of patient, study and frame of reference that are not the series' own."""
    identity = read_identity(series.identity)
    return [
        keyword
        for keyword in _OF_THE_SOURCE
        if str(identity.get(keyword) or "") != str(header.get(keyword) or "")
    ]
