"""What is asked for, how long it may take, and how thoar's commands are run."""

import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from thoar.core.configuration import configuration_from, load_toml
from thoar.core.errors import EXIT_UNFINISHED

Recipe = Literal["fast", "paper"]
Protocol = Literal["synthetic", "shipped"]
Kind = Literal["parametric", "label_map", "copies"]
CONFIGURATIONS = Path(__file__).parents[2] / "src" / "thoar" / "configs"
FINISHED, UNFINISHED = 0, EXIT_UNFINISHED  # exit codes of `thoar train` and of this script

SETTINGS: dict[Recipe, tuple[str, ...]] = {
    "fast": (),
    "paper": (  # the paper's shapes; trained as `fast` is, since its own schedule is for its own data
        "preparation.spacing_zyx_mm=[3.0, 1.0, 1.0]",
        "network.average=logits",
        "localisation.threshold=0.5",
        "localisation.organ_threshold={}",
        "localisation.reject_dice=0.3",
        "loss.absent=suppress",
        "augmentation.probability=0.6",
        "augmentation.scale=0.2",
        "augmentation.elastic_mm=7.0",
        "augmentation.short_scan_probability=0.4",
        "train.optimiser=adamw",
        "train.learning_rate=5e-4",
        "train.weight_decay=1e-4",
        "train.schedule=cosine",
        "train.warmup_steps=50",
        "train.gradient_norm=1.0",
        "train.averaging=0.998",
        "train.precision=bfloat16",
        "train.coarse_epochs=8",
        "train.joint_epochs=24",
        "train.cases_per_epoch=100",
        "train.validate_every=4",
    ),
}
CONTINUED = (
    "train.coarse_epochs=0",
    "train.joint_epochs=8",
    "train.learning_rate=3e-4",
    "loss.mining_ramp_epochs=0",
    "boxes.prediction_from=0.0",
)
"""How protocol ``shipped`` goes on from the weights of ``synthetic``."""


class UnfinishedError(Exception):
    """The time is over before the work is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Cases of one source.

    Attributes:
        kind: which generator makes them.
        source: what the data set and the model's record call it.
        cases: how many are wanted.
        made_from: the label map, or the case folder of the sample's CT.
    """

    kind: Kind
    source: str
    cases: int
    made_from: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that was asked for.

    Attributes:
        work: folder of everything that is made.
        recipe: which configuration and name.
        protocol: ``synthetic`` sees no real CT; ``shipped`` goes on from it with copies of the sample.
        parts: the cases, by source.
        structures: table of the label maps' structures.
        init: model to begin with; None for fresh weights.
        validation: cases held out.
        piece: cases made at a time.
        device: of data and training.
        workers: processes that make cases, threads that prepare them.
        overrides: of the configuration, after those of the recipe.
    """

    work: Path
    recipe: Recipe
    protocol: Protocol
    parts: tuple[Part, ...]
    structures: Path | None
    init: str | None
    validation: int = 6
    piece: int = 20
    device: str = "auto"
    workers: int = 1
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The bundle's."""
        return f"thorax-{self.recipe}" + ("-synthetic" if self.protocol == "synthetic" else "")

    @property
    def run(self) -> Path:
        """Folder of the training run."""
        return self.work / f"run-{self.name}"

    @property
    def settings(self) -> tuple[str, ...]:
        """Every override of the shipped configuration, the last of a key counting."""
        further = CONTINUED if self.init is not None else ()
        held = f"train.validation_cases={self.validation}"
        return (*SETTINGS[self.recipe], *further, held, *self.overrides)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """The configuration's voxel size, in which cases are made."""
        path = CONFIGURATIONS / f"{self.recipe}.toml"
        configuration = configuration_from(load_toml(path), overrides=self.settings, source=str(path))
        return configuration.preparation.spacing_zyx_mm


@dataclass(frozen=True, slots=True)
class Clock:
    """How much of the time allowed is left; without a limit, all of it."""

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """Return the seconds left."""
        limit_s = math.inf if self.minutes is None else 60 * self.minutes
        return limit_s - (time.monotonic() - self.began)


def counts_of(cases: int, shares: Sequence[float], *, sources: int) -> list[int]:
    """Return how many cases of each source make up so many in these shares.

    >>> counts_of(100, (1, 1, 2), sources=3)
    [25, 25, 50]
    """
    if len(shares) != sources or min(shares) < 0 or not sum(shares):
        raise SystemExit(f"--shares: give {sources} numbers: parametric, each label map, copies; as in 2:1:0")
    return [round(cases * share / sum(shares)) for share in shares]


def thoar(*arguments: str | Path, allowed: tuple[int, ...] = (FINISHED,), limit_s: float = math.inf) -> int:
    """Run a command and return its exit code; end with it where it is not one that is allowed.

    Raises:
        UnfinishedError: if the command had to be ended because its time was over.
    """
    words = [str(argument) for argument in arguments]
    print(f"$ thoar {' '.join(words)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "thoar", *words])  # noqa: S603
    try:
        code = process.wait(None if math.isinf(limit_s) else limit_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # it leaves whole cases or none
        process.wait()
        raise UnfinishedError from None
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code not in allowed:
        raise SystemExit(code)
    return code
