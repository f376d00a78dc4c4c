"""What was measured, as it is kept."""

import datetime as dt
import os
from typing import Literal

import msgspec
from engines.subjects import Task
from provenance import code, processor

Part = Literal["times", "errors", "masks", "rounding"]
PARTS: tuple[Part, ...] = ("times", "errors", "masks", "rounding")


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Of one piece of work, by the clock and of all threads' processor time."""

    wall: float
    cpu: float


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """One variant in a process of its own.

    Attributes:
        subject: whose network.
        variant: its name.
        making_s: until it was there, and had done everything once: reading, quantising, compiling.
        seconds: per part, when it did that again: ``encode`` with the coarse heads, and organs.
        working_mib: most resident memory then, the libraries' own included; None where nobody says.
        peak_mib: of the whole process.
    """

    subject: str
    variant: str
    making_s: float
    seconds: dict[str, Seconds]
    working_mib: float | None
    peak_mib: float | None


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """How far a variant is from the modules in float32, on the subject's own scan.

    Attributes:
        subject: whose network.
        variant: its name.
        levels: of every level but the stem's, the root mean square of the difference by that of the level.
        coarse: largest difference of a coarse probability.
        fine: per organ, largest difference of a probability, from the variant's own levels.
    """

    subject: str
    variant: str
    levels: list[float]
    coarse: float
    fine: dict[str, float]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """One organ of one case.

    Attributes:
        variant: its name.
        case: its id.
        organ: its name.
        dice: with the mask that the modules draw in float32.
        change: of the Dice with the reference, against that mask's.
    """

    variant: str
    case: str
    organ: str
    dice: float
    change: float

    @property
    def is_kept(self) -> bool:
        """Whether the mask is as good as the same."""
        return self.dice >= LEAST_DICE and abs(self.change) <= MOST_CHANGE


LEAST_DICE, MOST_CHANGE = 0.998, 0.001


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What measured a part last.

    Attributes:
        code: commit and libraries.
        processor: its name.
        threads: of everybody.
        began: UTC.
        load_before: the machine's load average over a minute.
    """

    code: dict[str, str]
    processor: str
    threads: int
    began: str
    load_before: float


class Results(msgspec.Struct, kw_only=True):
    """All that has been measured.

    Attributes:
        calls: per part.
        tasks: per subject.
        absent: what a variant needs and was not there, or how it failed: per variant, or variant and subject.
        timings: of all rounds.
        errors: per subject and variant.
        masks: of variants, on cases with labels.
        rounding: of policies, on the same.
    """

    calls: dict[Part, Call] = {}
    tasks: dict[str, Task] = {}
    absent: dict[str, str] = {}
    timings: list[Timing] = []
    errors: list[Errors] = []
    masks: list[Agreement] = []
    rounding: list[Agreement] = []


def call_now(threads: int, versions: dict[str, str]) -> Call:
    """Return what measures now."""
    return Call(
        code=code() | versions,
        processor=processor(),
        threads=threads,
        began=dt.datetime.now(tz=dt.UTC).strftime("%Y-%m-%d %H:%M"),
        load_before=round(os.getloadavg()[0], 2),
    )
