"""The training loop: both stages (S21, S22), epoch by epoch, step by step."""

import time

from thoar.training.epoch_end import conclude, end_epoch, is_out_of_patience, keep_last, mean_losses
from thoar.training.events import Event, Outcome, Pace, Run
from thoar.training.feed import Feed
from thoar.training.logs import RunLog
from thoar.training.optimise import Batch, take_step
from thoar.training.schedule import batches_of_epoch, epochs_of, rate_of, stage_of, steps_of_run
from thoar.training.state import TrainingState, place, set_rate
from thoar.training.steps import draw_sample


def go_on(run: Run, state: TrainingState) -> Outcome:
    """Take a run from where its state stands to its end, or until it is asked to stop."""
    log = RunLog(run.folder, first_epoch=state.progress.epoch) if run.world.leads else None
    try:
        return _go_on(run, state, log)
    finally:
        if log is not None:
            log.close()


def _go_on(run: Run, state: TrainingState, log: RunLog | None) -> Outcome:
    while state.progress.epoch < epochs_of(run.settings) and not is_out_of_patience(run, state):
        epoch = state.progress.epoch
        pace = _train_epoch(run, state, epoch)
        if pace.whole:
            end_epoch(run, state, pace, log)
        keep_last(run, state)
        if run.world.leads:
            run.on_epoch(pace)
        if not pace.whole:
            return "stopped"
    conclude(run, state)
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


def _step_event(run: Run, state: TrainingState, *, epoch: int, steps: int) -> Event:
    losses = mean_losses(state)
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
