"""The end of an epoch and of a run: what is validated, kept and logged."""

import logging
from collections import Counter

import msgspec
import numpy as np
from jaxtyping import UInt8

from thoar.core.configuration import Configuration
from thoar.core.volume import Volume
from thoar.inference.bundle import read_bundle
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import History, TrainedOn
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.training.calibration import calibrate
from thoar.training.cases import TrainingCase
from thoar.training.checkpoint import BEST, save_best, save_last
from thoar.training.events import Event, Pace, Run
from thoar.training.final import VALIDATION, score_validation, write_validation
from thoar.training.logs import RunLog
from thoar.training.record import peak_memory_mib
from thoar.training.schedule import ends_stage, epochs_of, rate_of, stage_of, steps_of_run
from thoar.training.state import TrainingState
from thoar.training.validation import validate

_log = logging.getLogger(__name__)


def end_epoch(run: Run, state: TrainingState, pace: Pace, log: RunLog | None) -> None:
    """Validate when it is time, keep the best, log, and leave the state at the next epoch's start."""
    epoch = state.progress.epoch
    values = {f"train/{name}": value for name, value in mean_losses(state).items()}
    stage, last = stage_of(epoch, run.settings), ends_stage(epoch, run.settings)
    steps = steps_of_run(len(run.training), run.settings)
    values["rate/learning_rate"] = rate_of(state.progress.steps - 1, run.settings, steps=steps)
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
    if is_out_of_patience(run, state):
        _log.warning(
            "ended after epoch %d: no better score in %d validations (train.patience)",
            epoch + 1,
            run.settings.patience,
        )


def is_out_of_patience(run: Run, state: TrainingState) -> bool:
    """Say whether the joint stage has gone on for too many validations without a better score."""
    progress, settings = state.progress, run.settings
    return progress.epoch > settings.coarse_epochs and 0 < settings.patience <= progress.since_best


def conclude(run: Run, state: TrainingState) -> None:
    """Measure thresholds and margins once more, with the weights that are kept; write their scores down."""
    if not run.validation or not run.settings.joint_epochs or not run.world.leads:
        return
    bundle = read_bundle(run.folder / BEST)
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


def keep_last(run: Run, state: TrainingState) -> None:
    """Write the state down, in the leading process."""
    if not run.world.leads:
        return
    save_last(
        run.folder,
        state,
        configuration=run.configuration,
        label_set=run.context.label_set,
        history=_history(run, state),
    )


def mean_losses(state: TrainingState) -> dict[str, float]:
    """Return the losses of the epoch so far, by name."""
    return {name: total / count for name, (total, count) in state.progress.loss_sums.items()}


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


def _calibrated(run: Run, predictor: Predictor) -> dict[str, OrganLocalisation]:
    """Return what the leading process measures on all validation cases, in every process."""
    measured = msgspec.json.encode(calibrate(predictor, run.validation)) if run.world.leads else b""
    return msgspec.json.decode(run.world.from_leader(measured), type=dict[str, OrganLocalisation])


def _predictor(run: Run, state: TrainingState) -> Predictor:
    """Return the predictor of the network as it stands, all on one device until the next epoch places it."""
    return Predictor(
        network=state.kept,
        configuration=run.configuration,
        label_set=run.context.label_set,
        localisation=state.progress.localisation,
        device=str(run.context.device),
        precision="float32",  # the same on every machine
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
