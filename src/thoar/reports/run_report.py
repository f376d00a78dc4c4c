"""A training run as a page: how good the model is, how it got there, what it ran on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from thoar.core.errors import InputError
from thoar.io.atomic import atomic_bytes
from thoar.reports.page import (
    Markup,
    Section,
    facts,
    figure,
    folded,
    listing,
    notice,
    page,
    paragraph,
    picture,
    verbatim,
)
from thoar.reports.plots import Line, curves
from thoar.reports.run_files import (
    Measured,
    RunFacts,
    Series,
    colors_of,
    read_facts,
    read_label_set,
    read_measured,
    read_scored,
    read_text,
)
from thoar.reports.scores import score_blocks

REPORT = "report.html"
LAST_PICTURES = 2


def write_run_report(run: Path, out: Path | None = None) -> Path:
    """Write a run's report; what its folder lacks, or what cannot be read there, is said on the page.

    Args:
        run: the run's folder, finished, running, or failed.
        out: the file to write; ``report.html`` in the folder by default.

    Returns:
        The file.

    Raises:
        ResourceError: if the disk is full.
    """
    out = out or run / REPORT
    atomic_bytes(out, run_page(run).encode())
    return out


def run_page(run: Path) -> str:
    """Return a run's report."""
    return page(
        f"Training run {run.resolve().name}",
        [
            told("Scores on the held-out cases", lambda: _scores(run)),
            told("Curves", lambda: _curves(run)),
            told("Pictures", lambda: _pictures(run)),
            told("What ran, and on what", lambda: _circumstances(read_facts(run))),
            told("Repeating it", lambda: _repeating(read_facts(run))),
            told("Configuration", lambda: _configuration(run)),
        ],
        opening=list(_outcome(run)),
    )


def told(title: str, tell: Callable[[], Iterator[Markup] | list[Markup]]) -> Section:
    """Return a section, or in its place why there is nothing to tell."""
    try:
        blocks = tuple(tell())
    except InputError as error:
        blocks = (notice(f"{error}.", "warning"),)
    return Section(title=title, blocks=blocks)


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(12.3), duration(754), duration(7322)
    ('12 s', '13 min', '2 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 99.5:  # noqa: PLR2004 (more would be read as minutes)
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def outcome(run: RunFacts) -> str:
    """Return in one sentence how far a run came."""
    what = {"running": "still running, or killed", "stopped": "stopped before its end"}
    return (
        f"{what.get(run.outcome, run.outcome)}: {run.epochs_done} of {run.epochs} epochs "
        f"in {duration(run.seconds)} on {run.device}"
    )


def _outcome(run: Path) -> Iterator[Markup]:
    try:
        found = read_facts(run)
    except InputError as error:
        yield notice(f"{error}: how the run ended is not known.", "warning")
        return
    yield notice(f"{outcome(found)}.", "error" if found.outcome == "failed" else "note")
    if found.error:
        yield notice(found.error, "error")
    if found.float32_steps:
        yield notice(f"{found.float32_steps} steps overflowed and were computed anew in float32.", "warning")
    yield from (notice(said, "warning") for said in found.warnings)


def _scores(run: Path) -> Iterator[Markup]:
    scored = read_scored(run / "validation.json")
    yield paragraph("The final model on the cases it was not trained on, on the prepared grid.")
    yield from score_blocks(scored, colors_of(scored.organs, read_label_set(run)))


def _curves(run: Path) -> Iterator[Markup]:
    measured, label_set = read_measured(run / "metrics.csv"), read_label_set(run)
    colors = colors_of(measured.organs, label_set)
    starts = {float(epoch): f"{stage} stage" for stage, epoch in measured.stages.items()}
    plots = {
        "Training loss: coarse map, and fine mask per organ": ("loss", None, _losses(measured, colors)),
        "Dice on the held-out cases: fine masks, and dashed the coarse map": (
            "Dice",
            1.0,
            _validation(measured, colors),
        ),
        "Learning rate": ("rate", None, _one(measured, "rate/learning_rate")),
    }
    for said, (y_name, most, lines) in plots.items():
        if lines:
            drawn = curves(said, lines, x_name="epoch", y_name=y_name, most=most, marks=starts)
            yield figure(drawn, f"{said}.")
        else:
            yield paragraph(f"{said}: not measured.")


def _losses(measured: Measured, colors: Mapping[str, tuple[int, int, int]]) -> list[Line]:
    fine = measured.per_organ("train/fine_")
    return [
        *_one(measured, "train/coarse", "coarse"),
        *(_line(organ, fine[organ], colors[organ]) for organ in colors if organ in fine),
    ]


def _validation(measured: Measured, colors: Mapping[str, tuple[int, int, int]]) -> list[Line]:
    fine, coarse = measured.per_organ("validation/dice_"), measured.per_organ("validation/coarse_dice_")
    return [
        *(_line(organ, fine[organ], colors[organ]) for organ in colors if organ in fine),
        *(
            _line("" if organ in fine else organ, coarse[organ], colors[organ], dashed=True)
            for organ in colors
            if organ in coarse
        ),
    ]


def _one(measured: Measured, name: str, said: str = "") -> list[Line]:
    found = measured.series.get(name)
    return [] if found is None else [_line(said, found, (40, 40, 40))]


def _line(name: str, series: Series, color_rgb: tuple[int, int, int], *, dashed: bool = False) -> Line:
    return Line(name=name, x=series.epochs, y=series.values, color_rgb=color_rgb, dashed=dashed)


def _pictures(run: Path) -> Iterator[Markup]:
    pictures = sorted((run / "pictures").glob("epoch-*.png"))
    if not pictures:
        yield paragraph("None were taken.")
    for path in reversed(pictures[-LAST_PICTURES:]):
        yield picture(path.read_bytes(), f"A held-out case after epoch {path.stem[6:].lstrip('0') or '0'}.")


def _circumstances(run: RunFacts) -> Iterator[Markup]:
    yield facts(
        [
            ("program", f"thoar {run.thoar}, commit {_known(run.commit)}"),
            ("command", " ".join(run.command)),
            ("began", run.started),
            ("ended", run.ended or "not yet"),
            ("time", f"{duration(run.seconds)} in {run.steps} steps"),
            ("a step", _known(run.seconds_per_step, "{:.2f} s")),
            ("waiting for data", _known(run.data_share, "{:.0%} of the last epoch")),
            ("most memory", _known(run.peak_memory_mib, "{:.0f} MiB")),
            ("device", run.device),
            ("processes", str(run.processes)),
            ("threads", _known(run.threads)),
            ("precision", run.precision),
            ("began with", run.initial_model or "random weights"),
            ("fold", "none" if run.fold is None else str(run.fold)),
            ("cases", f"{len(run.training)} trained on, {len(run.validation)} held out"),
        ]
    )
    cases = [("trained on", ", ".join(run.training)), ("held out", ", ".join(run.validation))]
    yield folded("Cases", [facts(cases)])


def _known(value: float | str | None, form: str = "{}") -> str:
    return "not known" if value is None else form.format(value)


def _repeating(run: RunFacts) -> Iterator[Markup]:
    if run.not_reproducible is None:
        yield paragraph("Whether another run may differ is not known.")
    elif run.not_reproducible:
        yield paragraph("Another run with the same seed may differ in bits:")
        yield listing(run.not_reproducible)
    else:
        yield paragraph("The same command on the same machine gives the same weights.")
    yield facts([("seed", _known(run.seed)), ("data", f"SHA-256 {run.data_sha256 or 'not known'}")])
    yield folded("Versions", [facts(run.versions.items())])


def _configuration(run: Path) -> Iterator[Markup]:
    yield folded("configuration.toml, every setting", [verbatim(read_text(run / "configuration.toml"))])
