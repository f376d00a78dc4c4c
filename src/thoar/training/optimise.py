"""One change of the weights: the gradients of a batch over all processes, kept finite."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch
from torch import nn

from thoar.core.errors import ConfigError
from thoar.training.failure import Failure, spelled, write_failure
from thoar.training.heap import release_heap
from thoar.training.schedule import stage_of
from thoar.training.state import TrainingState, update_average
from thoar.training.steps import LOW_PRECISIONS, Context, Losses, Sample, coarse_step, joint_step
from thoar.training.world import World

STEPS_TO_GROW = 500
"""After so many steps without an overflow the losses' scale in float16 is doubled."""
LARGEST_SCALE = 2.0**24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The samples of one change of the weights.

    Attributes:
        samples: this process's.
        cases: how many there are over all processes.
        epoch: counted from 0 over both stages.
    """

    samples: Sequence[Sample]
    cases: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    """What a batch gave.

    Attributes:
        losses: by case of this process and name.
        norm: of the mean gradient, before it is clipped.
        finite: whether everything is, in all processes.
    """

    losses: dict[str, dict[str, float]]
    norm: float
    finite: bool


def take_step(state: TrainingState, batch: Batch, context: Context, *, world: World, run: Path) -> None:
    """Change the weights by the mean gradient of a batch.

    What is no finite number in half precision is computed anew in single precision; in single precision it
    ends the run.

    Args:
        state: is changed in place.
        batch: this process's part.
        context: of the run.
        world: the processes that share the batch.
        run: the folder that a failed step is written into.

    Raises:
        ConfigError: naming epoch, step and cases, if losses or gradients are no finite numbers.
    """
    computed = _compute(state, batch, context, world=world)
    if not computed.finite and context.configuration.train.precision in LOW_PRECISIONS:
        state.progress.float32_steps += 1
        state.progress.loss_scale, state.progress.steps_at_scale = max(1.0, state.progress.loss_scale / 2), 0
        context = _in_single_precision(context)
        computed = _compute(state, batch, context, world=world)
    if not computed.finite:
        _fail(state, batch, computed, context, world=world, run=run)
    _grow_scale(state, context)
    state.optimiser.step()
    state.progress.step += 1
    state.progress.steps += 1
    update_average(state, context.configuration.train.averaging)
    _add_losses(state, computed, context, world)
    if context.device.type == "cpu":
        release_heap()


def _compute(state: TrainingState, batch: Batch, context: Context, *, world: World) -> _Computed:
    """Leave the mean gradient, clipped, on the weights."""
    scale = state.progress.loss_scale if context.configuration.train.precision == "float16" else 1.0
    state.optimiser.zero_grad(set_to_none=True)
    losses = {
        sample.case.id: _read(_gradients(state, sample, batch, context, weight=scale / batch.cases))
        for sample in batch.samples
    }
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    world.sum_gradients(parameters)
    norm = _clipped(parameters, scale, context.configuration.train.gradient_norm)
    here = math.isfinite(norm) and all(math.isfinite(v) for each in losses.values() for v in each.values())
    return _Computed(losses=losses, norm=norm, finite=not world.any(not here))


def _gradients(
    state: TrainingState, sample: Sample, batch: Batch, context: Context, *, weight: float
) -> Losses:
    if stage_of(batch.epoch, context.configuration.train) == "coarse":
        return coarse_step(state.network, sample, context, weight=weight)
    return joint_step(
        state.network,
        sample,
        context,
        epoch=batch.epoch,
        localisation=state.progress.localisation,
        weight=weight,
    )


def _read(losses: Losses) -> dict[str, float]:
    """Fetch all losses from their device at once."""
    values = torch.stack([value.to(torch.float64).cpu() for value in losses.values()]).tolist()
    return dict(zip(losses, values, strict=True))


def _clipped(parameters: Sequence[nn.Parameter], scale: float, most: float) -> float:
    """Undo the losses' scale, clip the gradients to a norm (0 leaves them), and return what it was before."""
    held = [p for p in parameters if p.grad is not None]
    if not held:
        return 0.0
    if scale != 1:
        for parameter in held:
            if parameter.grad is not None:
                parameter.grad /= scale
    return float(nn.utils.clip_grad_norm_(held, most or math.inf))


def _in_single_precision(context: Context) -> Context:
    configuration = context.configuration
    train = msgspec.structs.replace(configuration.train, precision="float32")
    return replace(context, configuration=msgspec.structs.replace(configuration, train=train))


def _grow_scale(state: TrainingState, context: Context) -> None:
    if context.configuration.train.precision != "float16":
        return
    state.progress.steps_at_scale += 1
    if state.progress.steps_at_scale >= STEPS_TO_GROW:
        state.progress.loss_scale = min(LARGEST_SCALE, 2 * state.progress.loss_scale)
        state.progress.steps_at_scale = 0


def _add_losses(state: TrainingState, computed: _Computed, context: Context, world: World) -> None:
    """Add the losses of all processes to those of the epoch."""
    names = context.loss_names
    given = [[each[name] for each in computed.losses.values() if name in each] for name in names]
    totals = world.sum([float(number) for values in given for number in (sum(values), len(values))])
    for name, total, count in zip(names, totals[::2], totals[1::2], strict=True):
        if count:
            before, seen = state.progress.loss_sums.get(name, (0.0, 0))
            state.progress.loss_sums[name] = (before + total, seen + int(count))


def _fail(
    state: TrainingState, batch: Batch, computed: _Computed, context: Context, *, world: World, run: Path
) -> None:
    """Write down the failed step, in the first process that saw it, and end the run in all of them.

    Raises:
        ConfigError: always.
    """
    bad = {
        case: sorted(name for name, value in losses.items() if not math.isfinite(value))
        for case, losses in computed.losses.items()
    }
    guilty = [case for case, names in bad.items() if names]
    seen = world.sum([float(world.rank == rank and bool(guilty)) for rank in range(world.size)])
    first = next((rank for rank, flag in enumerate(seen) if flag), 0)
    where = f"epoch {batch.epoch}, step {state.progress.step}"
    if world.rank != first:
        raise ConfigError(f"{where}: another process met what is no finite number; see its message")
    cases = guilty or list(computed.losses)
    what = ", ".join(dict.fromkeys(name for case in cases for name in bad[case])) or "the gradient"
    failure = Failure(
        epoch=batch.epoch,
        step=state.progress.step,
        cases=tuple(computed.losses),
        losses={case: spelled(losses) for case, losses in computed.losses.items()},
        gradient_norm=f"{computed.norm:.9g}",
        precision=context.configuration.train.precision,
        learning_rate=state.optimiser.param_groups[0]["lr"],
    )
    folder = write_failure(run, failure, batch.samples)
    raise ConfigError(
        f"{where}, case {', '.join(cases)}: {what} is no finite number any more, not in single precision "
        f"either; look at that case as the network saw it in {folder}, or lower train.learning_rate; the "
        "last checkpoint is as it was before"
    )
