"""Sequences parsed within bounds at once, where pydicom would parse them on being asked, without any."""

import io
from typing import BinaryIO, cast

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_sequence

from thoar.io.dicom.bounded import BoundedFile


def open_sequences(header: pydicom.Dataset, file: BoundedFile) -> None:
    """Parse what a header's sequences hold, all the way down; other elements stay as they are.

    Args:
        header: as read, its values not yet decoded.
        file: whose bounds hold for all sequences together; it is turned from one to the next.

    Raises:
        InputError: if they hold too much, or a length in them is wrong.
    """
    left = [header]
    while left:
        dataset = left.pop()
        for element in list(dataset.values()):
            if isinstance(element, RawDataElement) and element.value and _is_sequence(element):
                items = _items(element, dataset, file)
                dataset[element.tag] = DataElement(element.tag, "SQ", items, already_converted=True)
                left.extend(items)
            elif element.VR == "SQ":
                left.extend(cast("pydicom.Sequence", element.value or ()))


def _is_sequence(element: RawDataElement) -> bool:
    if element.VR in (None, "UN") and dictionary_has_tag(element.tag):
        return dictionary_VR(element.tag) == "SQ"
    return element.VR == "SQ"


def _items(element: RawDataElement, dataset: pydicom.Dataset, file: BoundedFile) -> pydicom.Sequence:
    value = cast("bytes", element.value)
    file.turn_to(io.BytesIO(value))
    return read_sequence(
        cast("BinaryIO", file),
        element.is_implicit_VR,
        element.is_little_endian,
        len(value),
        dataset.original_character_set,
    )
