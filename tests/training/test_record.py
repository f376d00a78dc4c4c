"""run.json: what ran, how far it came, how it ended, and what cannot be repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from thoar.core.configuration import Configuration
from thoar.core.errors import InputError
from thoar.training.events import Event, Outcome
from thoar.training.record import RunRecord, new_record, read_record

Train = Callable[..., Outcome]
Configure = Callable[..., Configuration]


def read(run: Path) -> RunRecord:
    record = read_record(run)
    assert record is not None
    return record


def test_record_tells_a_run_that_was_stopped_and_gone_on_with(tmp_path: Path, train_small: Train) -> None:
    assert train_small(tmp_path, only=4) == "stopped"
    first = read(tmp_path)
    assert (first.outcome, first.error, first.epochs_done, first.steps, first.epochs) == (
        "stopped",
        None,
        1,
        4,
        2,
    )
    assert first.ended is not None
    assert first.seconds > 0
    assert train_small(tmp_path, resume=True) == "finished"
    second = read(tmp_path)
    assert (second.outcome, second.epochs_done, second.steps) == ("finished", 2, 6)
    assert second.started == first.started
    assert second.seconds > first.seconds
    assert second.data_sha256 == first.data_sha256 != ""
    assert len(second.training) == 3
    assert len(second.validation) == 1
    assert {"torch", "numpy", "python"} <= second.versions.keys()


def test_record_of_a_finished_run_is_not_forgotten_when_it_is_resumed(
    tmp_path: Path, train_small: Train
) -> None:
    train_small(tmp_path)
    before = read(tmp_path)
    assert train_small(tmp_path, resume=True) == "finished"
    after = read(tmp_path)
    assert (after.outcome, after.epochs_done, after.steps) == ("finished", 2, 6)
    assert after.seconds == before.seconds


def test_record_says_that_it_runs_while_it_does(tmp_path: Path, train_small: Train) -> None:
    outcomes: list[tuple[str, str | None, int]] = []

    def watch(event: Event) -> None:
        record = read(tmp_path)
        outcomes.append((record.outcome, record.ended, record.epochs_done))

    train_small(tmp_path, watch=watch)
    assert {(outcome, ended) for outcome, ended, _ in outcomes} == {("running", None)}
    assert {epochs for *_, epochs in outcomes} == {0, 1}


@pytest.mark.parametrize(
    ("threads", "device", "processes", "deterministic", "reasons"),
    [
        (1, "cpu", 1, False, []),
        (0, "cpu", 1, False, ["threads"]),
        (1, "cpu", 2, False, ["2 processes"]),
        (1, "mps", 1, False, ["--deterministic"]),
        (0, "mps", 1, True, []),
    ],
)
def test_record_says_what_may_not_be_repeated_bit_for_bit(
    small_configuration: Configure,
    threads: int,
    device: str,
    processes: int,
    deterministic: bool,
    reasons: list[str],
) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)
    try:
        record = new_record(
            small_configuration(f"train.threads={threads}").train,
            device=torch.device(device),
            devices=device,
            processes=processes,
            epochs=4,
        )
    finally:
        torch.use_deterministic_algorithms(before)
    assert record.deterministic == deterministic
    assert len(record.not_reproducible) == len(reasons)
    assert all(word in said for word, said in zip(reasons, record.not_reproducible, strict=True))


def test_record_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / "run.json").write_text('{"schema": "thoar.run/1"}')
    with pytest.raises(InputError, match=r"run\.json: is no record of a training run"):
        read_record(tmp_path)
