"""A series read in a process of its own: what is wrong with a file cannot bring this process down.

The reader process imports neither torch nor more of thoar than it needs, may take little memory, and is
ended when it stands still.
"""

import io
import json
import logging
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32, Int16

from thoar.core import errors
from thoar.core.errors import InputError, ThoarError
from thoar.core.slices import SliceStack
from thoar.io.dicom.process_messages import (
    Done,
    Fault,
    Message,
    Opened,
    Remark,
    Request,
    Voxels,
    receive,
    send,
    to_bytes,
    to_text,
)
from thoar.io.dicom.records import PLAIN, ReadOptions, Series
from thoar.io.grids import MAXIMUM_VOXELS

PATIENCE_S = 60.0
"""A reader that says nothing for so long is ended; it says which file it turns to next."""

_START = (
    "import os, sys, json; sys.path[:], settings = json.loads(sys.argv[1]); os.environ.update(settings); "
    "from thoar.io.dicom.process_worker import serve; serve()"
)
"""The reader inherits this process's environment unread, and settles its own threads and folder first."""
_AHEAD = 4
"""Slices that may wait to be taken over."""
_FORGET_S = 10.0
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_FOLDERS = ("TMPDIR", "TEMP", "TMP")

Inbox = queue.Queue[Message | InputError | None]


def read_series(path: Path, options: ReadOptions = PLAIN, *, patience_s: float = PATIENCE_S) -> Series:
    """Read the series that a folder, zip archive or multi-frame file holds, in a process of its own.

    Log lines of that process come from here, in the calling thread; of many alike, a few and their number.

    Args:
        path: as ``series.open_series`` takes it.
        options: likewise.
        patience_s: so long may nothing come before the file is given up.

    Raises:
        InputError: or one of its kinds, as ``series.open_series`` does; also if reading a file takes too much
            memory, kills the reader, or does not end.
        ResourceError: if the disk has no room for an archive's files.
    """
    with tempfile.TemporaryDirectory(prefix="thoar-") as scratch, _reader(scratch) as (child, inbox):
        messages = _answers(
            child, inbox, Request(path=to_bytes(str(path)), options=options), patience_s=patience_s
        )
        opened = next(messages, None)
        if not isinstance(opened, Opened):
            raise InputError(f"{path}: its reader sent no series")
        planes = opened.planes()
        return Series(
            stack=SliceStack(
                voxels=_stacked(messages, (len(planes), *planes.shape_yx), path=path), planes=planes
            ),
            references=opened.references,
            identity=opened.identity,
        )


@contextmanager
def _reader(scratch: str) -> Iterator[tuple[subprocess.Popen[bytes], Inbox]]:
    """Start a reader process, and a thread that takes its messages; on leaving, both have ended."""
    settings = {**dict.fromkeys(_THREADS, "1"), **dict.fromkeys(_FOLDERS, scratch)}
    start = json.dumps([[place for place in sys.path if place], settings])
    child = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-P", "-c", _START, start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    inbox: Inbox = queue.Queue(_AHEAD)
    pump = threading.Thread(target=_pump, args=(child.stdout, inbox), daemon=True)
    pump.start()
    try:
        yield child, inbox
    finally:
        child.kill()
        while pump.is_alive():
            with suppress(queue.Empty):
                inbox.get(timeout=0.1)
        child.communicate()


def _pump(stream: io.BufferedIOBase, inbox: Inbox) -> None:
    """Put what comes into the inbox, and None at the end."""
    try:
        while (message := receive(stream)) is not None:
            inbox.put(message)
    except InputError as error:
        inbox.put(error)
    except ValueError:  # the stream was closed
        pass
    inbox.put(None)


def _answers(
    child: subprocess.Popen[bytes], inbox: Inbox, request: Request, *, patience_s: float
) -> Iterator[Opened | Voxels]:
    """Yield what a reader finds; log what it remarks, and raise what it refuses."""
    path, last = to_text(request.path), "its start"
    with suppress(OSError):  # it is gone; its end says so
        send(cast("io.BufferedIOBase", child.stdin), request)
    while True:
        try:
            message = inbox.get(timeout=patience_s)
        except queue.Empty:
            raise InputError(
                f"{path}: its reader stood still for {patience_s:g} s at {last}; the file is damaged: "
                "fetch it again, or take it out of the series"
            ) from None
        match message:
            case Opened() | Voxels():
                yield message
            case Remark():
                last = to_text(message.text) if message.level == logging.DEBUG else last
                logging.getLogger(message.logger).log(message.level, "%s", to_text(message.text))
            case Done():
                return
            case Fault():
                raise _error_of(message)
            case _:
                raise InputError(f"{path}: {message or _end_of(child)}, at {last}")


def _error_of(fault: Fault) -> ThoarError:
    """Return a reader's error; only classes of the one tree of errors come back."""
    kind = getattr(errors, fault.kind, InputError)
    kind = kind if isinstance(kind, type) and issubclass(kind, ThoarError) else InputError
    return kind(to_text(fault.text))


def _end_of(child: subprocess.Popen[bytes]) -> str:
    code = child.wait(_FORGET_S)
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    return f"its reader process ended {how}"


def _stacked(
    messages: Iterator[Opened | Voxels], shape_zyx: tuple[int, int, int], *, path: Path
) -> Int16[np.ndarray, "z y x"] | Float32[np.ndarray, "z y x"]:
    """Return the slices as one array: int16 where all are whole, else float32.

    Raises:
        InputError: if they are more than fit into memory, or not as many or as large as announced.
    """
    if np.prod(shape_zyx, dtype=object) > MAXIMUM_VOXELS:
        raise InputError(
            f"{path}: holds {' × '.join(map(str, shape_zyx))} voxels (slices × Rows × Columns); at most "
            f"{MAXIMUM_VOXELS} are read: crop the series or leave slices out"
        )
    voxels, count = np.empty(shape_zyx, dtype=np.int16), 0
    for message in messages:
        dtype = np.dtype("<i2" if isinstance(message, Voxels) and message.whole else "<f4")
        if (
            not isinstance(message, Voxels)
            or count == len(voxels)
            or len(message.data) != voxels[0].size * dtype.itemsize
        ):
            raise InputError(f"{path}: its reader sent other slices than it announced")
        if dtype.kind == "f" and voxels.dtype.kind == "i":
            voxels = voxels.astype(np.float32)
        voxels[count] = np.frombuffer(message.data, dtype).reshape(voxels[0].shape)
        count += 1
    if count != len(voxels):
        raise InputError(f"{path}: its reader sent {count} of {len(voxels)} slices")
    return voxels
