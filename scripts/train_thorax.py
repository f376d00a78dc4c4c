"""Make a shipped model from nothing: synthesise the cases, train, pack.

    .venv/bin/python scripts/train_thorax.py WORK --label-map MAP --structures CSV
    .venv/bin/python scripts/train_thorax.py WORK --label-map MAP --structures CSV --protocol shipped

The first gives the synthetic model, which the second goes on from, with copies of the sample CT added.

Every step is skipped where WORK holds its result, and training goes on where it was interrupted: the same
command resumes. With --minutes 9 it stops cleanly after so long, with exit code 9 while there is more to do.
The bundle is left in WORK/thorax-…; docs/how-to/train-the-shipped-models.md tells the rest.
"""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from thorax.carrying import carry
from thorax.cases import make_cases
from thorax.packing import pack
from thorax.plan import FINISHED, UNFINISHED, Clock, Part, Plan, UnfinishedError, counts_of, thoar
from thorax.sources import PARAMETRIC, SAMPLE, SourceError, check_synthetic, map_source

from thoar.core.errors import ThoarError
from thoar.inference.manifest import MANIFEST, read_manifest
from thoar.inference.shipped import find_model

LEAST_S = 20.0
"""Training is not started for less."""
RESERVE_S = 15.0
"""Kept for the last step, the checkpoint and the start of the program."""


def main() -> None:
    """Take every step that is not taken yet, or as many as the time allows."""
    given = _arguments()
    clock = Clock(given.minutes)
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        plan = _plan(given)
        if given.carry is not None:
            carry(plan, given.carry)
            return
        if not (plan.work / plan.name / MANIFEST).is_file():
            make_cases(plan, clock)
            train(plan, clock)
        pack(plan, given.results)
    except UnfinishedError:
        print(f"not finished; go on with: {shlex.join([sys.executable, *sys.argv])}", flush=True)
        raise SystemExit(UNFINISHED) from None
    except (SourceError, ThoarError) as error:
        raise SystemExit(f"error: {error}") from error


def train(plan: Plan, clock: Clock) -> None:
    """Start the run, or go on with it.

    Raises:
        UnfinishedError: if the time is over before it has ended.
    """
    left_s = clock.left_s() - RESERVE_S
    if left_s < LEAST_S:
        raise UnfinishedError
    words: list[str | Path] = ["train", plan.recipe, "--data", plan.work, "-o", plan.run]
    words += ["--device", plan.device, "--workers", str(plan.workers)]
    words += [word for setting in plan.settings for word in ("--set", setting)]
    words += [] if math.isinf(left_s) else ["--max-time", f"{left_s:.0f}s"]
    words += [] if plan.init is None else ["--from", plan.init]
    words += ["--resume"] if (plan.run / "last").is_dir() else []
    if thoar(*words, allowed=(FINISHED, UNFINISHED)) == UNFINISHED:
        raise UnfinishedError


def _plan(given: argparse.Namespace) -> Plan:
    shipped = given.protocol == "shipped"
    if given.results is not None and not given.results.is_file():
        raise SystemExit(
            f"--results: {given.results} is no file; give what benchmarks/real_scans.py wrote, or nothing"
        )
    if bool(given.label_map) != (given.structures is not None):
        raise SystemExit("--label-map and --structures: give both, or none")
    init = _initial(given, needed=shipped)
    if init is not None and not shipped:
        check_synthetic(read_manifest(find_model(init)))  # now, not when hours of training are over
    return Plan(
        work=given.work,
        recipe=given.recipe,
        protocol=given.protocol,
        parts=_parts(given, copies=shipped),
        structures=given.structures,
        init=init,
        validation=given.validation,
        piece=given.piece,
        device=given.device,
        workers=given.workers,
        overrides=(*([f"train.threads={given.threads}"] if given.threads else []), *given.overrides),
    )


def _parts(given: argparse.Namespace, *, copies: bool) -> tuple[Part, ...]:
    """Return the sources with their numbers of cases, without those that give none."""
    maps: list[Path] = given.label_map
    shares = given.shares or (1,) * (1 + len(maps)) + (int(copies),)
    counts = counts_of(given.cases, shares, sources=2 + len(maps))
    if counts[-1] and not copies:
        raise SystemExit("--shares: protocol synthetic takes no copies of the sample; end in :0")
    parts = [Part(kind="parametric", source=PARAMETRIC, cases=counts[0])]
    for path, cases in zip(maps, counts[1:-1], strict=True):
        parts.append(Part(kind="label_map", source=map_source(path), cases=cases, made_from=path))
    if counts[-1]:
        sample = _sample(given.work, given.sample)
        parts.append(Part(kind="copies", source=SAMPLE, cases=counts[-1], made_from=sample))
    return tuple(part for part in parts if part.cases)


def _sample(work: Path, given: Path | None) -> Path:
    """Return the case folder of the sample's CT, fetched where none is given."""
    if given is not None:
        return given
    if not (work / "sample").is_dir():
        thoar("sample", work / "sample")
    return work / "sample" / SAMPLE


def _initial(given: argparse.Namespace, *, needed: bool) -> str | None:
    """Return the model to begin with; its record says what it has seen, and goes on with the new model's."""
    if given.init is not None:
        return None if given.init == "none" else given.init
    if not needed:
        return None
    bundle = given.work / f"thorax-{given.recipe}-synthetic"
    if not (bundle / MANIFEST).is_file():
        raise SystemExit(
            f"{bundle}: protocol shipped goes on from the synthetic model: make that first (--protocol "
            "synthetic), or give --init MODEL, or --init none for fresh weights"
        )
    return str(bundle)


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(":"))


def _arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    cores = min(3, os.cpu_count() or 1)
    parser = argparse.ArgumentParser(description="Make a shipped model from nothing.")
    parser.add_argument("work", type=Path, help="folder of everything that is made")
    parser.add_argument("--recipe", choices=("fast", "paper"), default="fast")
    parser.add_argument("--protocol", choices=("synthetic", "shipped"), default="synthetic")
    parser.add_argument(
        "--label-map",
        type=Path,
        action="append",
        default=[],
        help="of many structures of somebody; may repeat",
    )
    parser.add_argument("--structures", type=Path, help="the maps' table, with the columns structure and id")
    parser.add_argument("--sample", type=Path, help="case folder of `thoar sample`; fetched without it")
    parser.add_argument("--cases", type=int, default=300, help="in all")
    parser.add_argument("--shares", type=_shares, metavar="P:L:C", help="parametric, each label map, copies")
    parser.add_argument("--validation", type=int, default=6, help="cases held out")
    parser.add_argument("--piece", type=int, default=20, help="cases made at a time")
    parser.add_argument("--init", help="model to begin with; none for fresh weights")
    parser.add_argument("--minutes", type=float, help="stop cleanly after so many; exit code 9")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=cores, help="processes that make cases")
    parser.add_argument("--threads", type=int, default=cores, help="of training; 0 leaves torch's choice")
    parser.add_argument("--results", type=Path, help="scores for the card, by benchmarks/real_scans.py")
    parser.add_argument("--carry", type=Path, metavar="FOLDER", help="pack for a machine without libraries")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
