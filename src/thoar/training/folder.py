"""A run's folder: who may write there, and the record kept in it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tomli_w

from thoar.core.configuration import Configuration, plain
from thoar.core.errors import InputError, ResourceError, UsageError
from thoar.inference.full_memory import full_memory_explained
from thoar.io.atomic import atomic_bytes, clear_remains
from thoar.io.lock import locked
from thoar.training.checkpoint import BEST, recover_checkpoints, refuse_other_configuration
from thoar.training.events import Pace
from thoar.training.record import RunRecord, now, peak_memory_mib, read_record, write_record
from thoar.training.state import TrainingState
from thoar.training.world import World

CONFIGURATION = "configuration.toml"
STOP = "stop"
"""A file that a person makes in a run's folder to end it as a signal would."""
LOCK = "lock"
BEFORE = ("prepared", "tensorboard", "run.json", CONFIGURATION, LOCK, "metrics.csv", "failure", "report.html")
"""What a run that ended before its first checkpoint leaves; the next one may use it."""
MUCH_WAITING = 0.3
"""Part of an epoch spent waiting for samples from which on the data are what limits a run."""
_WAITING = "the data, not the device, are the limit"

_log = logging.getLogger(__name__)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Make a run's folder, or see that it may be used.

    Raises:
        UsageError: if it is not empty and not to be resumed, or to be resumed and not there.
    """
    if resume and not folder.is_dir():
        raise UsageError(f"{folder}: holds no run to resume; start without --resume")
    if not resume and folder.exists() and _is_taken(folder):
        raise UsageError(f"{folder}: is not an empty folder; choose another, or go on in it with --resume")
    folder.mkdir(parents=True, exist_ok=True)


def has_checkpoint(folder: Path, world: World) -> bool:
    """Say whether a run has one, after the leading process has mended what a kill left."""
    found = world.leads and recover_checkpoints(folder)
    if world.leads and not found:
        _log.warning("%s: was interrupted before its first checkpoint; starting from the beginning", folder)
    return world.any(found)


def is_finished(folder: Path, configuration: Configuration) -> bool:
    """Say whether a folder holds a finished run.

    Raises:
        ConfigError: if it does, of another configuration.
        InputError: if its model is missing or damaged.
    """
    record = _earlier(folder)
    if record is None or record.outcome != "finished":
        return False
    refuse_other_configuration(folder / BEST, configuration, run=folder)
    return True


@contextmanager
def folder_locked(folder: Path, world: World) -> Iterator[None]:
    """Keep other runs out of the folder, in the leading process alone.

    Raises:
        UsageError: if another run has it, naming its process.
    """
    if not world.leads:
        yield
        return
    holder = _earlier(folder)
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    says = f"{folder}: {who} is training there; wait for it, or choose another folder"
    with locked(folder / LOCK, says=says):
        clear_remains(folder)
        (folder / STOP).unlink(missing_ok=True)
        try:
            yield
        finally:
            (folder / STOP).unlink(missing_ok=True)


@contextmanager
def recorded(
    folder: Path, record: RunRecord, configuration: Configuration, world: World
) -> Iterator[RunRecord]:
    """Keep ``run.json`` and ``configuration.toml``: what runs, and how it ended.

    Raises:
        ResourceError: where memory is full, with what to do.
    """
    if not world.leads:
        with full_memory_explained(_advice):
            yield record
        return
    _take_over(folder, record, configuration)
    write_record(folder, record)
    record.outcome = "stopped"
    try:
        with full_memory_explained(_advice):
            yield record
    except Exception as error:
        record.outcome, record.error = "failed", " ".join(str(error).split()) or type(error).__name__
        with suppress(OSError, ResourceError):  # it is the first error that must be said
            _write_end(folder, record)
        raise
    _write_end(folder, record)


def _take_over(folder: Path, record: RunRecord, configuration: Configuration) -> None:
    """Let a run that goes on keep what it began with; one without a checkpoint begins anew."""
    if not recover_checkpoints(folder):
        atomic_bytes(folder / CONFIGURATION, tomli_w.dumps(plain(configuration)).encode())
        return
    earlier = _earlier(folder)
    if earlier is not None:
        record.started, record.seconds = earlier.started, earlier.seconds
        record.initial_model = record.initial_model or earlier.initial_model
        record.warnings = tuple(dict.fromkeys((*earlier.warnings, *record.warnings)))


def note_progress(record: RunRecord, state: TrainingState) -> None:
    """Put into the record how far a run has come."""
    progress = state.progress
    record.epochs_done, record.steps = progress.epoch, progress.steps
    record.float32_steps = progress.float32_steps


def note_epoch(folder: Path, record: RunRecord, state: TrainingState, pace: Pace) -> None:
    """Rewrite the record after an epoch or a part of one; say once if the data are slower than the device."""
    note_progress(record, state)
    record.seconds += pace.seconds
    record.seconds_per_step = pace.seconds / pace.steps if pace.steps else None
    record.data_share = pace.data_share
    record.peak_memory_mib = peak_memory_mib(next(state.network.parameters()).device)
    if pace.data_share > MUCH_WAITING and not any(text.startswith(_WAITING) for text in record.warnings):
        text = (
            f"{_WAITING}: {pace.data_share:.0%} of an epoch was spent waiting for samples; try "
            "train.prefetch = 2, less augmentation, or a faster disk for the prepared cases"
        )
        record.warnings = (*record.warnings, text)
        _log.warning(text)
    outcome, record.outcome = record.outcome, "running"
    write_record(folder, record)
    record.outcome = outcome


def _advice() -> str:
    return (
        "not enough memory for this training; `thoar dataset plan` says what it takes and fits a recipe to "
        "--max-ram or --max-vram (train.recomputed_levels, train.precision, augmentation.longest_scan_cells)"
    )


def _earlier(folder: Path) -> RunRecord | None:
    """Return the record of an earlier start; a damaged one must not keep a run from going on."""
    try:
        return read_record(folder)
    except InputError as error:
        _log.warning("%s; a new one is begun", error)
        return None


def _write_end(folder: Path, record: RunRecord) -> None:
    record.ended = now()
    write_record(folder, record)


def _is_taken(folder: Path) -> bool:
    return not folder.is_dir() or any(_is_strange(entry) for entry in folder.iterdir())


def _is_strange(entry: Path) -> bool:
    """Say whether an entry is none that a run without a checkpoint leaves; what half a swap leaves is."""
    if entry.name.startswith("."):
        return entry.name.startswith((".last.", ".best."))
    return entry.name not in BEFORE
