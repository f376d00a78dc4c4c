"""Whether a data set is fit to train on: every case read once, then all held against each other."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from thoar.core.versions import version_of
from thoar.datasets.check_case import CheckedCase, check_case
from thoar.datasets.check_set import check_set, count_organs
from thoar.datasets.findings import CheckReport, Finding
from thoar.datasets.manifest import Case, Dataset

_log = logging.getLogger(__name__)


def check_dataset(dataset: Dataset, *, pictures: Path | None = None, workers: int = 1) -> CheckReport:
    """Check a data set.

    Args:
        dataset: as its manifest, or SegTHOR's layout, lists it.
        pictures: a folder for a picture of each case; none are drawn without it.
        workers: threads; each holds one case in memory.

    Raises:
        ResourceError: if the disk is full.
    """

    def one(case: Case) -> CheckedCase:
        picture = None if pictures is None else pictures / f"{case.id}.png"
        return check_case(case, dataset.label_set, picture=picture)

    checked: list[CheckedCase] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for case in pool.map(one, dataset.cases):
            checked.append(case)
            _log.info("%d/%d %s: %s", len(checked), len(dataset.cases), case.case.id, _said(case.findings))
    findings = (line for case in checked for line in case.findings)
    return CheckReport(
        thoar=version_of("thoar"),
        cases=tuple(case.id for case in dataset.cases),
        organs=count_organs(checked, dataset.label_set),
        findings=_in_order((*findings, *check_set(checked, dataset.label_set)), dataset),
    )


def _said(findings: Sequence[Finding]) -> str:
    return ", ".join(dict.fromkeys(line.kind for line in findings)) or "read"


def _in_order(findings: tuple[Finding, ...], dataset: Dataset) -> tuple[Finding, ...]:
    """Return errors before warnings, the data set's own before its cases', these in their order."""
    places = {"": -1, **{case.id: number for number, case in enumerate(dataset.cases)}}
    return tuple(sorted(findings, key=lambda line: (line.severity != "error", places[line.case_id])))
