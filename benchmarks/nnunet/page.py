"""The page of the comparison with nnU-Net."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from budget import MARGIN
from nnunet.side import Side, mean_dice, organs_of, shown, values_of
from nnunet.windows import DATA, LARGEST_ZYX, SPACING_MM
from provenance import processor


def page(sides: Sequence[Side], made: Mapping[str, str]) -> Iterable[str]:
    """Yield the lines of the Markdown page."""
    organs = organs_of(sides[0])
    yield "# thoar and nnU-Net on the same phantoms"
    yield ""
    yield "Made by `.venv/bin/python benchmarks/against_nnunet.py WORK --peer PEER/bin`; do not edit."
    yield "One run each, so chance is in it; no hyper-parameter was chosen by the held-out cases."
    yield ""
    yield f"- Data: {DATA['training'][0]} phantoms to learn from and {DATA['test'][0]} held out (seeds"
    yield f"  {DATA['training'][1]} and {DATA['test'][1]}), voxels of {SPACING_MM:g} mm, at most"
    yield f"  {shown(LARGEST_ZYX)}; generator of {made['date']} (commit {made['commit']}, by content"
    yield f"  {made['phantoms_sha256']})."
    for side in sides:
        changed = " with changes" * (side.code["changed"] == "yes")
        yield f"- {side.name}: {side.code['date']}, commit {side.code['commit']}{changed};"
        yield f"  {side.minutes:g} minutes of the clock for preparation and training, {side.threads} threads."
    yield f"- Machine: {processor()}."
    yield ""
    yield f"| held-out cases | | {' | '.join(organs)} | all |"
    yield "|---|---|" + "---|" * (len(organs) + 1)
    for side in sides:
        yield from score_rows(side, organs)
    yield ""
    yield "Dice: mean ± sample standard deviation over the cases. HD95: median, and the largest; ∞ where an"
    yield "organ was missed. Scores are thoar's own (`docs/reference/metrics.md`), on both sides."
    yield ""
    yield "| | prepare: min | train: min | CPU min | peak MiB | segment a case: s | CPU s | peak MiB |"
    yield "|---|---|---|---|---|---|---|---|"
    for side in sides:
        yield f"| {side.name} | {' | '.join(cost_cells(side))} |"
    yield ""
    yield "Minutes by the clock, preparation apart (ours is part of training); processor time of everything"
    yield "before the first segmentation; times of a case with the program's start shared out. Peaks are"
    yield "resident memory of the largest process, Python and torch included."
    yield ""
    yield "While training, the sides kept so many of their threads busy:"
    yield ", ".join(f"{side.name} {busy_threads(side):.1f} of {side.threads}" for side in sides) + "."
    yield "Where that is far from all, or differs, the machine was doing other work, and the budget of the"
    yield "clock was not the same for both."
    yield ""
    yield f"| | {' | '.join(side.name for side in sides)} |"
    yield "|---|" + "---|" * len(sides)
    for fact in sides[0].facts:
        yield f"| {fact} | {' | '.join(side.facts[fact] for side in sides)} |"
    yield ""
    yield "nnU-Net is `nnUNetTrainer` with its own plan, learning rate, losses and augmentation; its 250,000"
    yield "iterations are cut to what fits, in epochs that share the time evenly, so that its learning rate"
    yield "falls to its end. It is made for days on a GPU, and has no mixed precision on a CPU: this says"
    yield "how far each gets in such a budget, not where either ends. Our epochs are fitted to"
    yield f"{MARGIN:.0%} of the budget by a trial beforehand, which the budget does not count."


def score_rows(side: Side, organs: Sequence[str]) -> Iterable[str]:
    """Yield a side's two rows of the table of scores."""
    dice = {organ: values_of(side, organ, "dice") for organ in organs}
    far = {organ: values_of(side, organ, "hausdorff95_mm") for organ in organs}
    means = [f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in dice.values()]
    medians = [f"{number(statistics.median(v))} ({number(max(v))})" for v in far.values()]
    yield f"| {side.name} | Dice | {' | '.join(means)} | {mean_dice(side):.3f} |"
    pooled = statistics.mean(statistics.median(v) for v in far.values())
    yield f"| | HD95 mm | {' | '.join(medians)} | {number(pooled)} |"


def number(value: float) -> str:
    """Return a length with one digit.

    >>> number(float("inf"))
    '∞'
    """
    return "∞" if value == float("inf") else f"{value:.1f}"


def busy_threads(side: Side) -> float:
    """Return how many threads a side's training kept busy on average."""
    return side.train.cpu_s / side.train.wall_s


def cost_cells(side: Side) -> list[str]:
    """Return the cells of a side's row in the table of costs."""
    parts = [part for part in (side.prepare, side.train) if part is not None]
    cases = len(side.cases)
    return [
        "–" if side.prepare is None else f"{side.prepare.wall_s / 60:.1f}",
        f"{side.train.wall_s / 60:.1f}",
        f"{sum(part.cpu_s for part in parts) / 60:.1f}",
        f"{max(part.peak_mib for part in parts):.0f}",
        f"{side.segment.wall_s / cases:.1f}",
        f"{side.segment.cpu_s / cases:.1f}",
        f"{side.segment.peak_mib:.0f}",
    ]
