"""What any object derived from a series says: what it refers to, who made it, and when."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pydicom
from pydicom.config import disable_value_validation
from pydicom.uid import UID

from thoar.core.errors import InputError
from thoar.io.dicom.records import Series
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.verbatim import text_of

_log = logging.getLogger(__name__)

FROM_THE_SOURCE = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)
"""Attributes that a derived object repeats as the source has them (PS3.3 C.7.1, C.7.2, C.7.4)."""
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_DATE = re.compile(r"\d{8}")
_LONGEST = 64
"""Characters of an LO."""


def check_identifiers(series: Series, identity: pydicom.Dataset) -> None:
    """Refuse a series that lacks a UID that what is drawn on it refers to; warn of one against the rules.

    Raises:
        InputError: naming the file and the attribute.
    """
    file = series.references[0].file
    for keyword in _REQUIRED:
        uid = text_of(identity, keyword)
        if not uid:
            raise InputError(
                f"{file}: its series has no {keyword}, by which contours and masks refer to it; put it back "
                "(all slices the same), or write NIfTI instead"
            )
        if not UID(uid).is_valid:
            _log.warning("%s: its %s is against the rules of UIDs; written as it is", file, keyword)
    for reference in series.references:
        if not reference.sop_instance_uid:
            raise InputError(
                f"{reference.file}: has no SOPInstanceUID, by which contours and masks refer to their slice; "
                "put it back, or write NIfTI instead"
            )
    if not all(reference.sop_class_uid for reference in series.references):
        _log.warning("%s: its series has no SOPClassUID; referred to as CT Image Storage", file)


@contextmanager
def lenient() -> Iterator[None]:
    """Let values pass that the source has against the letter of the standard; we repeat, not judge, them.

    No warning of pydicom's is passed on: they quote attributes, which may be personal.
    """
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def date_and_time(identity: pydicom.Dataset, maker: Maker) -> tuple[str, str]:
    """Return the present date and time; the source series' own where bytes must be reproducible."""
    if maker.uid_seed is None:
        now = datetime.now().astimezone()
        return f"{now:%Y%m%d}", f"{now:%H%M%S}"
    pairs = [(text_of(identity, f"{of}Date"), text_of(identity, f"{of}Time")) for of in ("Series", "Study")]
    return next((pair for pair in pairs if _DATE.fullmatch(pair[0])), ("", ""))


def software_versions(maker: Maker) -> list[str]:
    """Return thoar's version, and the model's with the beginning of its checksum."""
    made_by = ["thoar " + (maker.software_version or "of unknown version")]
    if maker.model:
        made_by.append(f"{maker.model} {maker.model_version}".strip())
    return [_plain(text) for text in made_by]


def _plain(text: str) -> str:
    """Return text as a value of a text attribute: ASCII, so that the source's character set holds it."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:_LONGEST]
