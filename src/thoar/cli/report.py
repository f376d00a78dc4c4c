"""``thoar report``: a run, a cross-validation or a results file as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    source: Annotated[
        Path,
        typer.Argument(help="A run of `thoar train`, a folder of its folds, or what `thoar evaluate` wrote."),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Page to write; report.html in or beside SOURCE."),
    ] = None,
) -> None:
    """Make one page that a browser shows without a network: scores, curves, pictures, what ran on what."""
    from thoar.core.errors import UsageError
    from thoar.reports.any_report import write_report

    if out is not None and out.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{out}: a report is a page; give a name that ends in .html")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    typer.echo(write_report(source, out))
