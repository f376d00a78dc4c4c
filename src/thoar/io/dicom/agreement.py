"""What all slices of one volume have in common, and what of it contradicts itself."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom.uid import CTImageStorage

from thoar.core.errors import IncompleteSeriesError, UnsupportedFormatError
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.attributes import Slice, naming_faults, text
from thoar.io.dicom.kinds import first_of
from thoar.io.dicom.records import ReadOptions, SliceReference
from thoar.io.dicom.values import is_personal, shown

_log = logging.getLogger(__name__)

_COMMON = (
    *("Modality", "PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("Rows", "Columns"),
)
_TIES = ("StudyInstanceUID", "FrameOfReferenceUID")
_DOWN_XYZ = {"S": (0, 1, 0), "P": (0, -1, 0), "DL": (1, 0, 0), "DR": (-1, 0, 0)}
"""Where the floor is for a patient who lies so (PatientPosition, PS3.3 C.7.3.1.1.2), in patient axes."""
_AXIAL = 0.8
_OPPOSITE = -0.5


def check_modality(slices: Sequence[Slice], options: ReadOptions) -> None:
    """Refuse what is no CT; where another modality was asked for, warn.

    Raises:
        UnsupportedFormatError: for any other modality.
    """
    others = [item for item in slices if text(item, "Modality") != "CT"]
    if not others:
        return
    found = f"{first_of(others)}: Modality is {shown(text(others[0], 'Modality'))}, not CT"
    if not options.any_modality:
        raise UnsupportedFormatError(f"{found}; give a CT series, or take it for one (--any-modality)")
    _log.warning("%s; taken as asked, though its values are no HU", found)


def check_agreement(slices: Sequence[Slice]) -> None:
    """Refuse images of different patients, studies, frames of reference, sizes or modalities.

    Raises:
        IncompleteSeriesError: if one differs from most others.
    """
    for keyword in _COMMON:
        values = [text(item, keyword) for item in slices]
        usual = Counter(values).most_common(1)[0][0]
        for item, value in zip(slices, values, strict=True):
            if value != usual:
                other = slices[values.index(usual)]
                found = (
                    ""
                    if is_personal(keyword)
                    else f" ({shown(value, keyword)}; there {shown(usual, keyword)})"
                )
                raise IncompleteSeriesError(
                    f"{item.name}: its {keyword} differs from that of {other.short_name} and most "
                    f"others{found}; the images make no one volume: take out what does not belong"
                )
    for keyword in _TIES:
        if not text(slices[0], keyword):
            _log.warning(
                "%s: no %s; nothing ties it to other objects of the patient", first_of(slices), keyword
            )


def warn_of_posture(item: Slice, planes: SlicePlanes) -> None:
    """Warn where PatientPosition has axial images upside down; ImageOrientationPatient is believed."""
    position = text(item, "PatientPosition").strip().upper()
    down = _DOWN_XYZ.get(position[2:])
    if down is None or abs(planes.normal_xyz[2]) < _AXIAL:
        return
    if float(planes.along_column_xyz @ np.array(down)) < _OPPOSITE:
        _log.warning(
            "%s: PatientPosition is %s, but by ImageOrientationPatient the images show the patient the other "
            "way up; the latter is believed",
            item.name,
            position,
        )


def references_of(slices: Sequence[Slice]) -> tuple[SliceReference, ...]:
    """Return how other objects name the slices, with a warning where their files do not say it all."""
    found = tuple(_reference(item) for item in slices)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        without = [item for item in slices if not text(item, keyword)]
        if without:
            _log.warning(
                "%s: no %s; the file meta information's is taken, and CT Image Storage for a missing class",
                first_of(without),
                keyword,
            )
    return found


def _reference(item: Slice) -> SliceReference:
    with naming_faults(item.path):
        meta = item.header.file_meta
        sop_class = text(item, "SOPClassUID") or str(meta.get("MediaStorageSOPClassUID") or CTImageStorage)
        instance = text(item, "SOPInstanceUID") or str(meta.get("MediaStorageSOPInstanceUID") or "")
    return SliceReference(
        file=item.path.name,
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        frame=None if item.frame is None else item.frame + 1,
    )
