"""What a run will take, before it begins: memory of every stage, time and disk; and a recipe that fits."""

import math
from typing import Literal

import msgspec
import tomli_w
import torch

from thoar.core.configuration import Configuration, plain
from thoar.datasets.fingerprint import Fingerprint
from thoar.training.fit import Change, Limits, fit
from thoar.training.memory import StepCost, inference_cost, training_cost
from thoar.training.needs import SAMPLE_BYTES, StageNeed, prepared_shape, typical_sample
from thoar.training.speed import Speed, measured_speed


class Times(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected seconds, on one device.

    Attributes:
        coarse_epoch_s: of the coarse stage, with its share of validation.
        joint_epoch_s: likewise.
        run_s: of all epochs.
    """

    coarse_epoch_s: float
    joint_epoch_s: float
    run_s: float


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training on a data set takes.

    Attributes:
        device: its kind.
        configuration: that keeps within the limits.
        changes: what was changed for that.
        as_it_was: of every stage, before any change.
        needs: of every stage.
        times: None where no speed was measured.
        cache_bytes: of the prepared cases on disk.
        fingerprint: of the data set, as the recipe would prepare it before any change.
    """

    schema: Literal["thoar.training-plan/1"] = "thoar.training-plan/1"
    device: str
    configuration: Configuration
    changes: tuple[Change, ...]
    as_it_was: tuple[StageNeed, ...]
    needs: tuple[StageNeed, ...]
    times: Times | None
    cache_bytes: int
    fingerprint: Fingerprint


def make_plan(
    configuration: Configuration,
    found: Fingerprint,
    *,
    limits: Limits,
    device: torch.device,
    workers: int = 1,
    timed: bool = True,
) -> Plan:
    """Fit a recipe to the memory there is, and say what it then takes.

    Args:
        configuration: the recipe.
        found: the data set.
        limits: of memory.
        device: where it trains; it is used for some seconds where ``timed``.
        workers: scans that are prepared at the same time.
        timed: whether to measure the device's speed.

    Raises:
        ResourceError: if it cannot be made to fit.
    """
    fitted = fit(configuration, found, limits, device=device, workers=workers)
    kept = fitted.configuration
    times = expected_times(kept, found, measured_speed(kept, found.organs, device=device)) if timed else None
    return Plan(
        device=device.type,
        configuration=kept,
        changes=fitted.changes,
        as_it_was=fitted.as_it_was,
        needs=fitted.needs,
        times=times,
        cache_bytes=cache_bytes(kept, found),
        fingerprint=found,
    )


def cache_bytes(configuration: Configuration, found: Fingerprint) -> int:
    """Return the size of all prepared cases on disk."""
    return sum(SAMPLE_BYTES * math.prod(prepared_shape(case, configuration, found)) for case in found.cases)


def expected_times(configuration: Configuration, found: Fingerprint, speed: Speed) -> Times:
    """Return how long epochs and the run take, from the arithmetic of a typical case."""
    train, typical = configuration.train, typical_sample(configuration, found)
    shape, boxes = typical.shape_zyx, typical.boxes_zyx
    training = max(1, len(found.cases) - train.validation_cases)
    cases = min(train.cases_per_epoch or training, training)
    drawing_s = speed.drawing_s_per_voxel * typical.voxels

    def step_s(cost: StepCost) -> float:
        return cost.flops / speed.flops_per_s + drawing_s

    coarse_s = step_s(training_cost(configuration, found.organs, shape_zyx=shape))
    joint_s = step_s(training_cost(configuration, found.organs, shape_zyx=shape, boxes_zyx=boxes))
    seen = inference_cost(configuration, found.organs, shape_zyx=shape, boxes_zyx=boxes)
    validation_s = train.validation_cases * seen.flops / speed.flops_per_s / train.validate_every
    coarse_epoch_s, joint_epoch_s = cases * coarse_s + validation_s, cases * joint_s + validation_s
    return Times(
        coarse_epoch_s=coarse_epoch_s,
        joint_epoch_s=joint_epoch_s,
        run_s=train.coarse_epochs * coarse_epoch_s + train.joint_epochs * joint_epoch_s,
    )


def recipe_text(plan: Plan) -> str:
    """Return the plan's configuration as a TOML file for ``thoar train``, its changes as comments."""
    lines = [
        "# Written by thoar dataset plan.",
        *(f"# {c.setting}: {c.before} became {c.after}: {c.cost}." for c in plan.changes),
    ]
    return "\n".join(lines) + "\n" + tomli_w.dumps(plain(plan.configuration))
