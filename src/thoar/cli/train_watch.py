"""What a person sees of a training run, and how a signal ends it."""

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from thoar.training.events import Event

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
"""End a run with a checkpoint; clusters send SIGUSR1 some time before they take a machine away."""


@contextmanager
def signals_caught() -> Iterator[list[int]]:
    """Collect signals instead of dying of them, so that a checkpoint can be written first."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def watcher(*, quiet: bool = False) -> "Iterator[Callable[[Event], None]]":
    """Show a run's events, unless quiet: a bar on a terminal, a plain line every half minute elsewhere."""
    if quiet or not logging.getLogger("thoar").isEnabledFor(logging.INFO):
        yield lambda _: None
        return
    if sys.stderr.isatty():
        with _progress_bar() as watch:
            yield watch
        return
    last: tuple[str, float] = ("", -math.inf)

    def watch_plainly(event: "Event") -> None:
        nonlocal last
        same = event.kind != "validated" and event.kind == last[0]
        if same and time.monotonic() - last[1] < 30:  # noqa: PLR2004 (seconds)
            return
        last = (event.kind, time.monotonic())
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
