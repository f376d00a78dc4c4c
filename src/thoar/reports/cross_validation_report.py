"""A cross-validation as a page: every case scored by the model that had not seen it."""

from collections.abc import Iterator
from pathlib import Path

from thoar.core.errors import InputError
from thoar.io.atomic import atomic_bytes
from thoar.metrics.summary import summarise
from thoar.reports.page import Markup, link, notice, page, paragraph, table
from thoar.reports.run_files import Scored, colors_of, read_facts, read_label_set, read_scored
from thoar.reports.run_report import REPORT, outcome, told
from thoar.reports.scores import said_number, score_blocks

SUMMARY = "cross_validation.json"


def write_cross_validation_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a folder of folds; missing and unfinished ones are named on the page.

    Args:
        folder: with ``fold_0``, ``fold_1``, … and ``cross_validation.json``.
        out: the file to write; ``report.html`` in the folder by default.

    Returns:
        The file.

    Raises:
        ResourceError: if the disk is full.
    """
    out = out or folder / REPORT
    atomic_bytes(out, cross_validation_page(folder).encode())
    return out


def cross_validation_page(folder: Path) -> str:
    """Return the report of a folder of folds."""
    return page(
        f"Cross-validation {folder.resolve().name}",
        [
            told("Folds", lambda: _folds(folder)),
            told("Scores of all cases", lambda: _scores(folder)),
        ],
    )


def fold_names(folder: Path) -> set[str]:
    """Return the names of the folders of folds."""
    return {path.name for path in folder.glob("fold_*") if path.is_dir() and path.name[5:].isdecimal()}


def _folds(folder: Path) -> Iterator[Markup]:
    try:
        scored = read_scored(folder / SUMMARY)
    except InputError:  # said where the scores would stand
        scored = Scored(organs=(), cases=())
    if scored.missing:
        said = "; ".join(f"{name} {why}" for name, why in scored.missing.items())
        yield notice(f"Not all folds are in what follows: {said}.", "warning")
    names = sorted(fold_names(folder) | set(scored.missing), key=lambda name: (len(name), name))
    yield table(
        ["fold", "run", "cases", *scored.organs],
        [[_name(folder / name), _state(folder / name), *_means(scored, name)] for name in names],
        numbers=range(2, 3 + len(scored.organs)),
        caption="mean Dice per fold",
    )


def _scores(folder: Path) -> Iterator[Markup]:
    scored = read_scored(folder / SUMMARY)
    yield paragraph("Every case was scored by the one model that was not trained on it.")
    folds = [case.fold for case in scored.cases]
    label_set = read_label_set(folder / (folds[0] if folds else ""))
    yield from score_blocks(scored, colors_of(scored.organs, label_set))


def _name(run: Path) -> str:
    return link(run.name, f"{run.name}/{REPORT}") if (run / REPORT).is_file() else run.name


def _state(run: Path) -> str:
    try:
        return outcome(read_facts(run))
    except InputError as error:
        return str(error)


def _means(scored: Scored, fold: str) -> list[str]:
    """Return the number of a fold's cases and the mean Dice of every organ."""
    cases = [case for case in scored.cases if case.fold == fold]
    means = (
        summarise(case.scores[organ].dice for case in cases if organ in case.scores).mean
        for organ in scored.organs
    )
    return [str(len(cases)), *map(said_number, means)]
