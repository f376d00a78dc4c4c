"""A training run from its data set to its end: prepare, start or resume, go through the stages."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import torch

from thoar.core.configuration import Configuration
from thoar.core.errors import ConfigError, InputError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Case
from thoar.inference.bundle import Bundle
from thoar.inference.manifest import History
from thoar.inference.predictor import choose_device
from thoar.training.boxes import cap_of
from thoar.training.cases import TrainingCase, prepare_cases
from thoar.training.folder import (
    STOP,
    check_folder,
    folder_locked,
    has_checkpoint,
    note_epoch,
    note_progress,
    recorded,
)
from thoar.training.record import new_record
from thoar.training.schedule import epochs_of
from thoar.training.split import Split, refuse_shared_content
from thoar.training.stages import Event, Outcome, Run, go_on
from thoar.training.state import TrainingState, begin_with, history_of, load_last, new_state
from thoar.training.steps import Context
from thoar.training.world import ALONE, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how a run computes, none of which changes what comes out.

    Attributes:
        device: see :func:`thoar.inference.predictor.choose_device`; two, with a comma between, where encoder
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
    if settings.batch_cases % world.size:
        raise ConfigError(
            f"train.batch_cases = {settings.batch_cases} cannot be shared by {world.size} processes; set a "
            f"multiple, as in --set train.batch_cases={world.size}"
        )
    _refuse_mirrors(configuration, label_set)
    devices = _devices(setting.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if world.leads:
        check_folder(folder, resume=resume)
    world.wait()
    record = new_record(
        settings, device=devices[0], devices=setting.device, processes=world.size, epochs=epochs_of(settings)
    )
    record.fold, record.initial_model = setting.fold, initial.manifest.name if initial else None
    record.training, record.validation = _ids(split)
    with folder_locked(folder, world), recorded(folder, record, configuration, world):
        try:
            training, validation = (
                [case.of_organs(label_set.names) for case in cases]
                for cases in _prepare(
                    split, configuration, labels or label_set, folder=folder, setting=setting
                )
            )
        except _StoppedError:
            return "stopped" if resume else "preparing"
        record.data_sha256 = _data_key(training, validation)
        kept = _kept(training, label_set, configuration)
        context = Context(
            configuration=configuration,
            label_set=label_set,
            device=devices[0],
            decoder_device=devices[1],
            cap_cells=_caps(training, label_set, configuration, kept=kept),
        )
        resumed = resume and has_checkpoint(folder, world)
        state = (
            _loaded(folder, context, record.data_sha256, kept=kept)
            if resumed
            else _fresh(context, record.data_sha256, initial, kept=kept)
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


def _devices(given: str) -> tuple[torch.device, torch.device | None]:
    """Return the devices of the encoder and, where it is another one, of the fine decoders."""
    first, comma, second = given.partition(",")
    return choose_device(first), choose_device(second) if comma else None


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
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Return the cases to train on and those to validate on, prepared by all processes together."""
    world, total = setting.world, len(split.training) + len(split.validation)
    done: list[str] = []

    def ready(case_id: str) -> None:
        done.append(case_id)
        setting.watch(Event(kind="prepared", step=len(done), steps=total))
        if len(done) < total and setting.should_stop():
            raise _StoppedError

    def prepared(cases: Sequence[Case], on_case: Callable[[str], None]) -> list[TrainingCase]:
        return prepare_cases(
            cases,
            configuration=configuration,
            label_set=label_set,
            folder=setting.cache or folder / "prepared",
            workers=setting.workers,
            on_case=on_case,
        )

    if world.size > 1:
        prepared(world.own([*split.training, *split.validation]), lambda _: None)
        world.wait()
    training, validation = prepared(split.training, ready), prepared(split.validation, ready)
    refuse_shared_content(
        {case.id: case.image_sha256 for case in training}, {case.id: case.image_sha256 for case in validation}
    )
    return training, validation


def _kept(
    training: Sequence[TrainingCase], label_set: LabelSet, configuration: Configuration
) -> tuple[str, ...]:
    """Return the organs that are left as they are: no case labels them, and the encoder does not change."""
    if configuration.train.encoder_rate:
        return ()
    labelled = {name for case in training for name in case.organs}
    return tuple(name for name in label_set.names if name not in labelled)


def _caps(
    training: Sequence[TrainingCase],
    label_set: LabelSet,
    configuration: Configuration,
    *,
    kept: Collection[str],
) -> dict[str, float]:
    """Return the most cells of the training boxes of each organ that is trained.

    Raises:
        InputError: if no training case shows one.
    """
    sizes = {
        name: [case.box_cells[name].voxels for case in training if name in case.box_cells]
        for name in label_set.names
        if name not in kept
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


def _ids(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    training, validation = ([case.id for case in side] for side in (split.training, split.validation))
    return tuple(training), tuple(validation)


def _fresh(
    context: Context, data_key: str, initial: Bundle | None, *, kept: Collection[str]
) -> TrainingState:
    state = new_state(
        context.configuration,
        context.label_set,
        context.device,
        decoder_device=context.decoder_device,
        before=history_of(initial) if initial is not None else History(),
        kept=kept,
    )
    if initial is not None:
        begin_with(state, initial)
    state.progress.data_key = data_key
    return state


def _loaded(folder: Path, context: Context, data_key: str, *, kept: Collection[str]) -> TrainingState:
    state = load_last(
        folder,
        configuration=context.configuration,
        label_set=context.label_set,
        device=context.device,
        decoder_device=context.decoder_device,
        kept=kept,
    )
    if state.progress.data_key != data_key:
        raise ConfigError(f"{folder}: was started with other cases; resume with the same data set")
    return state
