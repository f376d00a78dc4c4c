"""A training run from its data set to its end: split, prepare, start or resume, go through the stages."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import torch

from thoar.core.configuration import Configuration
from thoar.core.errors import ConfigError, InputError, UsageError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Case, Dataset
from thoar.inference.bundle import Bundle
from thoar.inference.predictor import choose_device
from thoar.io.atomic import recover_folder
from thoar.training.boxes import cap_of
from thoar.training.cases import TrainingCase, prepare_cases
from thoar.training.logs import RunLog
from thoar.training.split import split_cases
from thoar.training.stages import Event, Outcome, Run, go_on
from thoar.training.state import TrainingState, begin_with, load_last, new_state
from thoar.training.steps import Context

BEFORE = ("prepared", "tensorboard")
"""What a run that ended before its first checkpoint leaves; the next one may use it."""


class _StoppedError(Exception):
    """The run was asked to stop while cases were being prepared."""


def train(
    configuration: Configuration,
    dataset: Dataset,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    initial: Bundle | None = None,
    workers: int = 1,
    watch: Callable[[Event], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a network on a data set: stage ``coarse``, then stage ``joint`` (S21, S22).

    Args:
        configuration: resolved.
        dataset: every case with a label.
        folder: the run's; new or empty (but for cases that are prepared already), unless resumed.
        device: see :func:`thoar.inference.predictor.choose_device`.
        resume: go on from ``folder/last``. On one machine's CPU, with one number of threads, the result
            is bit for bit that of a run without interruption.
        initial: the weights to begin with; fresh ones where None. A run that is resumed has its own.
        workers: threads that prepare cases.
        watch: told of every event.
        should_stop: asked after every case prepared and every step; once true, a checkpoint is written and
            the run ends.

    Returns:
        ``finished``; ``stopped`` with a checkpoint to resume from; or ``preparing`` without one, when it was
        stopped before the first step: start it again, the cases prepared are kept.

    Raises:
        UsageError: if the folder is not empty, or holds nothing to resume.
        InputError: naming a case that cannot be used.
        ConfigError: if the loss is no longer finite, naming the case; or a resumed run was started with
            another configuration or other cases; or the initial weights are another network's.
    """
    where = choose_device(device)
    settings = configuration.train
    split = split_cases(dataset.cases, validation_cases=settings.validation_cases, seed=settings.seed)
    _check_folder(folder, resume=resume)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        training, validation = _prepare(
            split,
            configuration,
            label_set=dataset.label_set,
            folder=folder,
            workers=workers,
            watch=watch,
            should_stop=should_stop,
        )
    except _StoppedError:
        return "stopped" if resume else "preparing"
    context = Context(
        configuration=configuration,
        label_set=dataset.label_set,
        device=where,
        cap_cells=_caps(training, dataset.label_set, configuration),
    )
    data_key = _data_key(training, validation)
    state = _loaded(folder, context, data_key) if resume else _fresh(context, data_key, initial)
    run = Run(
        folder=folder,
        context=context,
        training=training,
        validation=validation,
        log=RunLog(folder, first_epoch=state.progress.epoch),
        watch=watch,
        should_stop=should_stop,
        first_step=state.progress.steps,
    )
    try:
        return go_on(run, state)
    finally:
        run.log.close()


def _check_folder(folder: Path, *, resume: bool) -> None:
    if resume:
        recover_folder(folder / "last")
        if not (folder / "last").is_dir():
            raise UsageError(f"{folder}: holds no checkpoint to resume from; start without --resume")
    elif folder.exists() and (not folder.is_dir() or any(p.name not in BEFORE for p in folder.iterdir())):
        raise UsageError(f"{folder}: is not an empty folder; choose another, or go on in it with --resume")
    folder.mkdir(parents=True, exist_ok=True)


def _prepare(
    split: tuple[list[Case], list[Case]],
    configuration: Configuration,
    *,
    label_set: LabelSet,
    folder: Path,
    workers: int,
    watch: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Return the cases to train on and those to validate on, prepared."""
    done: list[str] = []

    def ready(case_id: str) -> None:
        done.append(case_id)
        total = len(split[0]) + len(split[1])
        watch(Event(kind="prepared", step=len(done), steps=total))
        if len(done) < total and should_stop():
            raise _StoppedError

    def prepared(cases: Sequence[Case]) -> list[TrainingCase]:
        return prepare_cases(
            cases,
            configuration=configuration,
            label_set=label_set,
            folder=folder / "prepared",
            workers=workers,
            on_case=ready,
        )

    return prepared(split[0]), prepared(split[1])


def _caps(
    training: Sequence[TrainingCase], label_set: LabelSet, configuration: Configuration
) -> dict[str, float]:
    """Return the most cells of each organ's training boxes.

    Raises:
        InputError: if no training case shows an organ of the label set.
    """
    sizes = {
        name: [case.box_cells[name].voxels for case in training if name in case.box_cells]
        for name in label_set.names
    }
    unseen = [name for name, boxes in sizes.items() if not boxes]
    if unseen:
        raise InputError(
            f"no training case shows {', '.join(unseen)}; add cases, or leave them out of the label set"
        )
    return {name: cap_of(boxes, configuration.boxes) for name, boxes in sizes.items()}


def _data_key(training: Sequence[TrainingCase], validation: Sequence[TrainingCase]) -> str:
    keys = [[(case.id, case.key) for case in cases] for cases in (training, validation)]
    return hashlib.sha256(msgspec.json.encode(keys)).hexdigest()


def _fresh(context: Context, data_key: str, initial: Bundle | None) -> TrainingState:
    state = new_state(context.configuration, context.label_set, context.device)
    if initial is not None:
        begin_with(state, initial)
    state.progress.data_key = data_key
    return state


def _loaded(folder: Path, context: Context, data_key: str) -> TrainingState:
    state = load_last(
        folder, configuration=context.configuration, label_set=context.label_set, device=context.device
    )
    if state.progress.data_key != data_key:
        raise ConfigError(f"{folder}: was started with other cases; resume with the same data set")
    return state
