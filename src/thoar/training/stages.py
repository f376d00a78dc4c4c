"""The training loop: both stages (S21, S22), epoch by epoch, step by step."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from thoar.core.configuration import Configuration, Train
from thoar.core.errors import ConfigError
from thoar.core.volume import Volume
from thoar.inference.bundle import TrainedOn, read_bundle
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.training.calibration import calibrate
from thoar.training.cases import TrainingCase
from thoar.training.logs import RunLog
from thoar.training.schedule import (
    Stage,
    cases_of_epoch,
    ends_stage,
    epochs_of,
    rate_of,
    stage_of,
    steps_of_run,
)
from thoar.training.state import TrainingState, save_best, save_last, update_average
from thoar.training.steps import Context, coarse_step, draw_sample, joint_step
from thoar.training.validation import ValidationScores, validate

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What stays the same from a run's start to its end.

    Attributes:
        folder: where everything is kept.
        context: configuration, labels, device.
        training: cases trained on.
        validation: cases held out.
        log: of the run.
        watch: told of every event.
        should_stop: asked after every step.
        first_step: steps that were done before this process began.
        began: when that was.
    """

    folder: Path
    context: Context
    training: Sequence[TrainingCase]
    validation: Sequence[TrainingCase]
    log: RunLog
    watch: Callable[[Event], None]
    should_stop: Callable[[], bool]
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
    for epoch in range(state.progress.epoch, epochs_of(run.settings)):
        if not _train_epoch(run, state, epoch):
            _save_last(run, state)
            return "stopped"
        _end_epoch(run, state, epoch)
        _save_last(run, state)
    _calibrate_best(run, state)
    return "finished"


def _train_epoch(run: Run, state: TrainingState, epoch: int) -> bool:
    """Take the epoch's remaining steps; return False if asked to stop, with the step under way finished."""
    cases = cases_of_epoch(run.training, epoch, run.settings)
    steps = steps_of_run(len(run.training), run.settings)
    state.network.train()
    while state.progress.step < len(cases):
        case = cases[state.progress.step]
        where = f"epoch {epoch}, step {state.progress.step}, case {case.id}"
        for group in state.optimiser.param_groups:
            group["lr"] = rate_of(state.progress.steps, run.settings, steps=steps)
        _apply(state, _gradients(run, state, case, epoch=epoch), run.settings, where=where)
        run.watch(_step_event(run, state, epoch=epoch, steps=len(cases), steps_of_run=steps))
        if run.should_stop():
            return False
    return True


def _gradients(run: Run, state: TrainingState, case: TrainingCase, *, epoch: int) -> dict[str, float]:
    state.optimiser.zero_grad(set_to_none=True)
    sample = draw_sample(case, run.context, epoch=epoch)
    if stage_of(epoch, run.settings) == "coarse":
        return coarse_step(state.network, sample, run.context)
    return joint_step(
        state.network, sample, run.context, epoch=epoch, localisation=state.progress.localisation
    )


def _apply(state: TrainingState, losses: dict[str, float], settings: Train, *, where: str) -> None:
    """Change the weights by their gradients, unless something is no finite number any more."""
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    limit = settings.gradient_norm or math.inf
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit)) if parameters else 0.0
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad or not math.isfinite(norm):
        raise ConfigError(
            f"{where}: {', '.join(bad) or 'the gradient'} is no finite number any more; look at that case, "
            "or lower train.learning_rate; the last checkpoint is as it was before"
        )
    state.optimiser.step()
    state.progress.step += 1
    state.progress.steps += 1
    update_average(state, settings.averaging)
    for name, value in losses.items():
        total, count = state.progress.loss_sums.get(name, (0.0, 0))
        state.progress.loss_sums[name] = (total + value, count + 1)


def _end_epoch(run: Run, state: TrainingState, epoch: int) -> None:
    """Validate when it is time, keep the best, log, and leave the state at the next epoch's start."""
    values = {f"train/{name}": value for name, value in _mean_losses(state).items()}
    last = ends_stage(epoch, run.settings)
    if not run.validation:
        _save_best(run, state)
    elif last or (epoch + 1) % run.settings.validate_every == 0:
        values |= _validate(run, state, epoch)
    run.log.add(epoch, stage_of(epoch, run.settings), values)
    if last and stage_of(epoch, run.settings) == "coarse":
        state.progress.best_score = None
        if run.validation:
            state.progress.localisation = calibrate(_predictor(run, state), run.validation)
    state.progress.epoch, state.progress.step, state.progress.loss_sums = epoch + 1, 0, {}


def _validate(run: Run, state: TrainingState, epoch: int) -> dict[str, float]:
    stage = stage_of(epoch, run.settings)
    scores = validate(_predictor(run, state), run.validation, fine=stage == "joint")
    if state.progress.best_score is None or scores.score > state.progress.best_score:
        state.progress.best_score = scores.score
        _save_best(run, state)
    if scores.example is not None and run.log.takes_pictures:
        run.log.add_picture(epoch, _picture(run.validation[0], scores.example, run.configuration))
    run.watch(
        Event(kind="validated", epoch=epoch, epochs=epochs_of(run.settings), stage=stage, scores=scores)
    )
    return {
        "validation/score": scores.score,
        **{f"validation/coarse_dice_{name}": value for name, value in scores.coarse_dice.items()},
        **{f"validation/dice_{name}": value for name, value in scores.fine_dice.items()},
    }


def _calibrate_best(run: Run, state: TrainingState) -> None:
    """Measure thresholds and margins once more, with the weights that are kept, and write them there."""
    if not run.validation or not run.settings.joint_epochs:
        return
    bundle = read_bundle(run.folder / "best")
    predictor = Predictor.from_bundle(bundle, device=str(run.context.device))
    save_best(
        run.folder,
        bundle.network,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=calibrate(predictor, run.validation),
        trained_on=_trained_on(run, state),
    )


def _trained_on(run: Run, state: TrainingState) -> TrainedOn:
    """Return what the weights have seen, before this run and in it, for the bundles' manifests."""
    here = TrainedOn(
        cases=tuple(sorted({name for case in run.training for name in (case.id, case.group)})),
        sources=dict(sorted(Counter(case.source for case in run.training).items())),
    )
    return state.progress.before + here


def _picture(
    case: TrainingCase, segmentation: Segmentation, configuration: Configuration
) -> UInt8[np.ndarray, "row column 3"]:
    from thoar.pictures.overview import overview  # noqa: PLC0415 (needs Pillow, which training does not)

    low, high = configuration.preparation.window_hu
    voxels = case.image()[case.content_box.slices] * np.float32(high - low) + np.float32(low)
    volume = Volume(voxels=voxels, geometry=segmentation.geometry)
    return overview(volume, segmentation.masks_in_boxes(), title=case.id)


def _step_event(run: Run, state: TrainingState, *, epoch: int, steps: int, steps_of_run: int) -> Event:
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
        eta_s=pace_s * (steps_of_run - state.progress.steps),
    )


def _mean_losses(state: TrainingState) -> dict[str, float]:
    return {name: total / count for name, (total, count) in state.progress.loss_sums.items()}


def _predictor(run: Run, state: TrainingState) -> Predictor:
    return Predictor(
        network=state.kept,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=state.progress.localisation,
        device=str(run.context.device),
    )


def _save_last(run: Run, state: TrainingState) -> None:
    save_last(
        run.folder,
        state,
        configuration=run.configuration,
        label_set=run.context.label_set,
        trained_on=_trained_on(run, state),
    )


def _save_best(run: Run, state: TrainingState) -> None:
    save_best(
        run.folder,
        state.kept,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=state.progress.localisation,
        trained_on=_trained_on(run, state),
        fine_trained=stage_of(state.progress.epoch, run.settings) == "joint",
    )
