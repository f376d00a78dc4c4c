"""``thoar train``: a folder of cases to a model."""

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from thoar.core.errors import EXIT_SIGNALLED, EXIT_UNFINISHED, ConfigError, UsageError

if TYPE_CHECKING:
    from thoar.core.configuration import Configuration
    from thoar.training.stages import Event


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A shipped recipe (paper, fast, tiny) or a TOML file.")
    ],
    *,
    data: Annotated[Path, typer.Option(help="A data set: dataset.toml, or SegTHOR's layout.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in train.joint_epochs=3; repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of every random choice; train.seed.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop with a checkpoint after, say, 90s, 40m or 2h (exit code 9).")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Begin with this model's weights, not with fresh ones."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where RUN stopped.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations that may differ between two runs.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Threads that prepare cases.", min=1)] = 1,
) -> None:
    """Train a network: the coarse stage, then coarse and fine together."""
    import torch

    from thoar.datasets.manifest import read_dataset
    from thoar.inference.bundle import read_bundle
    from thoar.inference.shipped import find_model
    from thoar.training.run import train as train_run

    began = time.monotonic()
    limit_s = math.inf if max_time is None else _seconds(max_time)
    configuration = _configuration(
        recipe, [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    )
    torch.use_deterministic_algorithms(deterministic)
    dataset = read_dataset(data)
    with _signals_caught() as caught, _watcher() as watch, _indeterminism_explained():
        outcome = train_run(
            configuration,
            dataset,
            out,
            device=device,
            resume=resume,
            initial=read_bundle(find_model(init)) if init is not None and not resume else None,
            workers=workers,
            watch=watch,
            should_stop=lambda: bool(caught) or time.monotonic() - began > limit_s,
        )
    if outcome == "finished":
        typer.echo(f"finished; the model is {out / 'best'} (thoar segment INPUT -o OUT --model {out})")
    elif outcome == "stopped":
        typer.echo(f"stopped with a checkpoint in {out / 'last'}; go on with --resume", err=True)
    else:
        typer.echo("stopped while preparing cases; the same command goes on", err=True)
    if caught:
        _leave(caught[0])
    if outcome != "finished":
        raise typer.Exit(EXIT_UNFINISHED)


def _configuration(recipe: str, overrides: list[str]) -> "Configuration":
    from thoar.core.configuration import configuration_from, load_toml

    shipped = Path(str(files("thoar"))) / "configs" / f"{recipe}.toml"
    path = shipped if shipped.is_file() else Path(recipe)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.toml")))
        raise ConfigError(f"{recipe}: is neither a shipped recipe ({known}) nor a TOML file")
    return configuration_from(load_toml(path), overrides=overrides, source=str(path))


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = math.nan
    if not value > 0:
        raise UsageError(f"--max-time {text}: expected a time such as 90s, 40m or 2h")
    return value


@contextmanager
def _signals_caught() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them, so that a checkpoint can be written first."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _indeterminism_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise UsageError(
            f"--deterministic: this device cannot do all of it ({str(error).splitlines()[0]}); "
            "use --device cpu, or train without"
        ) from error


def _leave(number: int) -> NoReturn:
    raise typer.Exit(EXIT_SIGNALLED + number)


@contextmanager
def _watcher() -> "Iterator[Callable[[Event], None]]":
    """Show a run's events, unless quiet: a bar on a terminal, a plain line every half minute elsewhere."""
    if not logging.getLogger("thoar").isEnabledFor(logging.INFO):
        yield lambda _: None
        return
    if sys.stderr.isatty():
        with _progress_bar() as watch:
            yield watch
        return
    last = [-math.inf]

    def watch_plainly(event: "Event") -> None:
        if event.kind != "validated" and time.monotonic() - last[0] < 30:  # noqa: PLR2004 (seconds)
            return
        last[0] = time.monotonic()
        typer.echo(describe(event), err=True)

    yield watch_plainly


@contextmanager
def _progress_bar() -> "Iterator[Callable[[Event], None]]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing")

        def watch(event: "Event") -> None:
            if event.kind == "validated":
                progress.console.print(describe(event))
            else:
                progress.update(task, description=describe(event), completed=event.step, total=event.steps)

        yield watch


def describe(event: "Event") -> str:
    """Return one line about an event of a run."""
    if event.kind == "prepared":
        return f"prepared {event.step} of {event.steps} cases"
    where = f"epoch {event.epoch + 1}/{event.epochs} ({event.stage})"
    if event.scores is not None:
        fine = event.scores.fine_dice or event.scores.coarse_dice
        kind = "Dice" if event.scores.fine_dice else "coarse Dice"
        return f"{where}: validation {kind} " + ", ".join(
            f"{name} {value:.3f}" for name, value in fine.items()
        )
    left = "" if event.eta_s is None else f", {event.eta_s / 60:.0f} min left"
    return f"{where}: step {event.step}/{event.steps}, loss {event.loss:.3f}{left}"
