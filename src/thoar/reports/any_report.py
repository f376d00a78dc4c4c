"""The report of whatever is given: a run, a cross-validation, or a file of scores."""

from pathlib import Path

from thoar.core.errors import InputError, UsageError
from thoar.reports.cross_validation_report import fold_names, write_cross_validation_report
from thoar.reports.page import GENERATOR
from thoar.reports.results_report import write_results_report
from thoar.reports.run_report import REPORT, write_run_report

RUN_FILES = ("run.json", "metrics.csv")
"""Either makes a folder a run's."""

HEAD_BYTES = 4096
"""Within which a page says who made it."""


def write_report(source: Path, out: Path | None = None) -> Path:
    """Write the report that a file or folder calls for.

    Args:
        source: a run's folder, a folder of folds, or a file of scores.
        out: the file to write; ``report.html`` in or beside the source by default.

    Returns:
        The file.

    Raises:
        InputError: if the source is none of these.
        UsageError: if there is another file in the report's place.
        ResourceError: if the disk is full.
    """
    out = out or (source if source.is_dir() else source.parent) / REPORT
    _refuse_to_replace(out)
    if not source.is_dir():
        return write_results_report(source, out)
    if any((source / name).is_file() for name in RUN_FILES):
        return write_run_report(source, out)
    if fold_names(source):
        return write_cross_validation_report(source, out)
    raise InputError(
        f"{source}: is no folder of `thoar train`: it holds neither {' nor '.join(RUN_FILES)}, nor fold_0, "
        "fold_1, …"
    )


def _refuse_to_replace(out: Path) -> None:
    """Refuse to write over anything but an earlier page of ours."""
    if out.is_dir() or (out.exists() and GENERATOR.encode() not in out.read_bytes()[:HEAD_BYTES]):
        raise UsageError(f"{out}: exists and is no report of ours; give another name")
