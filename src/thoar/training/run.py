"""A training run from its data set to its end: prepare, start or resume, go through the stages."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import torch

from thoar.core.configuration import Configuration, Train
from thoar.core.errors import ConfigError
from thoar.core.labels import LabelSet
from thoar.inference.bundle import Bundle
from thoar.inference.device import choose_device
from thoar.training.beginning import begin
from thoar.training.cases import TrainingCase, prepare_cases
from thoar.training.events import Event, Outcome, Run
from thoar.training.folder import (
    STOP,
    check_folder,
    folder_locked,
    has_checkpoint,
    note_epoch,
    note_progress,
    recorded,
)
from thoar.training.record import RunRecord, new_record
from thoar.training.schedule import epochs_of
from thoar.training.split import Split, refuse_shared_content
from thoar.training.stages import go_on
from thoar.training.world import ALONE, World

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how a run computes, none of which changes what comes out.

    Attributes:
        device: see :func:`thoar.inference.device.choose_device`; two, with a comma between, where encoder
            and fine decoders compute on different ones.
        cache: folder of the prepared cases; ``RUN/prepared`` where None.
        workers: threads that prepare cases.
        fold: number of the fold, for the record.
        world: the processes that share the run.
        watch: told of every event, in the leading process.
        should_stop: asked after every case prepared and every step; once true, in any process, a checkpoint
            is written and the run ends.
    """

    device: str = "auto"
    cache: Path | None = None
    workers: int = 1
    fold: int | None = None
    world: World = ALONE
    watch: Callable[[Event], None] = field(default=lambda _: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)


class _StoppedError(Exception):
    """The run was asked to stop while cases were being prepared."""


def train(
    configuration: Configuration,
    split: Split,
    folder: Path,
    *,
    label_set: LabelSet,
    labels: LabelSet | None = None,
    setting: Setting = Setting(),
    resume: bool = False,
    initial: Bundle | None = None,
) -> Outcome:
    """Train a network: stage ``coarse``, then stage ``joint`` (S21, S22).

    Args:
        configuration: resolved.
        split: the cases, every one with a label.
        folder: the run's; new or empty (but for cases that are prepared already), unless resumed.
        label_set: the organs of the network, by the ids that they have in the labels. Where the encoder is
            left as it is, those that no case labels are left as they are too.
        labels: what the labels mean, where they hold other organs than these.
        setting: where and how it computes.
        resume: go on from ``folder/last``, or start where the run was interrupted before its first
            checkpoint. On one machine's CPU, with one number of threads, the result is bit for bit that of a
            run without interruption.
        initial: the weights to begin with; fresh ones where None. A run that is resumed has its own.

    Returns:
        ``finished``; ``stopped`` with a checkpoint to resume from; or ``preparing`` without one, when it was
        stopped before the first step: start it again, the cases prepared are kept.

    Raises:
        UsageError: if the folder is not empty, holds nothing to resume, or is another process's.
        InputError: naming a case that cannot be used.
        ConfigError: if the loss is no longer finite, naming the case; or a resumed run was started with
            another configuration or other cases; or the initial weights are another network's.
        ResourceError: if memory or disk are full.
    """
    asked = setting.should_stop
    setting = replace(setting, should_stop=lambda: asked() or (folder / STOP).exists())
    world, settings = setting.world, configuration.train
    _refuse_unshared_batches(settings, world)
    _refuse_mirrors(configuration, label_set)
    devices = _devices(setting.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if world.leads:
        check_folder(folder, resume=resume)
    world.wait()
    record = _record(settings, split, setting, devices[0], initial)
    with folder_locked(folder, world), recorded(folder, record, configuration, world):
        cases = _prepare(split, configuration, labels or label_set, folder=folder, setting=setting)
        if cases is None:
            return "stopped" if resume else "preparing"
        training, validation = ([case.of_organs(label_set.names) for case in side] for side in cases)
        record.data_sha256 = _data_key(training, validation)
        context, state = begin(
            folder,
            configuration,
            label_set,
            training=training,
            data_key=record.data_sha256,
            devices=devices,
            initial=initial,
            resumed=resume and has_checkpoint(folder, world),
        )
        note_progress(record, state)
        run = Run(
            folder=folder,
            context=context,
            training=training,
            validation=validation,
            watch=setting.watch,
            should_stop=setting.should_stop,
            on_epoch=lambda pace: note_epoch(folder, record, state, pace),
            world=world,
            first_step=state.progress.steps,
        )
        outcome = go_on(run, state)
        record.outcome = "finished" if outcome == "finished" else "stopped"
        return outcome


def _record(
    train: Train, split: Split, setting: Setting, device: torch.device, initial: Bundle | None
) -> RunRecord:
    """Return the record of a run that begins or goes on now."""
    record = new_record(
        train,
        device=device,
        devices=setting.device,
        processes=setting.world.size,
        epochs=epochs_of(train),
    )
    record.fold, record.training, record.validation = setting.fold, *_ids(split)
    if initial is not None:
        record.initial_model = initial.manifest.name
        record.warnings = _of_cases_seen(split, initial)
    for text in record.warnings if setting.world.leads else ():
        _log.warning(text)
    return record


def _of_cases_seen(split: Split, initial: Bundle) -> tuple[str, ...]:
    """Return a warning where cases are held out that the initial model has learnt from, by their names."""
    seen = set(initial.manifest.seen.cases)
    known = [case.id for case in split.validation if seen & {case.id, case.group}]
    if not known:
        return ()
    text = (
        f"{len(known)} of {len(split.validation)} cases held out are called like cases that "
        f"{initial.folder} was trained on ({', '.join(known[:5])}); if they are the same, their scores say "
        "nothing: hold out others"
    )
    return (text,)


def _devices(given: str) -> tuple[torch.device, torch.device | None]:
    """Return the devices of the encoder and, where it is another one, of the fine decoders."""
    first, comma, second = given.partition(",")
    return choose_device(first), choose_device(second) if comma else None


def _refuse_unshared_batches(train: Train, world: World) -> None:
    if train.batch_cases % world.size:
        raise ConfigError(
            f"train.batch_cases = {train.batch_cases} cannot be shared by {world.size} processes; set a "
            f"multiple, as in --set train.batch_cases={world.size}"
        )


def _refuse_mirrors(configuration: Configuration, label_set: LabelSet) -> None:
    paired = {name for pair in label_set.symmetric_pairs for name in pair}
    alone = [name for name in label_set.names if name not in paired]
    if configuration.augmentation.mirror_probability and alone:
        raise ConfigError(
            f"augmentation.mirror_probability: {', '.join(alone)} has no twin in the label set's "
            "symmetric_pairs, so a mirrored case would show what nobody has; set it to 0"
        )


def _prepare(
    split: Split, configuration: Configuration, label_set: LabelSet, *, folder: Path, setting: Setting
) -> tuple[list[TrainingCase], list[TrainingCase]] | None:
    """Return the cases to train on and those to validate on; None if a process was asked to stop.

    Several processes first share the work; then each finds all of it done.
    """
    world, every = setting.world, [*split.training, *split.validation]
    ready: list[TrainingCase] = []
    for part in [world.own(every), every] if world.size > 1 else [every]:
        try:
            ready = prepare_cases(
                part,
                configuration=configuration,
                label_set=label_set,
                folder=setting.cache or folder / "prepared",
                workers=setting.workers,
                on_case=_counted(len(part), setting),
            )
            stopped = False
        except _StoppedError:
            stopped = True
        if world.any(stopped):
            return None
    training, validation = ready[: len(split.training)], ready[len(split.training) :]
    refuse_shared_content(
        {case.id: case.image_sha256 for case in training}, {case.id: case.image_sha256 for case in validation}
    )
    return training, validation


def _counted(total: int, setting: Setting) -> Callable[[str], None]:
    """Return what tells the watcher of every case, and stops before the next where that is asked for."""
    done: list[str] = []

    def ready(case_id: str) -> None:
        done.append(case_id)
        setting.watch(Event(kind="prepared", step=len(done), steps=total))
        if len(done) < total and setting.should_stop():
            raise _StoppedError

    return ready


def _data_key(training: Sequence[TrainingCase], validation: Sequence[TrainingCase]) -> str:
    keys = [[(case.id, case.key) for case in cases] for cases in (training, validation)]
    return hashlib.sha256(msgspec.json.encode(keys)).hexdigest()


def _ids(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    training, validation = ([case.id for case in side] for side in (split.training, split.validation))
    return tuple(training), tuple(validation)
