import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from thoar.cli import train, train_watch
from thoar.cli.train_folds import Plan
from thoar.training import folder as run_folder
from thoar.training import run as training_run
from thoar.training.events import Event
from thoar.training.run import Setting
from thoar.training.world import World


@pytest.mark.parametrize(
    ("level", "said"), [(logging.INFO, "prepared 1 of 4 cases\n"), (logging.WARNING, "")]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_unless_quiet(
    level: int,
    said: str,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train_watch.sys.stderr, "isatty", lambda: terminal, raising=False)
    logging.getLogger("thoar").setLevel(level)
    with train_watch.watcher() as watch:
        watch(Event(kind="prepared", step=1, steps=4))
    shown = capsys.readouterr().err
    assert shown == said if said == "" or not terminal else "prepared 1 of 4" in shown


class TwoProcesses(World):
    """One of two processes; ``said`` is what the leading one says when all are asked."""

    def __init__(self, *, rank: int, said: Callable[[], bool]) -> None:
        super().__init__(rank=rank, size=2)
        object.__setattr__(self, "said", said)

    def any(self, flag: bool) -> bool:
        if not self.leads:
            assert not flag, "the leading process alone decides"
            return cast("Any", self).said()
        return flag


@pytest.mark.parametrize("rank", [0, 1])
def test_folds_to_be_skipped_or_resumed_are_those_that_the_leading_process_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """It makes the folders, so that another one may come too late to see which of them were there."""
    for number in (0, 1) if rank == 0 else (0, 1, 2):
        (tmp_path / f"fold_{number}").mkdir()
    answers = iter([True, False, True, False, False])  # fold 0 finished; 1 begun; 2 not begun
    done: list[tuple[int, bool]] = []

    def trained(_: object, split: int, folder: Path, *, resume: bool, **__: object) -> str:
        done.append((split, resume))
        return "finished"

    monkeypatch.setattr(training_run, "train", trained)
    monkeypatch.setattr(run_folder, "is_finished", lambda folder, _: folder.name == "fold_0")
    monkeypatch.setattr(train, "report_run", lambda _: None)
    work = train._Work(
        configuration=cast("Any", None),
        dataset=cast("Any", SimpleNamespace(label_set=None)),
        setting=Setting(world=TwoProcesses(rank=rank, said=lambda: next(answers))),
        label_set=cast("Any", None),
        initial=None,
        resume=True,
    )
    plans = [Plan(fold=k, split=cast("Any", k), folder=tmp_path / f"fold_{k}") for k in range(3)]
    assert train._train_all(work, plans) == "finished"
    assert done == [(1, True), (2, False)]
