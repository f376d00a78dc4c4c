"""A scan read, by itself or while something else goes on; what reads it needs no network."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thoar.core.errors import ResourceError
from thoar.datasets.scans import Scan, read_scan
from thoar.io.dicom.records import PLAIN, ReadOptions
from thoar.io.digest import digest_of
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.reader_warnings import warnings_about


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadCase:
    """A case that was read.

    Attributes:
        case: which.
        scan: what it holds.
        sha256: see :func:`thoar.io.digest.digest_of`.
        said: what the reader warned of.
        seconds: that this took.
    """

    case: InputCase
    scan: Scan
    sha256: str
    said: tuple[str, ...]
    seconds: float


def read_case(case: InputCase, options: ReadOptions = PLAIN, *, sha256: str | None = None) -> ReadCase:
    """Read a case.

    Args:
        case: which.
        options: what the reader of DICOM may do.
        sha256: of the input, where that is known already.

    Raises:
        InputError: or one of its kinds, naming the file, if the scan cannot be used.
        ResourceError: if memory or disk does not suffice.
    """
    began = time.perf_counter()
    with warnings_about({case.path: case.path.name}) as said, _memory_errors_explained(case.path):
        scan = read_scan(case.path, options)
    return ReadCase(
        case=case,
        scan=scan,
        sha256=sha256 or digest_of(case.path),
        said=tuple(said),
        seconds=time.perf_counter() - began,
    )


@contextmanager
def reading_begun(case: InputCase, options: ReadOptions = PLAIN) -> Iterator[Future[ReadCase]]:
    """Read a case in a thread while this one does something else, such as loading a model.

    Leaving waits for the reader, so that it can tidy up after itself.

    Args:
        case: which.
        options: what the reader of DICOM may do.

    Yields:
        What :func:`read_case` returns or raises.
    """
    with ThreadPoolExecutor(1, "read") as reader:
        yield reader.submit(read_case, case, options)


@contextmanager
def _memory_errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to read it") from error
