"""The reader process: one series read with little memory and streamed to the parent, slice by slice.

``io/dicom/process.py`` starts it; nothing else should import it.
"""

import importlib
import io
import logging
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import msgspec

from thoar.core import errors
from thoar.core.errors import InputError, ThoarError, UnsupportedFormatError, foreseen
from thoar.io.dicom.process_messages import (
    Done,
    Fault,
    Message,
    Opened,
    Remark,
    Voxels,
    receive_request,
    send,
    to_bytes,
    to_text,
)
from thoar.io.dicom.records import ReadOptions, SliceReference

MAXIMUM_DATA_BYTES = 440 << 20
"""Memory beside code; a series of 3,000 slices takes less than half of it."""

_REPEATS = 3
"""So many log lines of one kind are passed on each; of further ones, only their number."""


def serve() -> None:
    """Read one request from standard input, answer it on standard output, and return.

    Whatever else writes to standard output goes to standard error instead.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    _limit_memory()
    output = _own_output()
    request = receive_request(os.fdopen(0, "rb"))
    relay = _Relay(output)
    logging.getLogger("thoar").addHandler(relay)
    logging.getLogger("thoar").setLevel(logging.DEBUG)
    last = _answer(Path(to_text(request.path)), request.options, output)
    relay.count_repeats()
    send(output, last)


def _answer(path: Path, options: ReadOptions, output: io.BufferedIOBase) -> Message:
    """Send the series; return what is left to say at the end."""
    try:
        _send_series(path, options, output)
    except ThoarError as error:
        return _fault(error)
    except BrokenPipeError:  # the parent is gone
        raise
    except ModuleNotFoundError as error:
        return _fault(UnsupportedFormatError(f"{path}: reading DICOM needs {error.name}; install it"))
    except Exception as error:  # noqa: BLE001 (whatever a damaged file brings about must reach the parent typed)
        kind = type(error).__name__
        return _fault(
            foreseen(error, path) or InputError(f"{path}: cannot be read as a DICOM series ({kind})")
        )
    return Done()


def _send_series(path: Path, options: ReadOptions, output: io.BufferedIOBase) -> None:
    module = importlib.import_module("thoar.io.dicom.series")
    with module.open_series(path, options) as series:
        planes = series.planes
        opened = Opened(
            origins_xyz_mm=planes.origins_xyz_mm.tolist(),
            along_row_xyz=planes.along_row_xyz.tolist(),
            along_column_xyz=planes.along_column_xyz.tolist(),
            spacing_yx_mm=planes.spacing_yx_mm,
            shape_yx=planes.shape_yx,
            references=tuple(map(_printable, series.references)),
            identity=series.identity,
        )
        send(output, opened)
        for plane in series.voxels:
            whole = plane.dtype.kind == "i"
            send(output, Voxels(whole=whole, data=plane.astype("<i2" if whole else "<f4").tobytes()))


def _printable(reference: SliceReference) -> SliceReference:
    """Return a reference whose file's name is text, whatever bytes the file system has for it."""
    return msgspec.structs.replace(reference, file=reference.file.encode(errors="replace").decode())


def _fault(error: ThoarError) -> Fault:
    kind = next(parent for parent in type(error).__mro__ if parent.__module__ == errors.__name__)
    return Fault(kind=kind.__name__, text=to_bytes(str(error)))


class _Relay(logging.Handler):
    """Sends log lines to the parent, a few of each kind."""

    def __init__(self, output: io.BufferedIOBase) -> None:
        super().__init__()
        self._output, self._counts, self._last = output, Counter[str](), dict[str, logging.LogRecord]()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        if record.levelno > logging.DEBUG:
            self._counts[record.msg] += 1
            self._last[record.msg] = record
            if self._counts[record.msg] > _REPEATS:
                return
        self._send(record, record.getMessage())

    def count_repeats(self) -> None:
        """Say how many lines were not sent."""
        for template, count in self._counts.items():
            if count > _REPEATS:
                last = self._last[template]
                self._send(last, f"{last.getMessage()}: the last of {count} such remarks")

    def _send(self, record: logging.LogRecord, text: str) -> None:
        send(self._output, Remark(logger=record.name, level=record.levelno, text=to_bytes(text)))


def _own_output() -> io.BufferedIOBase:
    """Return standard output for messages alone; what libraries print there goes to standard error."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _limit_memory() -> None:
    """Let the system refuse memory beyond the bound, where it can, and write no core file of a scan."""
    try:
        resource = importlib.import_module("resource")
    except ModuleNotFoundError:  # Windows
        return
    for name, most in (("RLIMIT_DATA", MAXIMUM_DATA_BYTES), ("RLIMIT_CORE", 0)):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        bounded = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bounded, hard))
