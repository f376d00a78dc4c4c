"""What ``real_scans.py`` finds, as a JSON file and as a page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from thoar.metrics.plain_numbers import plain_numbers
from thoar.metrics.scores import OrganScores
from thoar.metrics.summary import summarise

SAMPLE = "LIDC-IDRI-0001"
GOALS = {
    "sample": {"heart": 0.85, "aorta": 0.85, "trachea": 0.85, "esophagus": 0.60},
    "trachea above the carina": {"trachea": 0.88},
}
"""Least Dice; on the sample, of models that have not learnt from it."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One organ of one scan against a reference; NaN and infinity as in docs/reference/metrics.md."""

    part: str
    scan: str
    organ: str
    scores: OrganScores


class Chest(msgspec.Struct, frozen=True, kw_only=True):
    """What was drawn in a scan, reference or not.

    Attributes:
        scan: its id.
        kind: ``chest``, ``slab`` or ``abdomen``.
        in_training_data: whether the model says that it learnt from it.
        volumes_ml: per organ.
        cut_by_scan: per organ, the faces of the scan that it reaches.
        faults: what cannot be right; of an abdomen, thoracic organs drawn there.
        seconds: to segment it.
    """

    scan: str
    kind: str
    in_training_data: bool
    volumes_ml: dict[str, float]
    cut_by_scan: dict[str, tuple[str, ...]]
    faults: list[str]
    seconds: float


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Dice between a scan's contours and those of an altered copy, on the scan's grid."""

    scan: str
    alteration: str
    dice: dict[str, float]


@dataclass(kw_only=True, eq=False)
class Findings:
    """What has been measured so far."""

    scores: list[Score] = field(default_factory=list)
    chests: list[Chest] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)


def as_json(about: Mapping[str, Any], findings: Findings) -> bytes:
    """Return everything as JSON; undefined numbers are null and infinite ones "inf", as in results files."""
    found = {
        name: msgspec.to_builtins(getattr(findings, name)) for name in ("scores", "chests", "agreements")
    }
    return msgspec.json.format(msgspec.json.encode(plain_numbers(dict(about) | found)), indent=1) + b"\n"


def page(about: Mapping[str, Any], findings: Findings) -> Iterator[str]:
    """Yield the lines of the Markdown page."""
    yield f"# {about['model']} on real scans and phantoms"
    yield ""
    changed = " with changes" * (about["changed"] == "yes")
    yield f"Made by `benchmarks/real_scans.py` on {about['date']}, commit {about['commit']}{changed}; do not"
    yield f"edit. {about['processor']}; on {about['device']} with {about['threads']} threads, torch"
    yield f"{about['torch']}; {about['parameters'] / 1e6:.1f} M weights."
    yield f"Learnt from: {'; '.join(about['learnt_from']) or 'not said'}."
    yield "What is measured, and by which conventions of labels: `benchmarks/README.md`."
    yield from _scores(findings.scores, about)
    yield from _volumes(findings.chests)
    yield from _agreements(findings.agreements)


def _scores(scores: Sequence[Score], about: Mapping[str, Any]) -> Iterator[str]:
    titles = {
        "phantoms": "Held-out phantoms (mean)",
        "sample": f"{SAMPLE} against its automatic labels"
        + (": **in the training data**" if about["learnt_from_sample"] else ": never seen"),
        "slab": "gstt_slab, 16 mm of a chest, automatic labels (reported apart)",
        "trachea above the carina": "Trachea above the carina, semi-automatic references",
    }
    for part, title in titles.items():
        chosen = [score for score in scores if score.part == part]
        if chosen:
            yield from ("", f"## {title}", "")
            yield from _table(
                ["", "n", "Dice", "HD95 mm", "ASSD mm", "surface Dice 3 mm", "mL", "reference mL", "goal"],
                _score_rows(part, chosen, goals=_goals(part, about)),
            )


def _goals(part: str, about: Mapping[str, Any]) -> Mapping[str, float]:
    return {} if part == "sample" and about["learnt_from_sample"] else GOALS.get(part, {})


def _score_rows(part: str, scores: Sequence[Score], *, goals: Mapping[str, float]) -> Iterator[list[str]]:
    by_scan = part == "trachea above the carina"
    for name in dict.fromkeys(score.scan if by_scan else score.organ for score in scores):
        group = [score.scores for score in scores if name == (score.scan if by_scan else score.organ)]
        columns = ("dice", "hausdorff95_mm", "assd_mm", "surface_dice")
        means = [summarise(getattr(s, column) for s in group).mean for column in columns]
        volumes = [
            float(np.mean([getattr(s, column) for s in group]))
            for column in ("predicted_volume_ml", "reference_volume_ml")
        ]
        goal = goals.get("trachea" if by_scan else name)
        verdict = "" if goal is None else f"≥ {goal:.2f}: {'met' if means[0] >= goal else 'missed'}"
        numbers = [f"{means[0]:.3f}", f"{means[1]:.1f}", f"{means[2]:.2f}", f"{means[3]:.3f}"]
        yield [name, str(len(group)), *numbers, *(f"{ml:.1f}" for ml in volumes), verdict]


def _volumes(chests: Sequence[Chest]) -> Iterator[str]:
    if not chests:
        return
    organs = list(chests[0].volumes_ml)
    yield from ("", "## Volumes, mL, and what cannot be right", "")
    rows = [
        [chest.scan + (" (in the training data)" if chest.in_training_data else ""), chest.kind]
        + [f"{chest.volumes_ml[organ]:.0f}{'*' * bool(chest.cut_by_scan[organ])}" for organ in organs]
        + ["; ".join(chest.faults) or ("–" if chest.kind == "slab" else "nothing"), f"{chest.seconds:.1f}"]
        for chest in chests
    ]
    yield from _table(["scan", "", *organs, "faults", "s"], rows)
    yield from ("", "\\* reaches a face of the scan. In an abdomen the aorta is no fault: it truly is there.")


def _agreements(agreements: Sequence[Agreement]) -> Iterator[str]:
    if not agreements:
        return
    organs = list(agreements[0].dice)
    yield from ("", "## Agreement with itself on altered copies, Dice", "")
    rows = [[a.scan, a.alteration, *(f"{a.dice[organ]:.3f}" for organ in organs)] for a in agreements]
    yield from _table(["scan", "copy", *organs], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
