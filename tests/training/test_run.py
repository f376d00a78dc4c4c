import csv
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from thoar.core.configuration import Configuration
from thoar.core.errors import ConfigError, InputError, ModelError, UsageError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Dataset
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.predictor import Predictor
from thoar.training import stages
from thoar.training.events import Event, Outcome
from thoar.training.run import Setting
from thoar.training.run import train as train_split
from thoar.training.split import held_out

Configure = Callable[..., Configuration]


def train(
    configuration: Configuration,
    dataset: Dataset,
    folder: Path,
    *,
    resume: bool = False,
    initial: Bundle | None = None,
    **setting: Any,
) -> Outcome:
    """Train on a data set with as many cases held out as the configuration says."""
    settings = configuration.train
    split = held_out(dataset.cases, validation_cases=settings.validation_cases, seed=settings.seed)
    return train_split(
        configuration,
        split,
        folder,
        label_set=dataset.label_set,
        setting=Setting(**setting),
        resume=resume,
        initial=initial,
    )


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def rows(run: Path) -> list[list[str]]:
    """Return the rows of a run's log but for what its epochs took."""
    with (run / "metrics.csv").open(newline="") as stream:
        return [row for row in csv.reader(stream) if not row[2].startswith(("time/", "memory/"))]


PREPARED = 3
"""How often a run of four cases asks whether to stop before its first step."""


def stop_after(steps: int) -> Callable[[], bool]:
    """Return a ``should_stop`` that says yes after so many steps of a run that was not resumed."""
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] >= PREPARED + steps

    return should_stop


@pytest.fixture(scope="session")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset, small_configuration: Configure
) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(small_configuration(), small_dataset, run, device="cpu") == "finished"
    return run


def test_run_goes_through_both_stages_and_keeps_best_and_last(whole_run: Path) -> None:
    stages_logged = {(row[0], row[1]) for row in rows(whole_run)[1:]}
    assert stages_logged == {("0", "coarse"), ("1", "coarse"), ("2", "joint"), ("3", "joint")}
    assert read_bundle(whole_run / "best").manifest.label_set.names == ("heart", "trachea")
    assert read_bundle(whole_run / "last").configuration.name == "small"
    assert sorted(p.name for p in (whole_run / "pictures").iterdir()) == ["epoch-0002.png", "epoch-0003.png"]
    assert list((whole_run / "tensorboard").iterdir())


def test_model_of_the_coarse_stage_alone_is_not_offered_for_use(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(4))
    for name in ("best", "last"):
        with pytest.raises(ModelError, match="its fine decoders are not trained"):
            Predictor.from_bundle(read_bundle(tmp_path / name), device="cpu")
    train(small_configuration(), small_dataset, tmp_path, device="cpu", resume=True)
    assert Predictor.from_bundle(read_bundle(tmp_path / "best"), device="cpu")


def test_unweighted_dice_head_dice_and_validation_are_logged(whole_run: Path) -> None:
    names = {row[2] for row in rows(whole_run)[1:]}
    assert {"train/fine_dice_heart", "train/head1_dice_heart", "train/coarse_max_trachea"} <= names
    assert {"validation/score", "validation/dice_heart", "validation/coarse_dice_trachea"} <= names


def test_loss_falls(whole_run: Path) -> None:
    losses = [float(row[3]) for row in rows(whole_run)[1:] if row[2] == "train/coarse"]
    assert losses[-1] < losses[0]


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    train(small_configuration(), small_dataset, tmp_path / "again", device="cpu")
    assert digests(tmp_path / "again" / "best") == digests(whole_run / "best")
    assert digests(tmp_path / "again" / "last") == digests(whole_run / "last")
    train(small_configuration("train.seed=4"), small_dataset, tmp_path / "other", device="cpu")
    other, whole = digests(tmp_path / "other" / "best"), digests(whole_run / "best")
    assert other["encoder.safetensors"] != whole["encoder.safetensors"]


@pytest.mark.parametrize("steps", [1, 5, 6, 8], ids=lambda steps: f"after step {steps}")
def test_stopped_run_goes_on_bit_for_bit(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure, steps: int
) -> None:
    run = tmp_path / "run"
    outcome = train(small_configuration(), small_dataset, run, device="cpu", should_stop=stop_after(steps))
    assert outcome == "stopped"
    assert train(small_configuration(), small_dataset, run, device="cpu", resume=True) == "finished"
    assert digests(run / "last") == digests(whole_run / "last")
    assert digests(run / "best") == digests(whole_run / "best")
    assert rows(run) == rows(whole_run)


def test_resume_refuses_another_configuration_and_says_which(
    whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    changed = small_configuration("train.learning_rate=0.1")
    with pytest.raises(ConfigError, match=r"train\.learning_rate was 0\.005, now 0\.1"):
        train(changed, small_dataset, whole_run, device="cpu", resume=True)


@pytest.mark.parametrize("change", ["order of organs", "labelled organs", "name of a case"])
def test_resume_refuses_a_data_set_that_means_something_else(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure, change: str
) -> None:
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(1))
    label_set, cases = small_dataset.label_set, small_dataset.cases
    changed = {
        "order of organs": replace(small_dataset, label_set=LabelSet(organs=label_set.organs[::-1])),
        "labelled organs": replace(
            small_dataset,
            cases=tuple(replace(c, organs=("heart", "trachea")[: 1 + i]) for i, c in enumerate(cases)),
        ),
        "name of a case": replace(small_dataset, cases=(replace(cases[0], id="renamed"), *cases[1:])),
    }
    with pytest.raises(ConfigError, match="started with other cases"):
        train(small_configuration(), changed[change], tmp_path, device="cpu", resume=True)


def test_bundles_say_what_they_were_trained_on_and_not_what_they_were_validated_on(
    whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    split = held_out(small_dataset.cases, validation_cases=1, seed=3)
    for kind in ("best", "last"):
        named = read_bundle(whole_run / kind).manifest.training_cases
        assert named == tuple(sorted(case.id for case in split.training))
        assert split.validation[0].id not in named


def test_run_that_ended_before_its_first_checkpoint_can_be_started_again(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "tensorboard").mkdir()
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(1))
    assert (tmp_path / "last").is_dir()


def test_resume_refuses_a_damaged_checkpoint(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(1))
    state = tmp_path / "last" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    with pytest.raises(InputError, match=r"state\.safetensors: does not match its SHA-256"):
        train(small_configuration(), small_dataset, tmp_path, device="cpu", resume=True)


def test_folder_in_use_and_folder_without_checkpoint_are_refused(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    with pytest.raises(UsageError, match="holds no run to resume"):
        train(small_configuration(), small_dataset, tmp_path / "new", device="cpu", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        train(small_configuration(), small_dataset, tmp_path / "full", device="cpu")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_loss_that_is_no_number_stops_the_run_and_names_the_case(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages.draw_sample

    def poisoned(case, context, *, epoch):
        sample = whole(case, context, epoch=epoch)
        if epoch == 1 and case.id == "chest-2":
            sample.image[0, 0, 0] = float("nan")
        return sample

    monkeypatch.setattr(stages, "draw_sample", poisoned)
    configuration = small_configuration("train.validation_cases=0")
    with pytest.raises(ConfigError, match=r"epoch 1, step \d, case chest-2: .* no finite number"):
        train(configuration, small_dataset, tmp_path, device="cpu")
    assert read_bundle(tmp_path / "last")  # of the epoch before; its weights are checked to be finite


def test_run_without_validation_cases_keeps_the_last_epoch_as_best(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    train(small_configuration("train.validation_cases=0"), small_dataset, tmp_path, device="cpu")
    best, last = digests(tmp_path / "best"), digests(tmp_path / "last")
    assert best["encoder.safetensors"] == last["encoder.safetensors"]


def test_watcher_sees_every_step_with_its_loss_and_the_time_left(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    events: list[Event] = []
    train(small_configuration(), small_dataset, tmp_path, device="cpu", watch=events.append)
    steps = [event for event in events if event.kind == "step"]
    assert [event.step for event in steps] == [1, 2, 3] * 4
    assert steps[-1].eta_s == 0
    assert all(event.loss > 0 for event in steps)
    assert sum(event.kind == "prepared" for event in events) == 4
    assert [event.stage for event in events if event.kind == "validated"] == ["coarse"] * 2 + ["joint"] * 2


def test_prepared_cases_are_reused_until_their_content_changes(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(1))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "prepared").iterdir()}
    train(small_configuration(), small_dataset, tmp_path, device="cpu", resume=True)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "prepared").iterdir()} == before


def test_run_stopped_while_preparing_keeps_what_is_prepared_and_starts_again(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    outcome = train(
        small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(2 - PREPARED)
    )
    assert outcome == "preparing"
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "prepared").glob("*.npy")}
    assert 4 <= len(kept) < 8
    train(small_configuration(), small_dataset, tmp_path, device="cpu", should_stop=stop_after(1))
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "prepared").glob("*.npy")}
    assert kept.items() <= after.items()


def test_bundles_count_the_cases_of_every_source(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    sources = ("", "phantom", "phantom", "copy")
    cases = tuple(replace(case, source=s) for case, s in zip(small_dataset.cases, sources, strict=True))
    named = replace(small_dataset, cases=cases)
    configuration = small_configuration("train.validation_cases=0")
    train(configuration, named, tmp_path, device="cpu", should_stop=stop_after(1))
    assert read_bundle(tmp_path / "last").manifest.training_sources == {"": 1, "copy": 1, "phantom": 2}


def test_run_begun_with_a_model_has_its_weights_and_remembers_what_they_had_seen(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    before = read_bundle(whole_run / "best")
    further = small_configuration("train.coarse_epochs=0", "train.learning_rate=1e-9", "train.averaging=0.0")
    renamed = tuple(replace(case, id=f"new-{case.id}", source="new") for case in small_dataset.cases)
    dataset = replace(small_dataset, cases=renamed)
    train(further, dataset, tmp_path, device="cpu", initial=before, should_stop=stop_after(1))
    train(further, dataset, tmp_path, device="cpu", resume=True)
    after = read_bundle(tmp_path / "best")
    for name, value in before.network.state_dict().items():
        assert torch.allclose(after.network.state_dict()[name], value, atol=1e-6), name
    assert after.manifest.training_sources == {"": 3, "new": 3}
    assert set(before.manifest.training_cases) < set(after.manifest.training_cases)


def test_run_begun_with_a_model_that_does_not_say_what_it_saw_does_not_hide_that(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    found = read_bundle(whole_run / "best")
    silent = replace(found, manifest=msgspec.structs.replace(found.manifest, training_sources={}))
    dataset = replace(small_dataset, cases=tuple(replace(c, source="new") for c in small_dataset.cases))
    train(small_configuration(), dataset, tmp_path, device="cpu", initial=silent, should_stop=stop_after(1))
    seen = read_bundle(tmp_path / "last").manifest.training_sources
    assert seen == {"": len(found.manifest.training_cases), "new": len(small_dataset.cases) - 1}


def test_run_begun_with_a_model_of_another_network_is_refused(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    other = small_configuration("network.stem_channels=5")
    with pytest.raises(ConfigError, match="has another network than this run's configuration"):
        train(other, small_dataset, tmp_path, device="cpu", initial=read_bundle(whole_run / "best"))


def test_run_begun_with_a_model_of_other_organs_is_refused(
    tmp_path: Path, whole_run: Path, small_dataset: Dataset, small_configuration: Configure
) -> None:
    other = replace(small_dataset, label_set=LabelSet(organs=small_dataset.label_set.organs[::-1]))
    with pytest.raises(ConfigError, match="knows heart, trachea, the data set trachea, heart"):
        train(small_configuration(), other, tmp_path, device="cpu", initial=read_bundle(whole_run / "best"))


def test_fine_decoders_with_a_device_of_their_own_give_the_same_bits(
    tmp_path: Path,
    train_small: Callable[..., Outcome],
    small_run: Path,
    bits: Callable[[Path], dict[str, str]],
) -> None:
    assert train_small(tmp_path, device="cpu,cpu") == "finished"
    assert bits(tmp_path) == bits(small_run)
