"""The record of a training run, ``run.json``: what ran on what, how far it came, what cannot be repeated."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import torch

from thoar.core.configuration import Train
from thoar.core.errors import InputError
from thoar.core.versions import version_of
from thoar.io.atomic import atomic_bytes

RECORD = "run.json"
LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "safetensors")

Outcome = Literal["running", "finished", "stopped", "failed"]


class RunRecord(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One run.

    Attributes:
        schema: version of this layout.
        thoar: version of the program.
        versions: of the libraries that computed and read.
        commit: of the program's sources, where they are a git checkout.
        command: how it was called the last time.
        pid: of the process that leads the run, or led it.
        host: where.
        started: first start, UTC.
        ended: last end; None while it runs, or after it was killed.
        outcome: ``running`` also where it was killed.
        error: what ended it, where it failed.
        seed: of every random choice.
        device: its kind and name.
        devices: as asked for.
        processes: that shared each batch.
        threads: of one process on a CPU.
        precision: of the network's arithmetic.
        deterministic: whether operations that may differ between two runs were refused.
        not_reproducible: reasons why another run may differ in bits; none where it may not.
        data_sha256: of all cases, what their labels mean and how they were prepared.
        training: ids of the cases trained on.
        validation: ids of those held out.
        fold: number of the fold, from 0; None for a run of its own.
        initial_model: what it began with.
        epochs_done: over both stages.
        epochs: of both stages.
        steps: done.
        seconds: spent in epochs, over all starts.
        seconds_per_step: of the last epoch.
        data_share: part of the last epoch spent waiting for cases.
        peak_memory_mib: of a process, or of its GPU.
        float32_steps: steps that were computed anew in single precision, since half had overflowed.
        warnings: what a person should know.
    """

    schema: Literal["thoar.training-run/1"] = "thoar.training-run/1"
    thoar: str
    versions: dict[str, str]
    commit: str | None
    command: tuple[str, ...]
    pid: int
    host: str
    started: str
    ended: str | None = None
    outcome: Outcome = "running"
    error: str | None = None
    seed: int
    device: str
    devices: str
    processes: int
    threads: int
    precision: str
    deterministic: bool
    not_reproducible: tuple[str, ...]
    data_sha256: str = ""
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    fold: int | None = None
    initial_model: str | None = None
    epochs_done: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    seconds_per_step: float | None = None
    data_share: float | None = None
    peak_memory_mib: float | None = None
    float32_steps: int = 0
    warnings: tuple[str, ...] = ()


def new_record(train: Train, *, device: torch.device, devices: str, processes: int, epochs: int) -> RunRecord:
    """Return the record of a run that begins now, in this process."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    return RunRecord(
        thoar=version_of("thoar"),
        versions={"python": platform.python_version(), **{name: version_of(name) for name in LIBRARIES}},
        commit=_commit(),
        command=tuple(Path(word).name if n == 0 else word for n, word in enumerate(sys.argv)),
        pid=os.getpid(),
        host=platform.node(),
        started=now(),
        seed=train.seed,
        device=_named(device),
        devices=devices,
        processes=processes,
        threads=torch.get_num_threads(),
        precision=train.precision,
        deterministic=deterministic,
        not_reproducible=_not_reproducible(
            train, device=device, deterministic=deterministic, processes=processes
        ),
        epochs=epochs,
    )


def read_record(run: Path) -> RunRecord | None:
    """Return a run's record; None where there is none.

    Raises:
        InputError: if it is damaged.
    """
    path = run / RECORD
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no record of a training run ({error})") from error


def write_record(run: Path, record: RunRecord) -> None:
    """Write a run's record, whole or not at all."""
    atomic_bytes(run / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the most memory used so far: of the GPU, or resident of this process; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # the other count takes over what the parent process had
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource  # noqa: PLC0415 (absent on Windows)
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def _not_reproducible(
    train: Train, *, device: torch.device, deterministic: bool, processes: int
) -> tuple[str, ...]:
    reasons: Sequence[tuple[bool, str]] = (
        (
            device.type != "cpu" and not deterministic,
            f"{device.type} may add in another order each time; --deterministic refuses such operations",
        ),
        (
            device.type == "cpu" and train.threads == 0,
            "train.threads = 0 takes as many threads as the machine offers, and sums depend on their number",
        ),
        (processes > 1, f"sums over {processes} processes are rounded otherwise than over another number"),
    )
    return tuple(reason for applies, reason in reasons if applies)


def _commit() -> str | None:
    """Return the commit of the sources that run, where they are a checkout, with a + for changes."""
    sources = Path(__file__).parents[3]
    if not (sources / ".git").exists():
        return None
    try:
        found = [
            subprocess.run(  # noqa: S603 (fixed words)
                ["git", "-C", str(sources), *words],  # noqa: S607 (whichever git the user has)
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] + ("+" if found[1] else "")
