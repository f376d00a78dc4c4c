"""The promise about DICOM, measured: what is read, what is refused, and where results lie.

    .venv/bin/python -m proofs.dicom.report [--page docs/explanation/dicom-promise.md]

Every series is made by formula, read by ``thoar.io.dicom.process``, the reader that all commands use, and
compared. Ends with 1 if anything failed.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from proofs.dicom.cases import Outcome, refusal
from proofs.dicom.orientations import MATRIX
from proofs.dicom.page import Measured, page
from proofs.dicom.read import READ
from proofs.dicom.readable import reading
from proofs.dicom.refused import REFUSED
from proofs.dicom.round_trips import STEPS, Found, round_trips
from proofs.dicom.volumes import Agreement, agreements

from thoar.io.dicom.process import read_series


def measured() -> Measured:
    """Run everything, and print tables on the way."""
    begin = time.monotonic()
    refused = _each(REFUSED, lambda case, folder: refusal(case, folder, read_series))
    _print_outcomes("must be refused", refused)
    read = _each(READ, lambda case, folder: reading(case, folder, read_series))
    _print_outcomes("must be read", read)
    matrix = [
        (a, found)
        for a, found in zip(MATRIX, _each(MATRIX, lambda a, f: round_trips(a, f, read_series)), strict=True)
    ]
    _print_matrix([(a.group, a.name, found) for a, found in matrix])
    with TemporaryDirectory() as folder:
        volumes = tuple(agreements(Path(folder)))
    _print_volumes(volumes)
    return Measured(
        refused=tuple(refused),
        read=tuple(read),
        matrix=tuple((a.group, a.name, found) for a, found in matrix),
        volumes=volumes,
        seconds=time.monotonic() - begin,
    )


def _each(cases: Sequence, run: Callable) -> list:
    results = []
    for case in cases:
        with TemporaryDirectory() as folder:
            results.append(run(case, Path(folder)))
    return results


def _print_outcomes(title: str, outcomes: Sequence[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.fault]
    silent = sum(outcome.silent for outcome in outcomes)
    print(f"\n{title}: {len(outcomes) - len(failed)} of {len(outcomes)} as promised, {silent} silent errors")
    for outcome in outcomes:
        print(
            f"  {'FAILED ' if outcome.fault else ''}{outcome.id:6} {outcome.what}"
            f"{': ' if outcome.fault else ''}{outcome.fault}"
        )
        if outcome.fault and outcome.message:
            print(f"         {outcome.message}")


def _print_matrix(rows: Sequence[tuple[str, str, Mapping[str, Found]]]) -> None:
    silent = sum(found.silent for _, _, several in rows for found in several.values())
    right = Counter(step for _, _, several in rows for step, found in several.items() if found.right)
    print(f"\norientations: {len(rows)}, silent errors: {silent}")
    print(f"  {'':52}" + "".join(f"{step:>16}" for step in STEPS))
    for group, name, several in rows:
        cells = [
            f"{found.farthest_mm:.4f} mm" if found.right else "WRONG" for found in (several[s] for s in STEPS)
        ]
        print(f"  {group[:11]:12}{name:40}" + "".join(f"{cell:>16}" for cell in cells))
        for step, found in several.items():
            if not found.right:
                print(f"       {step}: {found.farthest_mm:.3f} mm, {found.voxels} voxels; {found.fault}")
    print(f"  {'right':52}" + "".join(f"{right[step]:>16}" for step in STEPS))


def _print_volumes(volumes: Iterable[Agreement]) -> None:
    print("\nvolumes")
    for v in volumes:
        print(
            f"  {'' if v.good else 'FAILED '}{v.grid:15}{v.reader:28}{v.organ:10}{v.volume_ml:8.2f} mL, "
            f"Dice {v.dice:.5f}, {v.volume_off_ml:+.3f} mL, {v.centroid_off_mm:.4f} mm"
        )


def main() -> int:
    """Measure, print, write the page, and say whether everything was as promised."""
    parser = argparse.ArgumentParser(description="what thoar promises about DICOM, measured")
    parser.add_argument("--page", type=Path, help="write the tables there, if everything is as promised")
    arguments = parser.parse_args()
    logging.getLogger("thoar").addHandler(logging.NullHandler())
    found = measured()
    print(f"\n{found.failures} failures, {found.silent} silent errors, {found.seconds:.0f} s")
    if found.failures:
        return 1
    if arguments.page is not None:
        arguments.page.write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
