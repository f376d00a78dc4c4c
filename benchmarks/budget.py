"""How long a recipe must be to fill a budget of time: measured by a short trial, then extrapolated."""

import csv
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
from costs import UNFINISHED, Cost, command

TRIAL_EPOCHS = {"coarse": 2, "joint": 3}
MARGIN = 0.95
"""Part of the budget that is planned for: later steps may cost more than a trial's."""


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's own record says of its length; the rest of the record is passed over.

    Attributes:
        steps: that were taken.
        outcome: ``finished``, or ``stopped`` where the clock cut it off.
    """

    steps: int
    outcome: str


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial says of a recipe.

    Attributes:
        before_s: start, preparation and end: what does not depend on the number of epochs.
        epoch_s: per stage, of one epoch.
    """

    before_s: float
    epoch_s: dict[str, float]


def train(
    recipe: Path | str,
    data: Path,
    run: Path,
    *,
    overrides: Sequence[str],
    seed: int = 0,
    threads: int = 1,
    max_s: float = 0,
) -> Cost:
    """Train on a CPU in a fresh folder; what ``max_s`` seconds (0: any number) end has a model too."""
    shutil.rmtree(run, ignore_errors=True)
    words = ["train", recipe, "--data", data, "-o", run, "--seed", seed, "--device", "cpu"]
    words += [word for override in overrides for word in ("--set", override)]
    words += ["--max-time", f"{max_s:.0f}s"] if max_s else []
    log = run.with_name(f"{run.name}.log")
    return command(words, log, threads=threads, also=[UNFINISHED])


def pace_of(recipe: Path | str, data: Path, run: Path, *, overrides: Sequence[str], threads: int = 1) -> Pace:
    """Measure a recipe's pace with a few epochs of both stages, of which the first ones warm up."""
    few = [f"train.{stage}_epochs={epochs}" for stage, epochs in TRIAL_EPOCHS.items()]
    cost = train(recipe, data, run, overrides=[*overrides, *few], threads=threads)
    seconds = defaultdict[str, list[float]](list)
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["name"] == "time/epoch_s":
                seconds[row["stage"]].append(float(row["value"]))
    shutil.rmtree(run)
    spent_s = sum(sum(epochs) for epochs in seconds.values())
    later = {stage: epochs[1:] for stage, epochs in seconds.items()}
    return Pace(
        before_s=cost.wall_s - spent_s,
        epoch_s={stage: sum(epochs) / len(epochs) for stage, epochs in later.items()},
    )


def length_of(run: Path) -> Trained:
    """Return how far a run came."""
    return msgspec.json.decode((run / "run.json").read_bytes(), type=Trained)


def epochs_that_fit(pace: Pace, *, budget_s: float, coarse_share: float) -> dict[str, int]:
    """Return how many epochs of each stage fill the budget.

    Args:
        pace: of the recipe.
        budget_s: for everything, start and preparation too.
        coarse_share: part of all epochs that belongs to the coarse stage.

    >>> pace = Pace(before_s=10, epoch_s={"coarse": 1, "joint": 3})
    >>> epochs_that_fit(pace, budget_s=410 / 0.95, coarse_share=0.5)
    {'coarse': 100, 'joint': 100}
    """
    left_s = MARGIN * budget_s - pace.before_s
    mean_s = coarse_share * pace.epoch_s["coarse"] + (1 - coarse_share) * pace.epoch_s["joint"]
    epochs = max(2, int(left_s / mean_s + 1e-9))
    coarse = max(1, round(coarse_share * epochs))
    return {"coarse": coarse, "joint": max(1, epochs - coarse)}


def settings_of(epochs: dict[str, int]) -> list[str]:
    """Return the overrides that give a recipe so many epochs."""
    return [f"train.{stage}_epochs={count}" for stage, count in epochs.items()]
