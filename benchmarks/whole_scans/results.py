"""What was measured, as it is kept and put together."""

import datetime as dt
import os
import statistics
from collections.abc import Sequence

import msgspec
import torch
from costs import Cost
from provenance import code, processor
from whole_scans.peak import Peak

from thoar.core.box import Index3

NNUNET, NNUNET_WHOLE = "nnunet", "nnunet-whole"
"""Of which some patches are computed, or all."""
NETWORK = ("encode", "locate", "draw", "network")
"""The stages that are the network's: ours, and nnU-Net's one."""


class Patches(msgspec.Struct, frozen=True, kw_only=True):
    """nnU-Net's patches of one scan.

    Attributes:
        number: that the scan has.
        computed: of these; the time of the others is calculated.
        patch_s: of one, on average.
        patch_gflop: of one.
    """

    number: int
    computed: int
    patch_s: float
    patch_gflop: float


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One contender with one scan, once.

    Attributes:
        contender: its name.
        scan: its name.
        shape_zyx: of the scan.
        seconds: per stage.
        total_s: from the scan's file to the last result, the model being loaded.
        first_s: the same of a process's first scan; None where there was no second.
        cost: of the whole process, its start included.
        gflop: of the network's convolutions, per stage.
        patches: of nnU-Net.
        found: organs with a contour.
        gpu_mib: most that tensors took of a GPU.
    """

    contender: str
    scan: str
    shape_zyx: Index3
    seconds: dict[str, float]
    total_s: float
    first_s: float | None
    cost: Cost
    gflop: dict[str, float]
    patches: Patches | None = None
    found: list[str] = []
    gpu_mib: float | None = None

    @property
    def network_s(self) -> float:
        """Of the network alone."""
        return sum(self.seconds.get(stage, 0.0) for stage in NETWORK)

    @property
    def rest_s(self) -> float:
        """Of everything else."""
        return self.total_s - self.network_s

    @property
    def is_calculated(self) -> bool:
        """Whether a part of the time was calculated, not measured."""
        return self.patches is not None and self.patches.computed < self.patches.number


class Starts(msgspec.Struct, frozen=True, kw_only=True):
    """How long programs take before they do anything, medians.

    Attributes:
        help_s: ``thoar --help``.
        cold_s: ``thoar segment`` of a tiny scan, without the stages of its run record.
        loaded_s: from the start of a process until the shipped model is loaded.
    """

    help_s: float
    cold_s: float
    loaded_s: float


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What measured: results of one machine and one state of the code belong together."""

    processor: str
    device: str
    threads: int
    code: dict[str, str]
    peer: str = ""

    def belongs_to(self, other: "About") -> bool:
        """Say whether two runs measured the same code in the same way."""
        same = ("commit", "changed", "torch")
        return (self.processor, self.device, self.threads, [self.code[key] for key in same]) == (
            other.processor,
            other.device,
            other.threads,
            [other.code[key] for key in same],
        )


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the benchmark.

    Attributes:
        command: its options.
        began, ended: when, UTC.
        load_before, load_after: the machine's load average over a minute.
    """

    command: str
    began: str
    ended: str
    load_before: float
    load_after: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one machine and one state of the code."""

    about: About
    calls: list[Call] = []
    peaks: dict[str, Peak] = {}
    starts: Starts | None = None
    measurements: list[Measurement] = []

    def of(self, contender: str, scan: str) -> Measurement | None:
        """Return the measurement of median time, or None where there is none."""
        found = [m for m in self.measurements if (m.contender, m.scan) == (contender, scan)]
        return typical(found) if found else None

    @property
    def contenders(self) -> list[str]:
        """By name, in the order in which they were measured first."""
        return list(dict.fromkeys(m.contender for m in self.measurements))

    @property
    def scans(self) -> list[str]:
        """From the smallest to the largest."""
        sizes = {m.scan: m.shape_zyx[0] * m.shape_zyx[1] * m.shape_zyx[2] for m in self.measurements}
        return sorted(sizes, key=lambda scan: sizes[scan])


def typical(measurements: Sequence[Measurement]) -> Measurement:
    """Return the one whose time is the median (of two, the shorter one); its stages belong to that time."""
    middle = statistics.median_low(m.total_s for m in measurements)
    return next(m for m in measurements if m.total_s == middle)


def about_this(device: str, threads: int, peer: str) -> About:
    """Return what measures here."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    return About(processor=name, device=device, threads=threads, code=code(), peer=peer)


def merged(older: Results | None, newer: Results) -> Results:
    """Return newer results with what older ones have besides, where they belong together.

    What both have measured counts as it was measured last.
    """
    if older is None or not newer.about.belongs_to(older.about):
        return newer
    anew = {(m.contender, m.scan) for m in newer.measurements}
    kept = [m for m in older.measurements if (m.contender, m.scan) not in anew]
    about = newer.about if newer.about.peer else msgspec.structs.replace(newer.about, peer=older.about.peer)
    return Results(
        about=about,
        calls=[*older.calls, *newer.calls],
        peaks=older.peaks | newer.peaks,
        starts=newer.starts or older.starts,
        measurements=[*kept, *newer.measurements],
    )


def now() -> str:
    """Return the time, UTC, to the minute."""
    return dt.datetime.now(tz=dt.UTC).strftime("%Y-%m-%d %H:%M")


def load() -> float:
    """Return the machine's load average over a minute."""
    return round(os.getloadavg()[0], 2)
