"""Attribute values compared, and shown to people where they cannot be personal."""

import re
from collections import Counter
from collections.abc import Iterable

from pydicom.datadict import dictionary_VR, tag_for_keyword

_FREE_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_HARMLESS = ("ConvolutionKernel", "StackID")
_PATIENT = 0x0010
_NUMBERS = re.compile(r"[\d.,:+\-eEnaif\\\[\]' ]*")
_NO_NAME = re.compile(r"[^^=]*")
_FIT = {"UI": re.compile(r"[\d.]*")} | dict.fromkeys(
    ("DA", "DS", "DT", "FD", "FL", "IS", "SL", "SS", "TM", "UL", "US"), _NUMBERS
)
"""What values may look like, by value representation; a person's name has carets."""
_LONGEST = 64
_LISTED = 12


def is_personal(keyword: str) -> bool:
    """Say whether an attribute's values may tell who the patient is: all of group 0010, and free text."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag >> 16 == _PATIENT:
        return True
    return keyword not in _HARMLESS and dictionary_VR(tag) in _FREE_TEXT


def shown(value: str, keyword: str = "") -> str:
    r"""Return a value for a message: on one line, not too long, in quotes where empty.

    What is no number or UID, though by its keyword it should be, or has a name's carets may have come from
    anywhere in a damaged file, and is not shown.

    >>> shown("ORIGINAL\nPRIMARY")
    'ORIGINAL?PRIMARY'
    >>> shown("Doe^Jane", "Modality"), shown("17-B", "StudyInstanceUID")
    ('unfit text', 'unfit text')
    """
    vr = dictionary_VR(keyword)[:2] if keyword else ""
    if not _FIT.get(vr, _NO_NAME).fullmatch(value):
        return "unfit text"
    line = "".join(c if c.isprintable() else "?" for c in value)
    return (line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…") or "''"


def listed(keyword: str, values: Iterable[str]) -> str:
    """Return an attribute's distinct values, in order of their first, with the number of images of each.

    >>> listed("AcquisitionNumber", ["2", "1", "2"])
    '2 (2 images), 1 (1 images)'
    >>> listed("PatientName", ["a", "b"])
    '2 values, not shown as they may be personal'
    """
    counted = Counter(values)
    if is_personal(keyword):
        return f"{len(counted)} values, not shown as they may be personal"
    more = f", and {len(counted) - _LISTED} more" if len(counted) > _LISTED else ""
    return ", ".join(f"{shown(v, keyword)} ({n} images)" for v, n in list(counted.items())[:_LISTED]) + more


def chosen(keyword: str, value: str) -> str:
    """Return what somebody selected, for a message.

    >>> chosen("AcquisitionNumber", "2"), chosen("PatientName", "Jane")
    ('AcquisitionNumber=2', 'PatientName=…')
    """
    return f"{keyword}={'…' if is_personal(keyword) else shown(value)}"


def same_value(found: str, wanted: str) -> bool:
    """Say whether an attribute has the value that somebody typed.

    >>> same_value("2.0 ", "2")
    True
    """
    if found.strip() == wanted.strip():
        return True
    try:
        return float(found) == float(wanted)
    except ValueError:
        return False
