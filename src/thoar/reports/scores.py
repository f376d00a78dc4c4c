"""Scores of cases as blocks of a page: per organ, as a plot, and case by case with the worst first."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from thoar.metrics.summary import Summary, summarise
from thoar.reports.page import Markup, figure, folded, notice, paragraph, table
from thoar.reports.plots import Dots, dots
from thoar.reports.run_files import Scored, ScoredCase

MOST_CASES = 20
"""So many of the worst cases stand open on the page; the others are folded."""

_Colors = Mapping[str, tuple[int, int, int]]


def score_blocks(scored: Scored, colors: _Colors) -> Iterator[Markup]:
    """Yield what is to be said of the scores of some cases.

    Args:
        scored: the file.
        colors: of every organ in it.
    """
    if not scored.cases:
        yield notice("No case was scored.", "warning")
        return
    yield _organs(scored)
    yield from _remarks(scored)
    groups = [
        Dots(name=organ, values=np.array(_values(scored, organ, "dice")), color_rgb=colors[organ])
        for organ in scored.organs
    ]
    yield figure(
        dots("Dice of every case, per organ", groups, y_name="Dice"),
        "Dice of every case, sorted within each organ; the bar is the median.",
    )
    yield from _cases(scored)


def mean_dice(case: ScoredCase) -> float:
    """Return a case's mean Dice over the organs for which it is defined; NaN where there is none."""
    return summarise(scores.dice for scores in case.scores.values()).mean


def said_number(value: float, digits: int = 3) -> str:
    """Return a score as text.

    >>> said_number(0.91234), said_number(math.nan), said_number(math.inf)
    ('0.912', '–', '∞')
    """
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def _organs(scored: Scored) -> Markup:
    tolerance = "" if scored.tolerance_mm is None else f" @ {scored.tolerance_mm:g} mm"
    return table(
        [
            "organ",
            "cases",
            "Dice, mean ± sd",
            "median",
            "HD95 mm, mean",
            "median",
            "ASSD mm, mean",
            f"surface Dice{tolerance}, mean",
        ],
        [_organ_row(scored, organ) for organ in scored.organs],
        numbers=range(1, 8),
    )


def _organ_row(scored: Scored, organ: str) -> list[str]:
    dice, hd95, assd, surface = (
        summarise(_values(scored, organ, name))
        for name in ("dice", "hausdorff95_mm", "assd_mm", "surface_dice")
    )
    spread = "" if math.isnan(dice.sd) else f" ± {dice.sd:.3f}"
    return [
        organ,
        str(dice.n),
        said_number(dice.mean) + spread,
        said_number(dice.median),
        said_number(hd95.mean, 2),
        said_number(hd95.median, 2),
        said_number(assd.mean, 2),
        said_number(surface.mean),
    ]


def _remarks(scored: Scored) -> Iterator[Markup]:
    """Say what the means hold and leave out."""
    for organ in scored.organs:
        overlap, distance = (summarise(_values(scored, organ, name)) for name in ("dice", "hausdorff_mm"))
        yield from (paragraph(f"{organ}: {said}") for said in _said_of(overlap, distance))
    if scored.unlabelled_cases:
        yield paragraph(f"No label map, not scored: {', '.join(scored.unlabelled_cases)}.")
    known = [case.case_id for case in scored.cases if case.in_training_data]
    if known:
        yield notice(f"In the model's training data: {', '.join(known)}.", "warning")


def _said_of(overlap: Summary, distance: Summary) -> Iterator[str]:
    if overlap.n_undefined:
        yield f"undefined in {overlap.n_undefined} of the cases (neither mask has a voxel), left out."
    if distance.n_infinite:
        yield f"one mask is empty in {distance.n_infinite} of the cases: Dice 0, distances infinite."


def _cases(scored: Scored) -> Iterator[Markup]:
    worst_first = sorted(scored.cases, key=_badness)
    yield _case_table(scored, worst_first[:MOST_CASES], "Dice (HD95 in mm) per case, worst mean Dice first")
    if len(worst_first) > MOST_CASES:
        others = worst_first[MOST_CASES:]
        yield folded(f"{len(others)} more cases", [_case_table(scored, others, "Dice (HD95 in mm)")])


def _badness(case: ScoredCase) -> tuple[bool, float, str]:
    """Return what orders cases from worst to best, those without any score last."""
    mean = mean_dice(case)
    return math.isnan(mean), 0.0 if math.isnan(mean) else mean, case.case_id


def _case_table(scored: Scored, cases: list[ScoredCase], caption: str) -> Markup:
    return table(
        ["case", "mean Dice", *scored.organs],
        [
            [_named(case), said_number(mean_dice(case)), *(_cell(case, organ) for organ in scored.organs)]
            for case in cases
        ],
        numbers=range(1, 2 + len(scored.organs)),
        caption=caption,
    )


def _named(case: ScoredCase) -> str:
    return f"{case.case_id} ({case.fold})" if case.fold else case.case_id


def _cell(case: ScoredCase, organ: str) -> str:
    scores = case.scores.get(organ)
    if scores is None:
        return ""
    return f"{said_number(scores.dice)} ({said_number(scores.hausdorff95_mm, 1)})"


def _values(scored: Scored, organ: str, name: str) -> list[float]:
    return [getattr(case.scores[organ], name) for case in scored.cases if organ in case.scores]
