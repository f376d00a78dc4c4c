"""The ways to run our networks on a CPU: time, memory, and what becomes of the masks.

    python3 -m venv ENGINES; ENGINES/bin/pip install -c constraints.txt '.[export,openvino]' nncf==3.4.0
    PYTHONPATH=src ENGINES/bin/python benchmarks/cpu_engines.py WORK [--threads 4] [--rounds 3]

The recipe ``paper`` with weights of a fixed seed, and the shipped ``thorax-fast``, on the sample CT: by
torch's modules in several ways, by ``thoar.inference.slabs``, compiled by inductor, and by ONNX Runtime and
OpenVINO. What is not installed is left out, and the page says so: an environment without them will do. With
``thorax-fast`` besides, where in the network low precision hurts. ``--parts errors masks rounding`` can be
done on a busy machine, ``--parts times`` wants a quiet one; each is kept, with its date, until it is redone.
"""

import argparse
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from costs import command
from engines.page import page
from engines.results import PARTS, Errors, Results, Timing, call_now
from engines.subjects import make_task
from engines.trial import compared, masks_of, timed
from engines.variants import EAGER_DOUBLE, ROUNDED, VARIANTS

from thoar.inference.shipped import FAST_MODEL
from thoar.io.atomic import atomic_bytes

SUBJECTS = ("paper", FAST_MODEL)
PHANTOMS, SEED = 10, 990317
"""A seed that no recipe learns from."""


def main() -> None:
    """Measure what is asked for; write the results after every measurement, and the page."""
    given = parsed()
    bench = Bench(given)
    for part in given.parts:
        bench.results.calls[part] = call_now(given.threads, versions())
        getattr(bench, part)()
    bench.write()


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of scans, graphs and caches; about 1 GB.")
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=PARTS, help="All; with none, the page is written anew."
    )
    parser.add_argument("--threads", type=int, default=4, help="Of everybody.")
    parser.add_argument("--rounds", type=int, default=3, help="Of the times.")
    parser.add_argument("--subjects", nargs="+", default=SUBJECTS, help="Recipes and shipped models.")
    parser.add_argument("--variants", nargs="+", metavar="NAME", choices=[*VARIANTS, *ROUNDED], help="All.")
    parser.add_argument("--sample", type=Path, help="What `thoar sample` wrote; made if absent.")
    parser.add_argument("--phantoms", type=Path, help="What `thoar phantom` wrote; made if absent.")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


def versions() -> dict[str, str]:
    """Return the versions of the engines that are here."""
    found: dict[str, str] = {}
    for name in ("onnxruntime", "openvino", "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


class Bench:
    """What is measured, with what, and what was found so far.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.work: Path = given.work.resolve()
        self.threads: int = given.threads
        self.rounds: int = given.rounds
        self.subjects: Sequence[str] = given.subjects
        self.names: Sequence[str] = given.variants or [*VARIANTS, *ROUNDED]
        self.output: Path = given.output
        self.results = kept(given.output.with_suffix(".json"))
        self.sample: Path = given.sample or self._made("sample")
        self.phantoms: Path = given.phantoms or self._made(
            "phantom", "--cases", str(PHANTOMS), "--seed", str(SEED)
        )
        for name in dict.fromkeys([*self.subjects, FAST_MODEL]):
            if name not in self.results.tasks or not (self.work / name).is_dir():
                self.results.tasks[name] = alone(make_task, name, self.sample, self.work)

    def times(self) -> None:
        """Measure time and memory, all variants in turns."""
        pairs = list(self._pairs())
        self.results.timings = [t for t in self.results.timings if (t.subject, t.variant) not in pairs]
        for _ in range(self.rounds):
            for subject, variant in pairs:
                found = self._tried(f"{variant}, {subject}", timed, subject, variant, self.work)
                if isinstance(found, Timing):
                    self.results.timings.append(found)
                    told = ", ".join(f"{part} {s.wall:.2f} s" for part, s in found.seconds.items())
                    self._said(f"{subject}, {variant}: {told}, {found.working_mib or 0:.0f} MiB")

    def errors(self) -> None:
        """Compare levels and probabilities."""
        for subject, variant in self._pairs():
            found = self._tried(f"{variant}, {subject}", compared, subject, variant, self.work)
            if isinstance(found, Errors):
                others = [e for e in self.results.errors if (e.subject, e.variant) != (subject, variant)]
                self.results.errors = [*others, found]
                self._said(f"{subject}, {variant}: levels {max(found.levels):.1e}")

    def masks(self) -> None:
        """Compare the masks of all variants."""
        chosen = [name for name in self.names if name in VARIANTS and name != EAGER_DOUBLE]
        usable = [name for name in chosen if not self._is_absent(name)]
        self.results.masks = self._agreements(self.results.masks, usable)

    def rounding(self) -> None:
        """Compare the masks of all policies."""
        chosen = [name for name in self.names if name in ROUNDED]
        self.results.rounding = self._agreements(self.results.rounding, chosen)

    def write(self) -> None:
        """Write results and page."""
        as_json = msgspec.json.format(msgspec.json.encode(self.results), indent=1) + b"\n"
        atomic_bytes(self.output.with_suffix(".json"), as_json)
        atomic_bytes(self.output, ("\n".join(page(self.results)) + "\n").encode())

    def _agreements(self, older: list[Any], names: Sequence[str]) -> list[Any]:
        for name in names:
            arguments = (FAST_MODEL, name, self.work)
            found = self._tried(f"{name}, masks", masks_of, *arguments, more=((self.sample, self.phantoms),))
            if found is not None:
                older[:] = [*(one for one in older if one.variant != name), *found]
                self._said(f"{name}: {sum(a.is_kept for a in found)} of {len(found)} masks kept")
        return older

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for subject in self.subjects:
            for name in self.names:
                of_subject = name in VARIANTS and subject in (VARIANTS[name].only or (subject,))
                if of_subject and not self._is_absent(name):
                    yield subject, name

    def _is_absent(self, name: str) -> bool:
        lacks = VARIANTS[name].lacks
        self.results.absent.pop(name, None)
        if lacks:
            self.results.absent[name] = f"not here: {lacks}"
        return bool(lacks)

    def _tried(
        self, label: str, do: Callable[..., Any], *arguments: object, more: tuple[object, ...] = ()
    ) -> Any:
        """Do something in a process of its own; None if that failed, which is kept under a label."""
        self.results.absent.pop(label, None)
        found = alone(do, *arguments, self.threads, *more, may_fail=True)
        if isinstance(found, BaseException):
            reason = " ".join(str(found).split())[:300]
            self.results.absent[label] = f"failed with {type(found).__name__}: {reason}"
            self._said(f"{label}: {self.results.absent[label]}")
            return None
        return found

    def _said(self, line: str) -> None:
        print(line, flush=True)
        self.write()

    def _made(self, what: str, *options: str) -> Path:
        folder = self.work / what
        if not folder.is_dir():
            command([what, folder, *options], self.work / f"{what}.log", threads=self.threads)
        return folder


def alone(do: Callable[..., Any], *arguments: object, may_fail: bool = False) -> Any:
    """Do something in a process of its own, which takes its memory with it.

    Args:
        do: what.
        arguments: of it.
        may_fail: whether an exception of it is returned, a killed process' too.
    """
    quiet = {"initializer": logging.disable, "initargs": (logging.WARNING,)}  # of others' advice
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), **quiet) as pool:
        future = pool.submit(do, *arguments)
        error = future.exception()
        return error if error is not None and may_fail else future.result()


def kept(path: Path) -> Results:
    """Return what was measured before."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.is_file() else Results()


if __name__ == "__main__":
    main()
