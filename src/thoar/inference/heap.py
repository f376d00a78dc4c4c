"""What the C library does with memory that slabs give back."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's mallopt(3)."""

KEPT_PIECES = 64 * 2**20
"""Slabs are smaller, maps that live longer are larger."""

KEPT_IN_ALL = 256 * 2**20


def keep_freed_slabs() -> None:
    """Let pieces as large as slabs be used again by this process instead of going back to the system.

    The system fills every page anew before it gives it out, which costs as much as many a convolution
    (docs/explanation/measurements.md#inference). Whole maps go back as before. Does nothing
    where the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_THRESHOLD, KEPT_PIECES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_IN_ALL)
