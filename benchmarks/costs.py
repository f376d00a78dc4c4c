"""Other people's patience and memory: commands that are run one by one, and what each took."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

MIB = 1 / 1024  # of the KiB in which the kernel counts
UNFINISHED = 9
"""Exit code of ``thoar train`` where ``--max-time`` ended it with a checkpoint."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one command took.

    Attributes:
        wall_s: by the clock, beside whatever else ran.
        cpu_s: of processor time, user and system: what to compare on a shared machine.
        peak_mib: largest resident memory, the libraries' own included; of its largest process.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float


def measured(
    line: Sequence[object],
    log: Path,
    *,
    threads: int = 1,
    settings: Mapping[str, str] | None = None,
    also: Sequence[int] = (),
) -> Cost:
    """Run a program on so many threads and return its cost; its output goes into a log.

    Args:
        line: the program and its arguments.
        log: of both its streams.
        threads: of its arithmetic.
        settings: further environment variables of the program.
        also: exit codes that are as good as 0.

    Raises:
        SystemExit: if it fails.
    """
    words = [str(word) for word in line]
    given = os.environ | {"OMP_NUM_THREADS": str(threads)} | dict(settings or {})
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env=given)  # noqa: S603 (ours to choose)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, *also):
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}; see {log}")
    return Cost(
        wall_s=time.monotonic() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss * MIB,
    )


def command(words: Sequence[object], log: Path, *, threads: int = 1, also: Sequence[int] = ()) -> Cost:
    """Run a command of thoar, as :func:`measured` does."""
    return measured([sys.executable, "-m", "thoar", *words], log, threads=threads, also=also)
