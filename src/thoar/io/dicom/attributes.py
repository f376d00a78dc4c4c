"""A slice, its attributes wherever the file keeps them, and faults that name the file."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation

from thoar.core.errors import InputError, ThoarError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """One slice of a series: a file of its own, or one frame of a multi-frame file.

    Attributes:
        path: the file.
        header: the file's attributes, without the pixels; all frames of a file share it.
        frame: which frame, from 0; None where the file is one slice.
    """

    path: Path
    header: pydicom.Dataset
    frame: int | None = None

    @property
    def name(self) -> str:
        """The slice as messages call it: its path, with the frame's number, counted from 1."""
        return str(self.path) if self.frame is None else f"{self.path} frame {self.frame + 1}"


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
    if len(found) != count or not all(abs(v) < float("inf") for v in found):
        raise kind(f"{item.name}: {keyword} is {value}, not {count} numbers; export the series again")
    return found


def attribute(item: Slice, keyword: str) -> object:
    """Return an attribute's value, or None where the file has none.

    Of a frame, its own functional groups are asked first, then the shared ones, then the file.
    """
    with naming_faults(item.path):
        if item.frame is not None:
            for group in _functional_groups(item.header, item.frame):
                for element in group:
                    if element.VR == "SQ" and element.value and keyword in element.value[0]:
                        return element.value[0].get(keyword)
        return item.header.get(keyword)


def _functional_groups(header: pydicom.Dataset, frame: int) -> Iterator[pydicom.Dataset]:
    """Yield the frame's own functional groups, then those that all frames share (PS3.3 C.7.6.16)."""
    own = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence")
    if own:
        yield own[frame]
    if shared:
        yield shared[0]


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
        except Exception as error:
            raise InputError(
                f"{path}: cannot be read as DICOM ({type(error).__name__}); it is damaged or cut short: "
                "fetch it again"
            ) from error
    if caught:
        _log.info("%s: pydicom had %d remarks", path, len(caught))
