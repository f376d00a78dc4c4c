"""The paper's table (S23), as numbers: our means, and the paper's own beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from thoar.evaluation.results import Results

COLUMNS = ("dice", "hausdorff_mm", "hausdorff95_mm", "assd_mm", "surface_dice", "average_hausdorff_mm")
"""Scores of the table, in order."""

PAPER_LABEL = "paper (SegTHOR test set: other data)"

PAPER: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "esophagus": {"dice": 0.7732, "average_hausdorff_mm": 1.6774},
        "heart": {"dice": 0.9384, "average_hausdorff_mm": 0.2089},
        "trachea": {"dice": 0.8939, "average_hausdorff_mm": 0.2741},
        "aorta": {"dice": 0.9232, "average_hausdorff_mm": 0.3081},
    }
)
"""Table 1 of Zhang et al. (CEUR-WS 2349, paper 5). Its "Hausdorff" stands under the average Hausdorff
distance over all voxels, the best-supported reading of what the challenge's server computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        label: an organ, or ``PAPER_LABEL``.
        n: cases behind the numbers; None for the paper's.
        values: by column; a column without a number is absent.
    """

    label: str
    n: int | None
    values: Mapping[str, float]


def table_rows(results: Results) -> tuple[Row, ...]:
    """Return per organ the means over the cases, followed by the paper's numbers where it has any."""
    rows: list[Row] = []
    for organ in results.organs:
        summaries = results.summaries[organ]
        means = {column: summaries[column].mean for column in COLUMNS}
        rows.append(Row(label=organ, n=summaries["dice"].n, values=means))
        if organ in PAPER:
            rows.append(Row(label=PAPER_LABEL, n=None, values=PAPER[organ]))
    return tuple(rows)
