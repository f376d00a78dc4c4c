"""A slice, its attributes wherever the file keeps them, and faults that name the file."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue

from thoar.core.errors import InputError, ThoarError
from thoar.io.dicom.values import shown

_log = logging.getLogger(__name__)

_LARGEST = 1e12
"""No attribute we reckon with is larger; the squares of much larger numbers overflow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """One slice of a series: a file of its own, or one frame of a multi-frame file.

    Attributes:
        path: the file.
        header: the file's attributes, without the pixels; all frames of a file share it.
        frame: which frame, from 0; None where the file is one slice.
        pixels_at: where the pixels' element begins in the file (``parse.content_of``); None where the file
            ends before.
        groups: of a frame, by tag, the item of its own or of the shared functional groups that has the
            attribute (PS3.3 C.7.6.16).

    Raises:
        InputError: if the file has functional groups, but none for the frame.
    """

    path: Path
    header: pydicom.Dataset
    frame: int | None = None
    pixels_at: int | None = None
    groups: Mapping[int, pydicom.Dataset] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", {} if self.frame is None else _functional_groups(self, self.frame))

    @property
    def name(self) -> str:
        """The slice as messages call it: its path, with the frame's number, counted from 1."""
        return str(self.path.parent / self.short_name)

    @property
    def short_name(self) -> str:
        """The same without the folder, for a second slice in a message."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"


def numbers(
    item: Slice, keyword: str, count: int, *, kind: type[InputError] = InputError
) -> tuple[float, ...]:
    """Return an attribute of so many finite numbers.

    Raises:
        InputError: of the given kind, if it is absent or anything else.
    """
    value = attribute(item, keyword)
    if value is None or value == "":
        raise kind(f"{item.name}: {keyword} is missing; export the series again")
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        found = tuple(float(str(v)) for v in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(abs(v) < _LARGEST for v in found):
        raise kind(
            f"{item.name}: {keyword} is {shown(str(value), keyword)}, not {count} numbers; export the series "
            "again"
        )
    return found


def attribute(item: Slice, keyword: str) -> object:
    """Return an attribute's value, or None where the file has none.

    Of a frame, its own functional groups are asked first, then the shared ones, then the file.
    """
    with naming_faults(item.path):
        return _value(item, keyword)


def text(item: Slice, keyword: str) -> str:
    """Return an attribute as DICOM writes it, its values between backslashes; empty where there is none.

    It may be personal: whoever shows it has to know that it is not.
    """
    with naming_faults(item.path):
        value = _value(item, keyword)
        if value is None:
            return ""
        return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _value(item: Slice, keyword: str) -> object:
    return item.groups.get(tag_for_keyword(keyword) or 0, item.header).get(keyword)


def _functional_groups(item: Slice, frame: int) -> dict[int, pydicom.Dataset]:
    found: dict[int, pydicom.Dataset] = {}
    with naming_faults(item.path):
        own = item.header.get("PerFrameFunctionalGroupsSequence")
        shared = item.header.get("SharedFunctionalGroupsSequence")
        for group in (own[frame] if own else (), shared[0] if shared else ()):
            for element in group:
                if element.VR == "SQ" and element.value:
                    for tag in element.value[0].keys():  # noqa: SIM118 (a Dataset gives its elements)
                        found.setdefault(tag, element.value[0])
    return found


@contextmanager
def naming_faults(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and its decoders let out into an InputError that names the file.

    Values are not held against the letter of the standard, and no warning of theirs is passed on: they
    quote attributes, which may be personal; only their number is logged.
    """
    with disable_value_validation(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ThoarError:
            raise
        except MemoryError as error:
            raise InputError(
                f"{path}: takes more memory than reading a CT image may; it is damaged, or no CT image"
            ) from error
        except Exception as error:
            raise InputError(
                f"{path}: cannot be read as DICOM ({type(error).__name__}); it is damaged or cut short: "
                "fetch it again"
            ) from error
    if caught:
        _log.info("%s: pydicom had %d remarks", path, len(caught))
