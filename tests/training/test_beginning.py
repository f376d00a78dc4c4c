"""What a run begins with: nothing, a model, a checkpoint, or what an interrupted one left."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.core.errors import ConfigError, InputError
from thoar.datasets.manifest import Dataset
from thoar.inference.bundle import read_bundle
from thoar.training.events import Outcome
from thoar.training.record import read_record
from thoar.training.run import Setting, train
from thoar.training.split import Split

Train = Callable[..., Outcome]
Configure = Callable[..., Configuration]


def at_once() -> bool:
    return True


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, train_small: Train) -> Path:
    """A run that was stopped after its first step."""
    run = tmp_path_factory.mktemp("begun") / "run"
    assert train_small(run, only=1) == "stopped"
    return run


def test_run_is_not_gone_on_with_for_other_organs_of_the_same_cases(
    begun: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    record = read_record(begun)
    assert record is not None
    sides = [
        tuple(case for case in small_dataset.cases if case.id in ids)
        for ids in (record.training, record.validation)
    ]
    with pytest.raises(ConfigError, match=r"was started with heart, trachea, not with heart; resume with"):
        train(
            small_configuration("train.coarse_epochs=1", "train.joint_epochs=1"),
            Split(training=sides[0], validation=sides[1]),
            begun,
            label_set=small_dataset.label_set.subset(("heart",)),
            labels=small_dataset.label_set,
            setting=Setting(device="cpu"),
            resume=True,
        )


def test_organ_without_a_label_is_left_as_it_is_only_where_a_model_taught_it(
    tmp_path: Path, train_small: Train, small_dataset: Dataset
) -> None:
    cases = tuple(replace(case, organs=("trachea",)) for case in small_dataset.cases)
    with pytest.raises(InputError, match="no training case shows heart"):
        train_small(tmp_path, "train.encoder_rate=0", dataset=replace(small_dataset, cases=cases))


def test_run_interrupted_before_its_first_checkpoint_leaves_nothing_to_the_record_of_another(
    tmp_path: Path, small_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    """Stopped while preparing, it began with a model; the one that follows in its folder does not."""
    split = Split(training=small_dataset.cases[:2], validation=small_dataset.cases[2:])
    for rate, initial in ((0.25, read_bundle(small_run / "best")), (0.125, None)):
        outcome = train(
            small_configuration(f"train.learning_rate={rate}"),
            split,
            tmp_path,
            label_set=small_dataset.label_set,
            setting=Setting(device="cpu", should_stop=at_once),
            initial=initial,
        )
        assert outcome == "preparing"
    kept = configuration_from(load_toml(tmp_path / "configuration.toml"), source="kept")
    assert kept.train.learning_rate == 0.125
    record = read_record(tmp_path)
    assert record is not None
    assert record.initial_model is None


def test_holding_out_what_the_model_has_learnt_from_is_warned_of_and_written_down(
    tmp_path: Path, small_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    model = read_bundle(small_run / "best")
    seen = [case for case in small_dataset.cases if case.id in model.manifest.training_cases]
    unseen = [case for case in small_dataset.cases if case not in seen]
    for held, others in ((seen[:1], [*seen[1:], *unseen]), (unseen, seen)):
        run = tmp_path / held[0].id
        train(
            small_configuration(),
            Split(training=tuple(others), validation=tuple(held)),
            run,
            label_set=small_dataset.label_set,
            setting=Setting(device="cpu", should_stop=at_once),
            initial=model,
        )
        record = read_record(run)
        assert record is not None
        warned = [text for text in record.warnings if "was trained on" in text]
        assert len(warned) == (held[0] in seen)
        assert all(f"1 of 1 cases held out are called like cases that {model.folder}" in t for t in warned)


def test_rate_of_an_epoch_that_was_stopped_after_its_last_step_is_logged_as_it_was(
    tmp_path: Path, train_small: Train
) -> None:
    assert train_small(tmp_path, "train.warmup_steps=5", only=3) == "stopped"
    assert train_small(tmp_path, "train.warmup_steps=5", only=1, resume=True) == "stopped"
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        rates = [row["value"] for row in csv.DictReader(stream) if row["name"] == "rate/learning_rate"]
    assert [float(rate) for rate in rates] == [pytest.approx(5e-3 * 3 / 5)]


def test_network_in_double_precision_is_validated_too(tmp_path: Path, train_small: Train) -> None:
    assert train_small(tmp_path, "train.precision=float64") == "finished"
    assert (tmp_path / "validation.json").is_file()
