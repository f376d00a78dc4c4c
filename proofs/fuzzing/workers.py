"""Processes that put spoilt files through the readers, restarted where one hangs or a decoder aborts."""

import multiprocessing
import os
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuzzing.elements import elements_of
from fuzzing.mutations import spoil
from fuzzing.readers import CRASH, HANG, MEMORY, Outcome, outcome, truth_of
from fuzzing.seeds import FILE, RTSTRUCT, SEG, SERIES, Seed, all_seeds

LIMIT_S = 5.0
"""Processor time for one file; wall time depends on what else the machine does."""
LIMIT_MIB = 500
SILENCE_S = 60.0
SHARES = {SERIES: 55, RTSTRUCT: 15, SEG: 15, FILE: 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One spoilt file.

    Attributes:
        seed: what it is made from.
        which: the file of the seed that is spoilt.
        data: the bytes.
        said: how they were spoilt.
    """

    seed: Seed
    which: int
    data: bytes
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the file of that number."""

    index: int
    outcome: Outcome
    seconds: float = 0.0
    peak_mib: int = 0


class _TooLongError(BaseException):
    """Not an Exception: a reader that turns those into its own must let this one through."""


def plan(index: int, chance: int, seeds: list[Seed]) -> Plan:
    """Return file number ``index`` of the run of that seed of chance; the same whenever it is asked for."""
    rng = random.Random(f"{chance}/{index}")  # noqa: S311 (to be repeated, not to be secret)
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    seed = rng.choice([one for one in seeds if one.kind == kind])
    which = rng.choice(seed.spoilt)
    data, said = spoil(seed.files[which], elements_of(seed.files[which]), rng)
    return Plan(seed=seed, which=which, data=data, said=said)


def run(files: int, chance: int, workers: int) -> Iterator[Result]:
    """Yield what became of each of so many files, as it comes."""
    context = multiprocessing.get_context("spawn")
    shares = [_Share(context, range(k, files, workers), chance) for k in range(min(workers, files))]
    while shares := [share for share in shares if share.left]:
        ready = wait([share.pipe for share in shares], timeout=1.0)
        for share in shares:
            yield from share.results(is_ready=share.pipe in ready)
    for share in shares:
        share.end()


class _Share:
    """One worker's part of the numbers; a new worker takes over where one is lost."""

    def __init__(self, context: multiprocessing.context.SpawnContext, left: range, chance: int) -> None:
        self.left, self._context, self._chance = left, context, chance
        self.pipe, self._process = self._started()

    def _started(self) -> tuple[Connection, BaseProcess]:
        self._heard = time.monotonic()
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(theirs, self.left, self._chance), daemon=True)
        process.start()
        theirs.close()
        return ours, process

    def results(self, *, is_ready: bool) -> Iterator[Result]:
        """Yield what the worker has to say; where it died or fell silent, that, and start another."""
        try:
            while is_ready and self.pipe.poll():
                result: Result = self.pipe.recv()
                self.left, self._heard = self.left[1:], time.monotonic()
                yield result
        except EOFError:
            self._process.join()
            yield self._lost(f"{CRASH} (exit {self._process.exitcode})")
            return
        if time.monotonic() - self._heard > SILENCE_S:
            self._process.kill()
            self._process.join()
            yield self._lost(f"{HANG} (no word for {SILENCE_S:.0f} s)")

    def _lost(self, what: str) -> Result:
        lost, self.left = self.left[0], self.left[1:]
        self.pipe.close()
        if self.left:
            self.pipe, self._process = self._started()
        return Result(index=lost, outcome=Outcome(kind=what))

    def end(self) -> None:
        """Wait for the worker."""
        self._process.join()


def _work(pipe: Connection, indices: range, chance: int) -> None:
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    seeds = all_seeds()
    warnings.simplefilter("error")  # a library's remark that gets this far would reach the user
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seeds)
        _silence_decoders()
        for index in indices:
            pipe.send(bench.measured(index, chance))


def _silence_decoders() -> None:
    """Send what native decoders print of broken pixels nowhere; how a worker ends is reported anyway."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)


def _too_long(_signal: int, _frame: object) -> None:
    raise _TooLongError


class Bench:
    """The sound files in folders, where one after the other is replaced by a spoilt one."""

    def __init__(self, folder: Path, seeds: list[Seed]) -> None:
        self._seeds = seeds
        self._folders = {seed.name: folder / str(number) for number, seed in enumerate(seeds)}
        for seed in seeds:
            for number in range(len(seed.files)):
                self._write(seed, number, seed.files[number])
        self._truths = {seed.name: truth_of(seed, self._folders[seed.name]) for seed in seeds}

    def _write(self, seed: Seed, number: int, data: bytes) -> Path:
        inner = "series" if seed.kind in {RTSTRUCT, SEG} and number else "."
        path = self._folders[seed.name] / inner / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def read(self, seed: Seed, which: int, data: bytes) -> Outcome:
        """Read a seed with one of its files replaced, for this once."""
        path = self._write(seed, which, data)
        try:
            return outcome(seed, path, truth=self._truths[seed.name])
        finally:
            self._write(seed, which, seed.files[which])

    def measured(self, index: int, chance: int) -> Result:
        """Read file number ``index`` under the limits."""
        planned = plan(index, chance, self._seeds)
        _forget_peak()
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            found = self.read(planned.seed, planned.which, planned.data)
        except _TooLongError:
            found = Outcome(kind=f"{HANG} (over {LIMIT_S:.0f} s)")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        seconds, peak = time.process_time() - start, _peak_mib()
        if peak > LIMIT_MIB:
            found = Outcome(kind=f"{MEMORY} (over {LIMIT_MIB} MiB)", detail=f"{peak} MiB; {found.kind}")
        return Result(index=index, outcome=found, seconds=seconds, peak_mib=peak)


def _forget_peak() -> None:
    """Let Linux count the peak of resident memory from here; elsewhere memory is not measured."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _peak_mib() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024
