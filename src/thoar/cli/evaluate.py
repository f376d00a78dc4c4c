"""``thoar evaluate``: how well predictions agree with references."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from thoar.evaluation.results import Results
    from thoar.evaluation.table import Row


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder that `thoar segment` wrote, or a label map.")],
    references: Annotated[Path, typer.Argument(help="Data set with labels, or a label map.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Results file to write (JSON).")],
    tolerance_mm: Annotated[float, typer.Option(help="Tolerance of surface Dice.")] = 3.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier results file.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results file instead of the table.")
    ] = False,
) -> None:
    """Score predictions against references and write one results file (docs/reference/metrics.md)."""
    from thoar.evaluation.evaluate import evaluate as score
    from thoar.evaluation.results import results_json, write_results

    if not 0 <= tolerance_mm < math.inf:
        raise UsageError(f"--tolerance-mm {tolerance_mm}: give a length in millimetres, for example 3")
    _refuse_to_overwrite(out, overwrite=overwrite)
    results = score(predictions, references, tolerance_mm=tolerance_mm)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_results(out, results)
    typer.echo(results_json(results).rstrip() if as_json else "\n".join(_lines(results)))


def _refuse_to_overwrite(out: Path, *, overwrite: bool) -> None:
    """Refuse to replace anything but, if asked for, an earlier results file."""
    from thoar.evaluation.results import read_results

    if not out.exists():
        return
    if not overwrite:
        raise UsageError(f"{out}: exists; give another name, or --overwrite to replace it")
    try:
        read_results(out)
    except InputError as error:
        raise UsageError(f"{out}: exists and is no results file of ours; give another name") from error


def _lines(results: "Results") -> Iterator[str]:
    from thoar.evaluation.table import COLUMNS, table_rows

    names = {
        "dice": "Dice",
        "hausdorff_mm": "HD mm",
        "hausdorff95_mm": "HD95 mm",
        "assd_mm": "ASSD mm",
        "surface_dice": f"surface Dice @ {results.tolerance_mm:g} mm",
        "average_hausdorff_mm": "average HD mm",
    }
    yield from _aligned(
        ["mean over cases", "n", *names.values()], [_cells(r, COLUMNS) for r in table_rows(results)]
    )
    yield 'The paper\'s "Hausdorff" stands under average HD, its best-supported reading.'
    yield from _remarks(results)


def _cells(row: "Row", columns: Sequence[str]) -> list[str]:
    numbers = [f"{row.values[column]:.4f}" if column in row.values else "" for column in columns]
    return [row.label, "" if row.n is None else str(row.n), *numbers]


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def _remarks(results: "Results") -> Iterator[str]:
    """Say what the means leave out, and which scans the model has seen."""
    of_all = f"of {len(results.cases)} cases"
    for organ in results.organs:
        dice, distance = results.summaries[organ]["dice"], results.summaries[organ]["hausdorff_mm"]
        if dice.n_undefined:
            yield f"{organ}: undefined in {dice.n_undefined} {of_all} (neither mask has a voxel), left out"
        if distance.n_infinite:
            yield f"{organ}: one mask is empty in {distance.n_infinite} {of_all}: Dice 0, distances infinite"
        if results.skipped[organ]:
            yield f"{organ}: not labelled or not asked for in {results.skipped[organ]} {of_all}, left out"
    if results.unlabelled_cases:
        yield f"no label map, not scored: {', '.join(results.unlabelled_cases)}"
    for case in results.cases:
        if case.in_training_data:
            yield f"{case.case_id}: this scan was in the model's training data"
