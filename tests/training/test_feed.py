"""Samples that threads draw ahead: the same ones, in the same order, and an error at once."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from thoar.training import stages
from thoar.training.cases import TrainingCase
from thoar.training.events import Outcome
from thoar.training.feed import Feed
from thoar.training.steps import Sample

Train = Callable[..., Outcome]


@pytest.fixture
def cases(
    tmp_path_factory: pytest.TempPathFactory, train_small: Train, monkeypatch: pytest.MonkeyPatch
) -> list[TrainingCase]:
    """The training cases of a small run."""
    seen: list[TrainingCase] = []
    draw = stages.draw_sample

    def noted(case: TrainingCase, *given: object, **options: object) -> Sample:
        seen.append(case)
        return draw(case, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "draw_sample", noted)
        train_small(tmp_path_factory.mktemp("cases"), only=3)
    return seen


def sample_of(case: TrainingCase) -> Sample:
    empty = torch.zeros(1, 1, 1)
    return Sample(
        case=case, image=empty, labels=empty.to(torch.uint8), coarse=torch.zeros(1, 1, 1, 1), labelled=[True]
    )


def slowly(case: TrainingCase) -> Sample:
    time.sleep(0.01 * int(case.id[-1]))
    return sample_of(case)


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_samples_come_in_order_however_many_threads_draw_them(cases: list[TrainingCase], ahead: int) -> None:
    feed = Feed(cases, slowly, ahead=ahead)
    ids = [sample.case.id for count in (1, 2) for sample in feed.take(count)]
    feed.close()
    assert ids == [case.id for case in cases]
    assert feed.waited_s > 0


@pytest.mark.parametrize("ahead", [0, 2])
def test_error_comes_when_its_case_is_due_and_names_it(cases: list[TrainingCase], ahead: int) -> None:
    def failing(case: TrainingCase) -> Sample:
        if case is cases[1]:
            raise ZeroDivisionError
        return sample_of(case)

    feed = Feed(cases, failing, ahead=ahead)
    feed.take(1)
    with pytest.raises(ZeroDivisionError) as raised:
        feed.take(1)
    assert raised.value.__notes__ == [f"while case {cases[1].id} was drawn for training"]
    feed.close()


def test_feed_that_is_closed_early_leaves_no_thread(cases: list[TrainingCase]) -> None:
    before = threading.active_count()
    feed = Feed(cases, slowly, ahead=2)
    feed.take(1)
    assert threading.active_count() > before
    feed.close()
    assert threading.active_count() == before


def test_threads_that_draw_ahead_change_no_bit(
    tmp_path: Path, train_small: Train, small_run: Path, bits: Callable[[Path], dict[str, str]]
) -> None:
    """But for the configuration itself, which names them."""
    assert train_small(tmp_path, "train.prefetch=2") == "finished"
    alone, ahead = bits(small_run), bits(tmp_path)
    weights = [name for name in alone if name.endswith(".safetensors")]
    assert len(weights) == 9
    assert {name: ahead[name] for name in weights} == {name: alone[name] for name in weights}


def test_error_in_a_thread_ends_the_run_at_once_naming_the_case(
    tmp_path: Path, train_small: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = stages.draw_sample

    def failing(case: TrainingCase, *given: object, epoch: int) -> Sample:
        if epoch == 1:
            raise ValueError("cannot be turned")
        return draw(case, *given, epoch=epoch)

    monkeypatch.setattr(stages, "draw_sample", failing)
    before = threading.active_count()
    with pytest.raises(ValueError, match="cannot be turned") as raised:
        train_small(tmp_path, "train.prefetch=2")
    assert raised.value.__notes__[0].startswith("while case chest-")
    assert threading.active_count() == before
    assert '"outcome": "failed"' in (tmp_path / "run.json").read_text()
