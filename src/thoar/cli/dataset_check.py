"""``thoar dataset check``: what is wrong with a data set, and what to do about it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.core.errors import InputError

if TYPE_CHECKING:
    from thoar.datasets.findings import CheckReport
    from thoar.datasets.manifest import Dataset

PICTURES, GALLERY = "pictures", "index.html"
OURS = re.compile(r"findings\.(json|csv)|index\.html|pictures")
"""What ``--overwrite`` may replace."""


def check(
    folder: Annotated[Path, typer.Argument(help="Data set: with dataset.toml, or in SegTHOR's layout.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Also make this folder: the findings, and a picture per case."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Cases read at the same time.")] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier check's folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check images and labels before training: geometry, values, ids, and organs against each other."""
    from thoar.cli.text import as_json_text
    from thoar.datasets.manifest import read_dataset

    dataset = read_dataset(folder)
    report = _check(dataset, out=out, workers=workers, overwrite=overwrite)
    if as_json:
        typer.echo(as_json_text(report))
    else:
        _show(report)
    if report.errors or (strict and report.findings):
        raise InputError(
            f"{folder}: {report.errors} errors and {report.warnings} warnings in {len(report.cases)} cases; "
            "mend what is listed above, or take the cases out"
        )


def _check(dataset: "Dataset", *, out: Path | None, workers: int, overwrite: bool) -> "CheckReport":
    """Check, and make the folder of results where one is asked for, whole or not at all."""
    from thoar.datasets.check import check_dataset
    from thoar.datasets.target import check_target
    from thoar.io.atomic import replace_folder

    if out is None:
        return check_dataset(dataset, workers=workers)
    check_target(out, OURS, overwrite=overwrite)
    reports: list[CheckReport] = []

    def fill(new: Path) -> None:
        pictures = new / PICTURES
        pictures.mkdir()
        reports.append(check_dataset(dataset, pictures=pictures, workers=workers))
        _write(new, reports[0])

    replace_folder(out.resolve(), fill)
    return reports[0]


def _write(folder: Path, report: "CheckReport") -> None:
    from thoar.datasets.findings import write_findings
    from thoar.io.atomic import atomic_bytes
    from thoar.reports.findings_page import findings_page

    drawn = {path.stem: f"{PICTURES}/{path.name}" for path in (folder / PICTURES).iterdir()}
    write_findings(folder, report)
    atomic_bytes(folder / GALLERY, findings_page(report, pictures=drawn).encode())


def _show(report: "CheckReport") -> None:
    """Print one line for each finding: where, what, and the remedy."""
    places = [(f.severity, f.case_id or "(all)", f.organ or "") for f in report.findings]
    widths = [max((len(place[column]) for place in places), default=0) for column in range(3)]
    for place, line in zip(places, report.findings, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(place, widths, strict=True)]
        typer.echo(f"{'  '.join(cells)}  {line.found} — {line.remedy}")
    for name, count in report.organs.items():
        typer.echo(
            f"{name}: drawn in {count.drawn} cases, empty in {count.empty}, declared absent in "
            f"{count.absent}, not labelled in {count.unlabelled}"
        )
    typer.echo(f"{len(report.cases)} cases: {report.errors} errors, {report.warnings} warnings")
