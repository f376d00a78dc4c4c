"""What an epoch or a step of a run is, as functions of its number."""

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

from thoar.core.configuration import Train
from thoar.core.random import rng_for

Stage = Literal["coarse", "joint"]
T = TypeVar("T")


def stage_of(epoch: int, train: Train) -> Stage:
    """Return the stage of an epoch, counted from 0 over both."""
    return "coarse" if epoch < train.coarse_epochs else "joint"


def epochs_of(train: Train) -> int:
    """Return the number of epochs of both stages."""
    return train.coarse_epochs + train.joint_epochs


def ends_stage(epoch: int, train: Train) -> bool:
    """Say whether an epoch is the last of its stage."""
    return epoch + 1 in (train.coarse_epochs, epochs_of(train))


def cases_of_epoch(cases: Sequence[T], epoch: int, train: Train) -> list[T]:
    """Return the cases of an epoch in its own random order, each at most once."""
    order = rng_for(train.seed, "order", epoch).permutation(len(cases))
    return [cases[i] for i in order[: train.cases_per_epoch or None]]


def batches_of_epoch(cases: Sequence[T], epoch: int, train: Train) -> list[list[T]]:
    """Return the cases of an epoch's steps; the last step may have fewer."""
    ordered = cases_of_epoch(cases, epoch, train)
    return [ordered[i : i + train.batch_cases] for i in range(0, len(ordered), train.batch_cases)]


def steps_of_run(cases: int, train: Train) -> int:
    """Return the number of steps of a whole run on so many cases."""
    seen = min(train.cases_per_epoch or cases, cases)
    return math.ceil(seen / train.batch_cases) * epochs_of(train)


def rate_of(step: int, train: Train, *, steps: int) -> float:
    """Return the learning rate of a step, counted from 0 over the whole run of so many steps."""
    rate = train.learning_rate
    if step < train.warmup_steps:
        return rate * (step + 1) / train.warmup_steps
    if train.schedule == "cosine":
        part = (step - train.warmup_steps) / max(1, steps - train.warmup_steps)
        return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))
    return rate
