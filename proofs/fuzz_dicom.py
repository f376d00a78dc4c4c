"""Put spoilt DICOM files through every reader: no untyped error, no hang, no bomb, no silent change of place.

``make fuzz`` runs 100,000 files; ``--only N`` shows one of them. Files that show a defect are kept.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from fuzzing.readers import (
    ALONE,
    DEFECTS,
    MOVED,
    NEAR,
    OTHERS,
    OWN_PIXELS,
    SAME,
    SHORT,
    SHORT_SAID,
    is_defect,
)
from fuzzing.seeds import SERIES, all_seeds
from fuzzing.workers import LIMIT_MIB, LIMIT_S, Plan, Result, plan, run

KEPT_OF_A_KIND = 20


def main() -> int:
    """Run, print the table, and say by the exit status whether any defect was found."""
    asked = _arguments()
    seeds = all_seeds()
    if asked.only is not None:
        return _show(plan(asked.only, asked.seed, seeds), asked.keep)
    start = time.monotonic()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    results: list[Result] = []
    for result in run(asked.files, asked.seed, asked.workers):
        planned = plan(result.index, asked.seed, seeds)
        counts[planned.seed.kind][result.outcome.kind] += 1
        results.append(result)
        if is_defect(result.outcome):
            _keep(result, planned, asked.keep, nth=_count_of(result, counts))
        if len(results) % 1000 == 0:
            print(
                f"{len(results)} of {asked.files}, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    print("\n".join(_table(counts)))
    print(_still_read(counts[SERIES]))
    print("\n".join(_extremes(results, time.monotonic() - start)))
    defects = sum(n for kinds in counts.values() for kind, n in kinds.items() if kind.startswith(DEFECTS))
    print(f"defects: {defects}" + (f", kept in {asked.keep}" if defects else ""))
    return 1 if defects else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of chance: the same seed, the same files")
    parser.add_argument("--workers", type=int, default=max(os.cpu_count() or 1, 1))
    parser.add_argument(
        "--keep", type=Path, default=Path("runs/fuzz"), help="folder for files that show a defect"
    )
    parser.add_argument("--only", type=int, help="write this one file there and say how it was spoilt")
    return parser.parse_args()


def _show(planned: Plan, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "only.dcm"
    path.write_bytes(planned.data)
    print(f"{path}: file {planned.which} of {planned.seed.name}: {planned.said}")
    return 0


def _count_of(result: Result, counts: dict[str, Counter[str]]) -> int:
    return sum(kinds[result.outcome.kind] for kinds in counts.values())


def _keep(result: Result, planned: Plan, folder: Path, *, nth: int) -> None:
    """Keep the file and say beside it how it came about."""
    found = f"{result.outcome.kind}: {result.outcome.detail}"
    said = f"{result.index} {planned.seed.name}[{planned.which}] {found}: {planned.said}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "defects.txt").open("a") as log:
        log.write(said.replace("\n", " ") + "\n")
    if nth <= KEPT_OF_A_KIND:
        slug = re.sub(r"[^A-Za-z]+", "-", result.outcome.kind).strip("-")
        (folder / f"{slug}-{result.index}.dcm").write_bytes(planned.data)


def _table(counts: dict[str, Counter[str]]) -> list[str]:
    kinds = sorted(
        {kind for one in counts.values() for kind in one}, key=lambda k: (not k.startswith(DEFECTS), k)
    )
    readers = sorted(counts)
    lines = [f"| outcome | {' | '.join(readers)} | all |", f"|---|{'---|' * (len(readers) + 1)}"]
    for kind in kinds:
        row = [counts[reader][kind] for reader in readers]
        lines.append(f"| {kind} | {' | '.join(map(str, row))} | {sum(row)} |")
    row = [counts[reader].total() for reader in readers]
    return [*lines, f"| all | {' | '.join(map(str, row))} | {sum(row)} |"]


def _still_read(series: Counter[str]) -> str:
    """Return what became of series with a spoilt slice that were not refused."""
    read = sum(series[kind] for kind in (SAME, NEAR, OWN_PIXELS, ALONE, SHORT_SAID, MOVED, OTHERS, SHORT))
    silent = sum(series[kind] for kind in (MOVED, OTHERS, SHORT))
    return (
        f"of {read} series still read, {silent} changed place, extent or other slices in silence, "
        f"{series[OWN_PIXELS]} the spoilt slice's own pixels"
    )


def _extremes(results: list[Result], elapsed_s: float) -> list[str]:
    slowest, largest = max(results, key=lambda r: r.seconds), max(results, key=lambda r: r.peak_mib)
    return [
        f"{len(results)} files in {elapsed_s:.0f} s ({len(results) / elapsed_s:.0f} a second)",
        f"slowest: file {slowest.index}, {slowest.seconds:.2f} s of processor time (limit {LIMIT_S:.0f})",
        f"largest: file {largest.index}, {largest.peak_mib} MiB resident at most (limit {LIMIT_MIB})",
    ]


if __name__ == "__main__":
    sys.exit(main())
