"""A results file of ``thoar evaluate`` as a page."""

from pathlib import Path

from thoar.io.atomic import atomic_bytes
from thoar.reports.page import Section, page, paragraph
from thoar.reports.run_files import colors_of, read_scored
from thoar.reports.scores import score_blocks


def write_results_report(results: Path, out: Path) -> Path:
    """Write the report of a results file.

    Args:
        results: what ``thoar evaluate`` wrote, or a run's ``validation.json``.
        out: the file to write.

    Returns:
        That file.

    Raises:
        InputError: if the results are missing or damaged.
        ResourceError: if the disk is full.
    """
    scored = read_scored(results)
    blocks = tuple(score_blocks(scored, colors_of(scored.organs)))
    made_by = [paragraph(f"Scored by thoar {scored.thoar_version}.")] if scored.thoar_version else []
    text = page(f"Scores of {results.name}", [Section(title="Scores", blocks=blocks)], opening=made_by)
    atomic_bytes(out, text.encode())
    return out
