"""Freed memory that the C library keeps, given back to the system."""

import ctypes
import functools
import sys
from collections.abc import Callable


def release_heap() -> None:
    """Give the heap's free pages back; where the C library is not glibc, do nothing.

    glibc keeps the holes that a step's maps leave between each other. Scans of other shapes do not fit into
    them, so a run's memory would grow to two or three times what any of its steps needs.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
