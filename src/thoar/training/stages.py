"""The training loop: both stages (S21, S22), epoch by epoch, step by step."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from jaxtyping import UInt8

from thoar.core.configuration import Configuration, Train
from thoar.core.volume import Volume
from thoar.inference.bundle import read_bundle
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import History, TrainedOn
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.training.calibration import calibrate
from thoar.training.cases import TrainingCase
from thoar.training.feed import Feed
from thoar.training.final import VALIDATION, score_validation, write_validation
from thoar.training.logs import RunLog
from thoar.training.optimise import Batch, take_step
from thoar.training.record import peak_memory_mib
from thoar.training.schedule import (
    Stage,
    batches_of_epoch,
    ends_stage,
    epochs_of,
    rate_of,
    stage_of,
    steps_of_run,
)
from thoar.training.state import TrainingState, place, save_best, save_last, set_rate
from thoar.training.steps import Context, draw_sample
from thoar.training.validation import ValidationScores, validate
from thoar.training.world import ALONE, World

_log = logging.getLogger(__name__)

Outcome = Literal["finished", "stopped", "preparing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a person watching a run wants to see.

    Attributes:
        kind: ``prepared`` (a case), ``step``, ``validated``.
        epoch: counted from 0 over both stages.
        epochs: of both stages.
        stage: which one.
        step: done in this epoch, from 1 (or cases prepared).
        steps: of one epoch (or cases to prepare).
        loss: mean of this epoch so far.
        eta_s: expected time to the end of the run; None before it is known.
        scores: of a validation.
    """

    kind: Literal["prepared", "step", "validated"]
    epoch: int = 0
    epochs: int = 0
    stage: Stage = "coarse"
    step: int = 0
    steps: int = 0
    loss: float = math.nan
    eta_s: float | None = None
    scores: ValidationScores | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the steps of an epoch took.

    Attributes:
        steps: taken.
        seconds: in all.
        waited_s: of these, spent waiting for samples.
        whole: whether the epoch was finished.
    """

    steps: int
    seconds: float
    waited_s: float
    whole: bool = True

    @property
    def data_share(self) -> float:
        """Part of the time that was spent waiting for samples."""
        return self.waited_s / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What stays the same from a run's start to its end.

    Attributes:
        folder: where everything is kept.
        context: configuration, labels, device.
        training: cases trained on.
        validation: cases held out.
        watch: told of every event.
        should_stop: asked after every step.
        on_epoch: told of every epoch's end, in the leading process.
        world: the processes that share the run.
        first_step: steps that were done before this process began.
        began: when that was.
    """

    folder: Path
    context: Context
    training: Sequence[TrainingCase]
    validation: Sequence[TrainingCase]
    watch: Callable[[Event], None]
    should_stop: Callable[[], bool]
    on_epoch: Callable[[Pace], None] = lambda _: None
    world: World = ALONE
    first_step: int
    began: float = field(default_factory=time.monotonic)

    @property
    def configuration(self) -> Configuration:
        """The run's."""
        return self.context.configuration

    @property
    def settings(self) -> Train:
        """Of the two stages."""
        return self.context.configuration.train


def go_on(run: Run, state: TrainingState) -> Outcome:
    """Take a run from where its state stands to its end, or until it is asked to stop."""
    log = RunLog(run.folder, first_epoch=state.progress.epoch) if run.world.leads else None
    try:
        return _go_on(run, state, log)
    finally:
        if log is not None:
            log.close()


def _go_on(run: Run, state: TrainingState, log: RunLog | None) -> Outcome:
    while state.progress.epoch < epochs_of(run.settings):
        epoch = state.progress.epoch
        pace = _train_epoch(run, state, epoch)
        if not pace.whole:
            _save_last(run, state)
            if run.world.leads:
                run.on_epoch(pace)
            return "stopped"
        _end_epoch(run, state, pace, log)
        _save_last(run, state)
    _conclude(run, state)
    return "finished"


def _train_epoch(run: Run, state: TrainingState, epoch: int) -> Pace:
    """Take the epoch's remaining steps, or those until asked to stop."""
    batches = batches_of_epoch(run.training, epoch, run.settings)
    steps = steps_of_run(len(run.training), run.settings)
    done, began = state.progress.step, time.monotonic()
    own = [run.world.own(batch) for batch in batches]
    feed = Feed(
        [case for cases in own[done:] for case in cases],
        lambda case: draw_sample(case, run.context, epoch=epoch),
        ahead=run.settings.prefetch,
    )
    for network in (state.network, state.averaged):
        if network is not None:
            place(network, run.context.device, run.context.decoder_device)
    state.network.train()
    stopped = False
    try:
        for batch, cases in list(zip(batches, own, strict=True))[done:]:
            set_rate(state, rate_of(state.progress.steps, run.settings, steps=steps))
            samples = Batch(samples=feed.take(len(cases)), cases=len(batch), epoch=epoch)
            take_step(state, samples, run.context, world=run.world, run=run.folder)
            if run.world.leads:
                run.watch(_step_event(run, state, epoch=epoch, steps=len(batches)))
            stopped = run.world.any(run.should_stop())
            if stopped:
                break
    finally:
        feed.close()
    return Pace(
        steps=state.progress.step - done,
        seconds=time.monotonic() - began,
        waited_s=feed.waited_s,
        whole=not stopped,
    )


def _end_epoch(run: Run, state: TrainingState, pace: Pace, log: RunLog | None) -> None:
    """Validate when it is time, keep the best, log, and leave the state at the next epoch's start."""
    epoch = state.progress.epoch
    values = {f"train/{name}": value for name, value in _mean_losses(state).items()}
    stage, last = stage_of(epoch, run.settings), ends_stage(epoch, run.settings)
    values["rate/learning_rate"] = state.optimiser.param_groups[0]["lr"]
    if not run.validation:
        _save_best(run, state)
    elif last or (epoch + 1) % run.settings.validate_every == 0:
        values |= _validate(run, state, log)
    if log is not None:
        log.add(epoch, stage, values | _costs(run, pace))
    if last and stage == "coarse":
        state.progress.best_score, state.progress.since_best = None, 0
        if run.validation:
            state.progress.localisation = _calibrated(run, _predictor(run, state))
    state.progress.epoch, state.progress.step, state.progress.loss_sums = epoch + 1, 0, {}
    if stage == "joint" and 0 < run.settings.patience <= state.progress.since_best:
        _log.warning(
            "ended after epoch %d: no better score in %d validations (train.patience)",
            epoch + 1,
            run.settings.patience,
        )
        state.progress.epoch = epochs_of(run.settings)
    if run.world.leads:
        run.on_epoch(pace)


def _validate(run: Run, state: TrainingState, log: RunLog | None) -> dict[str, float]:
    epoch = state.progress.epoch
    stage = stage_of(epoch, run.settings)
    scores = validate(_predictor(run, state), run.validation, fine=stage == "joint", world=run.world)
    state.progress.since_best += 1
    if state.progress.best_score is None or scores.score > state.progress.best_score:
        state.progress.best_score, state.progress.since_best = scores.score, 0
        _save_best(run, state)
    if scores.example is not None and log is not None and log.takes_pictures:
        log.add_picture(epoch, _picture(run.validation[0], scores.example, run.configuration))
    if run.world.leads:
        run.watch(
            Event(kind="validated", epoch=epoch, epochs=epochs_of(run.settings), stage=stage, scores=scores)
        )
    return {
        "validation/score": scores.score,
        **{f"validation/coarse_dice_{name}": value for name, value in scores.coarse_dice.items()},
        **{f"validation/dice_{name}": value for name, value in scores.fine_dice.items()},
    }


def _costs(run: Run, pace: Pace) -> dict[str, float]:
    """Return what the epoch took; these rows, and no others, differ between two runs of the same."""
    peak_mib = peak_memory_mib(run.context.device)
    return {
        "time/epoch_s": pace.seconds,
        "time/data_share": pace.data_share,
        **({} if peak_mib is None else {"memory/peak_mib": peak_mib}),
    }


def _conclude(run: Run, state: TrainingState) -> None:
    """Measure thresholds and margins once more, with the weights that are kept; write their scores down."""
    if not run.validation or not run.settings.joint_epochs or not run.world.leads:
        return
    bundle = read_bundle(run.folder / "best")
    predictor = Predictor.from_bundle(bundle, device=str(run.context.device))
    predictor.localisation = calibrate(predictor, run.validation)
    save_best(
        run.folder,
        bundle.network,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=predictor.localisation,
        history=_history(run, state),
    )
    write_validation(run.folder / VALIDATION, score_validation(predictor, run.validation))


def _calibrated(run: Run, predictor: Predictor) -> dict[str, OrganLocalisation]:
    """Return what the leading process measures on all validation cases, in every process."""
    measured = msgspec.json.encode(calibrate(predictor, run.validation)) if run.world.leads else b""
    return msgspec.json.decode(run.world.from_leader(measured), type=dict[str, OrganLocalisation])


def _history(run: Run, state: TrainingState) -> History:
    """Return what the weights have seen, before this run and in it, for the bundles' manifests."""
    here = TrainedOn(
        cases=tuple(sorted({name for case in run.training for name in (case.id, case.group)})),
        sources=dict(sorted(Counter(case.source for case in run.training).items())),
    )
    return state.progress.before.after(here, run.context.cap_cells)


def _picture(
    case: TrainingCase, segmentation: Segmentation, configuration: Configuration
) -> UInt8[np.ndarray, "row column 3"]:
    from thoar.pictures.overview import overview  # noqa: PLC0415 (needs Pillow, which training does not)

    low, high = configuration.preparation.window_hu
    voxels = case.image()[case.content_box.slices] * np.float32(high - low) + np.float32(low)
    volume = Volume(voxels=voxels, geometry=segmentation.geometry)
    return overview(volume, segmentation.masks_in_boxes(), title=case.id)


def _step_event(run: Run, state: TrainingState, *, epoch: int, steps: int) -> Event:
    losses = _mean_losses(state)
    fine = [losses[f"fine_{name}"] for name in run.context.label_set.names if f"fine_{name}" in losses]
    done = state.progress.steps - run.first_step
    pace_s = (time.monotonic() - run.began) / done
    return Event(
        kind="step",
        epoch=epoch,
        epochs=epochs_of(run.settings),
        stage=stage_of(epoch, run.settings),
        step=state.progress.step,
        steps=steps,
        loss=losses["coarse"] + (sum(fine) / len(fine) if fine else 0.0),
        eta_s=pace_s * (steps_of_run(len(run.training), run.settings) - state.progress.steps),
    )


def _mean_losses(state: TrainingState) -> dict[str, float]:
    return {name: total / count for name, (total, count) in state.progress.loss_sums.items()}


def _predictor(run: Run, state: TrainingState) -> Predictor:
    """Return the predictor of the network as it stands; its decoders stay on their device."""
    return Predictor(
        network=state.kept,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=state.progress.localisation,
        device=str(run.context.device),
    )


def _save_last(run: Run, state: TrainingState) -> None:
    if not run.world.leads:
        return
    save_last(
        run.folder,
        state,
        configuration=run.configuration,
        label_set=run.context.label_set,
        history=_history(run, state),
    )


def _save_best(run: Run, state: TrainingState) -> None:
    if not run.world.leads:
        return
    save_best(
        run.folder,
        state.kept,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=state.progress.localisation,
        history=_history(run, state),
        fine_trained=stage_of(state.progress.epoch, run.settings) == "joint",
    )
