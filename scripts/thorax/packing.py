"""The bundle to ship: float16, one file per part, with its sources and its card."""

from pathlib import Path
from string import Template

import msgspec

from thoar.inference.bundle import Bundle, read_bundle, write_bundle
from thoar.inference.manifest import Manifest
from thoar.io.atomic import replace_folder

from .plan import Plan
from .sources import SourceError, check_synthetic, citations_of

CARD = Path(__file__).with_name("card.md")
LARGEST_PART_BYTES = 16_000_000
LIMITS = {
    "synthetic": (
        "It has seen no real CT at all; the generator's proportions were fitted by hand, with the sample's "
        "label map and another to compare with."
    ),
    "shipped": "The copies show one patient alone; everything else it has seen is synthetic.",
}


class _Values(msgspec.Struct, frozen=True):
    dice: float | str | None


class _Score(msgspec.Struct, frozen=True):
    part: str
    scan: str
    organ: str
    scores: _Values


class _Chest(msgspec.Struct, frozen=True):
    scan: str
    faults: list[str] = []  # (msgspec copies it)


class _Results(msgspec.Struct, frozen=True):
    """What is wanted of a results file of ``benchmarks/real_scans.py``."""

    scores: list[_Score]
    chests: list[_Chest] = []
    date: str = ""
    model: str = ""
    learnt_from_sample: bool = False


def pack(plan: Plan, results: Path | None) -> Path:
    """Write the bundle of a finished run and return its folder.

    Raises:
        SourceError: if the model saw what its protocol forbids, or a source without a known licence.
    """
    bundle = read_bundle(plan.run / "best")
    if plan.protocol == "synthetic":
        check_synthetic(bundle.manifest)
    sources = citations_of(bundle.manifest)
    about = msgspec.structs.replace(
        bundle.manifest,
        name=plan.name,
        sources=sources,
        training_cases=tuple(case for source in sources for case in source.cases),
    )
    folder = plan.work / plan.name
    card = card_of(about, bundle, protocol=plan.protocol, scores=scores_of(results, plan.name))
    replace_folder(folder, lambda new: _write(new, bundle, about, card))
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB; copy it to src/thoar/models/ to ship it")
    return folder


def card_of(about: Manifest, bundle: Bundle, *, protocol: str, scores: str) -> str:
    """Return the text of a model's card."""
    spacing = "×".join(f"{s:g}" for s in bundle.configuration.preparation.spacing_zyx_mm)
    cases = about.training_sources.values()
    lines = [
        f"- {count} cases of {source.name}"
        + (f" ({source.licence})" if source.licence else "")
        + (f". {source.citation}" if source.citation else "")
        for count, source in zip(cases, about.sources, strict=True)
    ]
    return Template(CARD.read_text(encoding="utf-8")).substitute(
        name=about.name,
        recipe=bundle.configuration.name,
        spacing=spacing,
        parameters=f"{about.parameters / 1e6:.1f}",
        sources="\n".join(lines),
        seen=LIMITS[protocol],
        protocol=protocol,
        scores=scores,
    )


def scores_of(results: Path | None, model: str) -> str:
    """Return measured scores as a table of means; "not measured" where there are none.

    Args:
        results: what ``benchmarks/real_scans.py`` wrote.
        model: whose scores they must be.

    Raises:
        SourceError: if they are another's.
    """
    if results is None:
        return "Not measured."
    measured = msgspec.json.decode(results.read_bytes(), type=_Results)
    if measured.model not in ("", model):
        raise SourceError(f"{results}: holds the scores of {measured.model}; measure {model}")
    if not measured.scores:
        return "Not measured."
    groups: dict[tuple[str, str], list[float]] = {}
    for row in measured.scores:
        if isinstance(row.scores.dice, float):
            groups.setdefault((_where(row, measured), row.organ), []).append(row.scores.dice)
    lines = [
        f"| {where} | {organ} | {len(dice)} | {sum(dice) / len(dice):.3f} |"
        for (where, organ), dice in groups.items()
    ]
    faults = [f"- {chest.scan}: {'; '.join(chest.faults)}." for chest in measured.chests if chest.faults]
    said = ["", "What cannot be right on real scans:", "", *faults] if faults else []
    head = [
        f"By `benchmarks/real_scans.py`, {measured.date}.",
        "",
        "| on | organ | n | Dice |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *lines, *said])


def _where(row: _Score, results: _Results) -> str:
    seen = ", in the training data" * (row.part == "sample" and results.learnt_from_sample)
    return row.part if row.part == "phantoms" else f"{row.scan} ({row.part}{seen})"


def _write(folder: Path, bundle: Bundle, about: Manifest, card: str) -> None:
    write_bundle(
        folder,
        network=bundle.network,
        configuration=bundle.configuration,
        label_set=bundle.manifest.label_set,
        localisation=bundle.manifest.localisation,
        about=about,
        half=True,
        card=card,
    )
    large = [file.name for file in folder.iterdir() if file.stat().st_size > LARGEST_PART_BYTES]
    if large:
        raise SourceError(
            f"{', '.join(large)}: larger than {LARGEST_PART_BYTES / 1e6:.0f} MB; take fewer channels"
        )
