"""A data set as a file in Implicit VR Little Endian, what was read going out as the bytes it came in as.

pydicom decodes and encodes anew the values of a data set whose encoding or character set differs from that of
the file; names in odd character sets do not survive it, and numbers take their time.
"""

import struct
from collections.abc import Sequence

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian

_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_LAST_GROUP_WITH_LENGTH = 6


def dicom_file(ds: pydicom.Dataset) -> bytes:
    """Return a data set as a file, its preamble empty; all its own values must be ASCII."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue() + encoded(ds)


def encoded(ds: pydicom.Dataset) -> bytes:
    """Return the elements of a data set or of a sequence's item, without the retired group lengths."""
    return b"".join(
        _element(ds.get_item(tag))
        for tag in sorted(ds.keys())
        if tag.element or tag.group <= _LAST_GROUP_WITH_LENGTH
    )


def text_of(ds: pydicom.Dataset, keyword: str) -> str:
    """Return a value as text without touching it; empty where absent. Only its ASCII characters are right."""
    element = ds.get_item(keyword) if keyword in ds else None
    value = None if element is None else element.value
    text = (
        value.decode("ascii", "replace") if isinstance(value, bytes) else str("" if value is None else value)
    )
    return text.strip(" \0")


def open_sequences(ds: pydicom.Dataset) -> None:
    """Take sequences apart, whose encoding the file's decides, down to values, which stay as they are."""
    for element in list(ds.elements()):
        if element.VR == "SQ":
            for item in ds[element.tag].value:
                open_sequences(item)


def _element(element: DataElement | RawDataElement) -> bytes:
    if isinstance(element, RawDataElement):
        value = element.value or b""
    elif element.VR == "SQ":
        items = [encoded(item) for item in element.value]
        value = b"".join(_ITEM + struct.pack("<I", len(item)) + item for item in items)
    else:
        value = _ascii(element.value)
    value += (b"\0" if element.VR == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HHI", element.tag.group, element.tag.element, len(value)) + value


def _ascii(value: object) -> bytes:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return "\\".join("" if v is None else str(v) for v in values).encode("ascii", "replace")
