"""What a model's card and manifest say of organs that were added to it."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from string import Template

import msgspec

from thoar.inference.manifest import Manifest, Source, TrainedOn

from .sources import citations_of

TEXT = Path(__file__).with_name("organ_card.md")


class _Scores(msgspec.Struct, frozen=True):
    dice: float | str | None
    hausdorff95_mm: float | str | None


class _Case(msgspec.Struct, frozen=True):
    scores: dict[str, _Scores]


class _Results(msgspec.Struct, frozen=True):
    """What is wanted of a results file of `thoar evaluate`."""

    cases: list[_Case]


def with_sources(manifest: Manifest) -> Manifest:
    """Return a manifest that cites what the decoders of added organs have seen as well.

    The cases of a source go by the patients that it shows, not by our numbers of them.

    Raises:
        SourceError: if a source is unknown.
    """
    added = {
        name: TrainedOn(
            cases=tuple(case for source in _cited(manifest, seen) for case in source.cases),
            sources=seen.sources,
        )
        for name, seen in manifest.added.items()
    }
    known = {source.name: source for source in manifest.sources}
    for seen in added.values():
        known |= {source.name: source for source in _cited(manifest, seen)}
    return msgspec.structs.replace(manifest, added=added, sources=tuple(known.values()))


def with_organs(card: str, manifest: Manifest, *, scores: Sequence[tuple[str, Path]]) -> str:
    """Return a model's card with what is to be said of its optional organs.

    Args:
        card: of the model without them.
        manifest: of the model with them.
        scores: results files of `thoar evaluate`, each with the words for what it was measured on.
    """
    seen = manifest.added[manifest.optional[0]]
    lines = [
        f"- {count} cases of {source.name} ({source.licence})"
        for count, source in zip(seen.sources.values(), _cited(manifest, seen), strict=True)
    ]
    text = Template(TEXT.read_text(encoding="utf-8")).substitute(
        organs=", ".join(name.replace("_", " ") for name in manifest.optional).capitalize(),
        names=",".join(manifest.optional),
        sources="\n".join(lines),
        scores=_table(manifest.optional, scores),
    )
    return card.rstrip() + "\n" + text


def _cited(manifest: Manifest, seen: TrainedOn) -> tuple[Source, ...]:
    return citations_of(msgspec.structs.replace(manifest, training_sources=seen.sources))


def _table(organs: Sequence[str], scores: Sequence[tuple[str, Path]]) -> str:
    if not scores:
        return "Not measured."
    rows = [row for where, path in scores for row in _rows(where, path, organs)]
    return "\n".join(["| on | organ | n | Dice | HD95 mm |", "|---|---|---|---|---|", *rows])


def _rows(where: str, path: Path, organs: Sequence[str]) -> list[str]:
    cases = msgspec.json.decode(path.read_bytes(), type=_Results).cases
    rows: list[str] = []
    for organ in organs:
        found = [case.scores[organ] for case in cases if organ in case.scores]
        both = [s for s in found if isinstance(s.dice, float) and isinstance(s.hausdorff95_mm, float)]
        if both:
            dice, away = fmean(_number(s.dice) for s in both), fmean(_number(s.hausdorff95_mm) for s in both)
            rows.append(f"| {where} | {organ} | {len(both)} | {dice:.3f} | {away:.1f} |")
    return rows


def _number(value: float | str | None) -> float:
    return value if isinstance(value, float) else float("nan")
