"""What a run consists of, and what it tells of itself while it goes on."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thoar.core.configuration import Configuration, Train
from thoar.training.cases import TrainingCase
from thoar.training.schedule import Stage
from thoar.training.steps import Context
from thoar.training.validation import ValidationScores
from thoar.training.world import ALONE, World

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
