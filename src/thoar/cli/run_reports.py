"""The pages that end a run; without matplotlib or Pillow a run has none, and is no worse for it."""

import logging
from pathlib import Path

_log = logging.getLogger(__name__)


def report_run(run: Path) -> None:
    """Write a run's ``report.html``."""
    try:
        from thoar.reports.run_report import write_run_report
    except ImportError as error:
        _say_why(run, error)
    else:
        write_run_report(run)


def report_folds(folder: Path) -> None:
    """Write the ``report.html`` of a cross-validation."""
    try:
        from thoar.reports.cross_validation_report import write_cross_validation_report
    except ImportError as error:
        _say_why(folder, error)
    else:
        write_cross_validation_report(folder)


def _say_why(folder: Path, error: ImportError) -> None:
    _log.warning("no report of %s: %s; `thoar report` makes it where matplotlib is installed", folder, error)
