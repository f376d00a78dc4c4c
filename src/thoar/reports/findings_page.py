"""What a check of a data set found, as a page beside its pictures."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from thoar.datasets.findings import CheckReport, Finding
from thoar.reports.page import Markup, Section, gallery, link, notice, page, paragraph, picture, place, table


def findings_page(report: CheckReport, *, pictures: Mapping[str, str]) -> str:
    """Return the page of a check: every finding with its remedy, organs counted, a picture per case.

    Args:
        report: what was found.
        pictures: per case id, the picture's path relative to the page, with forward slashes; cases may lack
            one.
    """
    return page(
        "Check of a data set",
        [
            Section(title="Findings", blocks=tuple(_findings(report, pictures))),
            Section(title="Organs", blocks=(_organs(report),)),
            Section(title="Pictures", blocks=tuple(_pictures(report, pictures))),
        ],
        opening=[_opening(report)],
    )


def _opening(report: CheckReport) -> Markup:
    counts = f"errors: {report.errors}, warnings: {report.warnings}"
    said = f"Cases: {len(report.cases)}, {counts} (thoar {report.thoar})."
    if report.errors:
        return notice(f"{said} Errors must be mended before training.", "error")
    return notice(said, "warning" if report.warnings else "note")


def _findings(report: CheckReport, pictures: Mapping[str, str]) -> Iterator[Markup]:
    if not report.findings:
        yield paragraph("Nothing was found to be wrong.")
        return
    yield table(
        ["", "case", "organ", "found", "what to do"],
        [
            [line.severity, _case(line.case_id, pictures), line.organ or "", line.found, line.remedy]
            for line in report.findings
        ],
    )


def _case(case_id: str, pictures: Mapping[str, str]) -> str:
    if not case_id:
        return "whole data set"
    return link(case_id, f"#{case_id}") if case_id in pictures else case_id


def _organs(report: CheckReport) -> Markup:
    return table(
        ["organ", "drawn", "labelled, without a voxel", "declared absent", "unlabelled"],
        [
            [name, *map(str, (count.drawn, count.empty, count.absent, count.unlabelled))]
            for name, count in report.organs.items()
        ],
        numbers=range(1, 5),
        caption="number of cases",
    )


def _pictures(report: CheckReport, pictures: Mapping[str, str]) -> Iterator[Markup]:
    """Yield the gallery, cases with findings first."""
    findings: defaultdict[str, list[Finding]] = defaultdict(list)
    for line in report.findings:
        findings[line.case_id].append(line)
    shown = sorted(
        (case_id for case_id in report.cases if case_id in pictures),
        key=lambda case_id: not findings[case_id],
    )
    if shown:
        yield gallery(place(c, picture(pictures[c], _caption(c, findings[c]), title=c)) for c in shown)
    if len(shown) < len(report.cases):
        yield paragraph(f"{len(report.cases) - len(shown)} cases have no picture.")


def _caption(case_id: str, findings: Sequence[Finding]) -> str:
    said = [f"{line.organ}: {line.found}" if line.organ else line.found for line in findings]
    return f"{case_id}: {'; '.join(said)}" if said else case_id
