"""Runs that begin with a trained model: adapting it, adding an organ to it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.configuration import Configuration, configuration_from, plain
from thoar.core.errors import ConfigError, InputError, LabelError
from thoar.core.labels import LabelSet, Organ
from thoar.datasets.manifest import Case, Dataset
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.manifest import History, TrainedOn
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.io.formats import read_volume
from thoar.training.adaptation import TRAINING, Start, adapted_configuration, adapting, adding, finish_adding
from thoar.training.run import Setting, train
from thoar.training.split import Split, held_out

Configure = Callable[..., Configuration]
SHORT = ("train.coarse_epochs=1", "train.joint_epochs=1")
DECAYING = ("train.optimiser=adamw", "train.weight_decay=0.5")
FROZEN = "train.encoder_rate=0"


def run(
    configuration: Configuration,
    dataset: Dataset,
    folder: Path,
    *,
    start: Start | None = None,
    label_set: LabelSet | None = None,
    **options: Any,
) -> None:
    settings = configuration.train
    split = held_out(dataset.cases, validation_cases=settings.validation_cases, seed=settings.seed)
    train(
        configuration,
        split,
        folder,
        label_set=start.label_set if start else label_set or dataset.label_set,
        labels=dataset.label_set,
        setting=Setting(device="cpu", **options),
        initial=start.initial if start else None,
    )


def with_cases_of(dataset: Dataset, *organs: str) -> Dataset:
    """Return the data set as if only some organs were labelled."""
    return replace(dataset, cases=tuple(replace(case, organs=organs) for case in dataset.cases))


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset, small_configuration: Configure
) -> Bundle:
    """A model of both organs."""
    folder = tmp_path_factory.mktemp("both") / "run"
    run(small_configuration(*SHORT), small_dataset, folder)
    return read_bundle(folder / "best")


@pytest.fixture(scope="module")
def heart(
    tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset, small_configuration: Configure
) -> Bundle:
    """A model of the heart alone, trained on labels of both organs."""
    folder = tmp_path_factory.mktemp("heart") / "run"
    run(small_configuration(), small_dataset, folder, label_set=small_dataset.label_set.subset(("heart",)))
    return read_bundle(folder / "best")


@pytest.fixture(scope="module")
def joined(
    tmp_path_factory: pytest.TempPathFactory,
    heart: Bundle,
    small_dataset: Dataset,
    small_configuration: Configure,
) -> Path:
    """The folder of that model with the trachea added."""
    folder = tmp_path_factory.mktemp("joined") / "out"
    configuration = adapted_configuration(
        heart, plain(small_configuration(FROZEN, *DECAYING, "train.coarse_epochs=6", "train.joint_epochs=6"))
    )
    start = adding(heart, "trachea", small_dataset, configuration)
    run(configuration, small_dataset, folder / TRAINING, start=start)
    finish_adding(heart, folder, optional=True)
    return folder


def segmented(model: Bundle, case: Case) -> Segmentation:
    return Predictor.from_bundle(model, device="cpu").predict(read_volume(case.image))


def assert_same(one: Segmentation, other: Segmentation, name: str) -> None:
    first, second = one.organ(name), other.organ(name)
    assert first.box_zyx == second.box_zyx is not None
    assert first.probability is not None
    assert second.probability is not None
    assert first.mask is not None
    assert first.mask.any()
    assert first.probability.tobytes() == second.probability.tobytes()
    assert one.coarse.probability[name].tobytes() == other.coarse.probability[name].tobytes()


def test_an_added_organ_is_learnt_and_the_others_stay_bit_for_bit(
    heart: Bundle, joined: Path, small_dataset: Dataset
) -> None:
    model = read_bundle(joined / "best")
    assert model.manifest.label_set.names == ("heart", "trachea")
    for case in small_dataset.cases:
        after = segmented(model, case)
        assert_same(segmented(heart, case), after, "heart")
        assert_same(segmented(read_bundle(joined / TRAINING / "best"), case), after, "trachea")
    log = (joined / TRAINING / "metrics.csv").read_text().splitlines()
    losses = [float(line.rpartition(",")[2]) for line in log if "train/coarse," in line]
    assert losses[-1] < losses[0]


def test_the_manifest_says_what_the_added_organ_has_seen(heart: Bundle, joined: Path) -> None:
    manifest = read_bundle(joined / "best").manifest
    assert manifest.history == History(
        trained_on=heart.manifest.history.trained_on,
        added={"trachea": heart.manifest.history.trained_on},  # the same cases, as it happens
        optional=("trachea",),
    )
    assert len(manifest.added["trachea"].cases) == 3


def test_an_interrupted_addition_goes_on_to_the_same_weights(
    heart: Bundle, joined: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    configuration = read_bundle(joined / TRAINING / "best").configuration
    start = adding(heart, "trachea", small_dataset, configuration)
    asked: list[None] = []

    def soon() -> bool:
        asked.append(None)
        return len(asked) > 20

    split = held_out(small_dataset.cases, validation_cases=1, seed=configuration.train.seed)
    for resume in (False, True):
        outcome = train(
            configuration,
            split,
            tmp_path / "run",
            label_set=start.label_set,
            labels=small_dataset.label_set,
            setting=Setting(device="cpu", should_stop=(lambda: False) if resume else soon),
            resume=resume,
            initial=start.initial,
        )
        assert outcome == ("finished" if resume else "stopped")
    for file in ("fine_trachea.safetensors", "coarse_trachea.safetensors", "encoder.safetensors"):
        whole = joined / TRAINING / "best" / file
        assert (tmp_path / "run" / "best" / file).read_bytes() == whole.read_bytes()


def test_a_frozen_encoder_keeps_organs_that_are_not_labelled_bit_for_bit(
    both: Bundle, small_dataset: Dataset, small_configuration: Configure, tmp_path: Path
) -> None:
    configuration = adapted_configuration(both, plain(small_configuration(*SHORT, *DECAYING, FROZEN)))
    dataset = with_cases_of(small_dataset, "trachea")
    start = adapting(both, dataset, configuration)
    assert start.label_set.names == ("heart", "trachea")
    run(configuration, dataset, tmp_path / "run", start=start)
    after = read_bundle(tmp_path / "run" / "best")
    for case in dataset.cases:
        one, other = segmented(both, case), segmented(after, case)
        assert_same(one, other, "heart")
        assert one.coarse.probability["trachea"].tobytes() != other.coarse.probability["trachea"].tobytes()


def test_a_changing_encoder_leaves_organs_out_that_are_not_labelled(
    both: Bundle, small_dataset: Dataset, small_configuration: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    start = adapting(both, with_cases_of(small_dataset, "trachea"), small_configuration())
    assert start.label_set.names == start.initial.network.located == ("trachea",)
    assert "heart: not labelled here, and left out" in caplog.text


def test_an_added_organ_can_be_adapted_with_the_rest(
    joined: Path, small_dataset: Dataset, small_configuration: Configure, tmp_path: Path
) -> None:
    model = read_bundle(joined / "best")
    configuration = adapted_configuration(
        model, {}, overrides=["train.joint_epochs=1", "train.coarse_epochs=0", "train.encoder_rate=0.5"]
    )
    run(configuration, small_dataset, tmp_path / "run", start=adapting(model, small_dataset, configuration))
    after = read_bundle(tmp_path / "run" / "best")
    assert after.network.located == ("heart", "trachea")
    assert after.manifest.own_coarse == after.manifest.optional == ("trachea",)
    assert after.manifest.added["trachea"].sources == {"": 6}
    before = dict(model.network.named_parameters())
    assert all(not torch.equal(p, before[name]) for name, p in after.network.named_parameters())


def test_a_smaller_rate_changes_the_encoder_less(
    both: Bundle, small_dataset: Dataset, small_configuration: Configure, tmp_path: Path
) -> None:
    def moved(rate: float) -> float:
        overrides = (*SHORT, "train.coarse_epochs=0", f"train.encoder_rate={rate}", "train.averaging=0")
        configuration = adapted_configuration(both, plain(small_configuration(*overrides)))
        folder = tmp_path / str(rate)
        run(configuration, small_dataset, folder, start=adapting(both, small_dataset, configuration))
        after = dict(read_bundle(folder / "last").network.encoder.named_parameters())
        return sum(
            float((p - after[n]).detach().abs().sum()) for n, p in both.network.encoder.named_parameters()
        )

    assert moved(0) == 0 < moved(0.01) < 0.1 * moved(1)


def test_organs_that_the_model_does_not_know_are_refused_with_the_remedy(
    heart: Bundle, small_dataset: Dataset, small_configuration: Configure
) -> None:
    with pytest.raises(LabelError, match="thoar model add-organ trachea"):
        adapting(heart, small_dataset, small_configuration())


def test_a_data_set_without_labelled_organs_is_refused(
    both: Bundle, small_dataset: Dataset, small_configuration: Configure
) -> None:
    with pytest.raises(InputError, match="labels no organ"):
        adapting(both, with_cases_of(small_dataset), small_configuration())


def test_ids_are_those_of_the_labels_and_nobody_shares_one(
    both: Bundle, small_dataset: Dataset, small_configuration: Configure
) -> None:
    labels = LabelSet(organs=(Organ(name="trachea", id=2),))
    dataset = replace(with_cases_of(small_dataset, "trachea"), label_set=labels)
    start = adapting(both, dataset, small_configuration(FROZEN))
    assert [(organ.name, organ.id) for organ in start.label_set.organs] == [("heart", 3), ("trachea", 2)]


@pytest.mark.parametrize(
    ("organ", "labelled", "more", "error", "said"),
    [
        ("heart", ("heart",), [FROZEN], LabelError, "knows heart already"),
        ("liver", ("heart",), [FROZEN], LabelError, "no organ is called 'liver'"),
        ("trachea", ("heart",), [FROZEN], InputError, "no case labels trachea"),
        ("trachea", ("trachea",), [], ConfigError, "encoder_rate: must be 0"),
    ],
)
def test_what_cannot_be_added_is_refused(
    heart: Bundle,
    small_dataset: Dataset,
    small_configuration: Configure,
    organ: str,
    labelled: tuple[str, ...],
    more: list[str],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        adding(heart, organ, with_cases_of(small_dataset, *labelled), small_configuration(*more))


def test_an_organ_that_is_labelled_but_never_shown_is_refused(
    heart: Bundle, small_dataset: Dataset, small_configuration: Configure, tmp_path: Path
) -> None:
    """It would be trained on nothing."""
    labels = LabelSet(organs=(*small_dataset.label_set.organs, Organ(name="liver", id=9)))
    cases = tuple(replace(case, organs=("liver",), absent=("liver",)) for case in small_dataset.cases)
    dataset = replace(small_dataset, label_set=labels, cases=cases)
    start = adding(heart, "liver", dataset, small_configuration(FROZEN))
    split = Split(training=dataset.cases, validation=())
    with pytest.raises(InputError, match="no training case shows liver"):
        train(
            small_configuration(FROZEN),
            split,
            tmp_path / "run",
            label_set=start.label_set,
            labels=labels,
            setting=Setting(device="cpu"),
            initial=start.initial,
        )


def test_a_recipe_changes_what_it_names_and_nothing_else(both: Bundle) -> None:
    values = {
        "name": "adapt",
        "train": {"joint_epochs": 7},
        "localisation": {"organ_threshold": {"heart": 0.4}},
    }
    changed = adapted_configuration(both, values, overrides=["train.seed=5"])
    own = both.configuration
    train_settings = msgspec.structs.replace(own.train, joint_epochs=7, seed=5)
    localisation = msgspec.structs.replace(own.localisation, organ_threshold={"heart": 0.4})
    assert changed == msgspec.structs.replace(
        own, name="small+adapt", train=train_settings, localisation=localisation
    )


def test_another_network_is_refused_before_anything_is_prepared(both: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"other.toml: has another \[network\]"):
        adapted_configuration(both, plain(configuration_from({})), source="other.toml")


def test_histories_count_what_each_part_has_seen() -> None:
    first, second = TrainedOn(cases=("a",), sources={"x": 1}), TrainedOn(cases=("b",), sources={"x": 2})
    history = History(trained_on=first, added={"cord": first, "liver": first}, optional=("cord",))
    after = history.after(second, {"heart", "cord"})
    assert after.trained_on == after.added["cord"] == first + second
    assert after.added["liver"] == first
    assert after.optional == ("cord",)
    assert np.all(after.trained_on.sources["x"] == 3)
