"""What one of the two did, and how it is summed up."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from costs import Cost, command

from thoar.evaluation.results import read_results
from thoar.io.atomic import atomic_bytes

SCORES = ("dice", "hausdorff95_mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a side is asked.

    Attributes:
        place: its folder.
        data: folder of the data sets ``training`` and ``test``.
        peer: folder of nnU-Net's programs.
        minutes: for preparation and training.
        threads: for everything.
    """

    place: Path
    data: Path
    peer: Path
    minutes: float
    threads: int


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the two did.

    Attributes:
        name: which.
        prepare: planning and preprocessing; None where training does it.
        train: training.
        segment: the held-out cases.
        facts: of the network and its training, in words.
        cases: per case and organ, its scores; None for what is infinite.
        code: what computed it.
        minutes: the budget of preparation and training.
        threads: of both.
    """

    name: Literal["nnU-Net", "thoar"]
    prepare: Cost | None
    train: Cost
    segment: Cost
    facts: dict[str, str]
    cases: dict[str, dict[str, dict[str, float | None]]]
    code: dict[str, str]
    minutes: float
    threads: int


def kept(task: Task, name: str, do: Callable[[], Cost]) -> Cost:
    """Return the cost of a part that was finished before, or do it now."""
    path = task.place / f"{name}.cost.json"
    if not path.is_file():
        atomic_bytes(path, msgspec.json.encode(do()))
    return msgspec.json.decode(path.read_bytes(), type=Cost)


def scored(task: Task) -> dict[str, dict[str, dict[str, float | None]]]:
    """Evaluate a side's masks and return Dice and HD95 of every organ that either mask of a case shows."""
    path = task.place / "results.json"
    command(["evaluate", task.place / "masks", task.data / "test", "-o", path], task.place / "evaluate.log")
    return {
        case.case_id: {
            organ: {name: finite(getattr(scores, name)) for name in SCORES}
            for organ, scores in case.scores.items()
            if not math.isnan(scores.dice)
        }
        for case in read_results(path).cases
    }


def finite(value: float) -> float | None:
    """Return a number, or None for what JSON cannot spell."""
    return value if math.isfinite(value) else None


def shown(values: Sequence[float]) -> str:
    """Return numbers as in 48×96×96."""
    return "×".join(f"{value:g}" for value in values)


def values_of(side: Side, organ: str, score: str) -> list[float]:
    """Return one score of one organ over the cases; infinite where nothing was drawn."""
    found = [organs[organ][score] for organs in side.cases.values() if organ in organs]
    return [math.inf if value is None else value for value in found]


def organs_of(side: Side) -> list[str]:
    """Return the organs in the order of the results."""
    return list(dict.fromkeys(organ for organs in side.cases.values() for organ in organs))


def mean_dice(side: Side) -> float:
    """Return the mean over organs of the mean over cases."""
    return statistics.mean(statistics.mean(values_of(side, organ, "dice")) for organ in organs_of(side))
