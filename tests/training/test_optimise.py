"""Steps whose numbers overflow, and batches of several cases."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thoar.core.configuration import Configuration
from thoar.core.errors import ConfigError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Dataset
from thoar.training import optimise
from thoar.training.cases import TrainingCase, prepare_cases
from thoar.training.optimise import Batch, take_step
from thoar.training.state import TrainingState, new_state
from thoar.training.steps import Context, draw_sample
from thoar.training.world import ALONE

Configure = Callable[..., Configuration]
JOINT = 3


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset, small_configuration: Configure
) -> list[TrainingCase]:
    return prepare_cases(
        small_dataset.cases[:2],
        configuration=small_configuration(),
        label_set=small_dataset.label_set,
        folder=tmp_path_factory.mktemp("cases"),
    )


def begun(configuration: Configuration, label_set: LabelSet) -> tuple[TrainingState, Context]:
    context = Context(
        configuration=configuration,
        label_set=label_set,
        device=torch.device("cpu"),
        cap_cells=dict.fromkeys(label_set.names, float("inf")),
    )
    return new_state(configuration, label_set, context.device), context


def batch_of(cases: list[TrainingCase], context: Context, *, epoch: int = JOINT) -> Batch:
    samples = [draw_sample(case, context, epoch=epoch) for case in cases]
    return Batch(samples=samples, cases=len(samples), epoch=epoch)


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.network.state_dict().items()}


def test_gradient_of_a_batch_is_the_mean_of_its_cases(
    tmp_path: Path, cases: list[TrainingCase], small_configuration: Configure, two_organs: LabelSet
) -> None:
    configuration = small_configuration("train.learning_rate=1e-9")
    gradients = []
    for chosen in (cases[:1], cases[1:], cases):
        state, context = begun(configuration, two_organs)
        take_step(state, batch_of(chosen, context), context, world=ALONE, run=tmp_path)
        parameters = dict(state.network.named_parameters())
        gradients.append(
            {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}
        )
    first, second, both = gradients
    assert {name.split(".")[0] for name, mean in both.items() if mean.any()} == {"encoder", "coarse", "fine"}
    for name, mean in both.items():
        torch.testing.assert_close(mean, (first[name] + second[name]) / 2, rtol=1e-3, atol=1e-6)


def overflowing(monkeypatch: pytest.MonkeyPatch, *, in_single_too: bool = False) -> None:
    """Let losses be infinite in half precision, as an overflow makes them."""
    whole = optimise.joint_step

    def joint_step(network, sample, context, **options):
        losses = whole(network, sample, context, **options)
        if in_single_too or context.configuration.train.precision != "float32":
            next(network.parameters()).grad.fill_(float("inf"))
            losses["fine_heart"] = torch.tensor(float("inf"))
        return losses

    monkeypatch.setattr(optimise, "joint_step", joint_step)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_overflow_in_half_precision_is_computed_anew_in_single(
    tmp_path: Path,
    cases: list[TrainingCase],
    small_configuration: Configure,
    two_organs: LabelSet,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    single, context = begun(small_configuration(), two_organs)
    take_step(single, batch_of(cases, context), context, world=ALONE, run=tmp_path)
    overflowing(monkeypatch)
    half, context = begun(small_configuration(f"train.precision={precision}"), two_organs)
    scale = half.progress.loss_scale
    take_step(half, batch_of(cases, context), context, world=ALONE, run=tmp_path)
    assert half.progress.float32_steps == 1
    assert half.progress.loss_scale == max(1, scale / 2)
    for name, value in weights(single).items():
        torch.testing.assert_close(weights(half)[name], value)


def test_scaled_losses_of_float16_give_the_gradients_of_single_precision_roughly(
    tmp_path: Path, cases: list[TrainingCase], small_configuration: Configure, two_organs: LabelSet
) -> None:
    norms = []
    for precision in ("float32", "float16"):
        state, context = begun(small_configuration(f"train.precision={precision}"), two_organs)
        take_step(state, batch_of(cases, context), context, world=ALONE, run=tmp_path)
        assert state.progress.float32_steps == 0
        norms.append(torch.stack([p.grad.norm() for p in state.network.parameters() if p.grad is not None]))
    torch.testing.assert_close(norms[1], norms[0], rtol=0.1, atol=1e-3)


def test_what_is_no_number_in_single_precision_either_ends_the_run_with_a_dump_and_the_weights_as_they_were(
    tmp_path: Path,
    cases: list[TrainingCase],
    small_configuration: Configure,
    two_organs: LabelSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overflowing(monkeypatch, in_single_too=True)
    state, context = begun(small_configuration("train.precision=bfloat16"), two_organs)
    state.progress.step = 4
    before = weights(state)
    with pytest.raises(ConfigError, match=r"epoch 3, step 4, case chest-0, chest-1: fine_heart is no finite"):
        take_step(state, batch_of(cases, context), context, world=ALONE, run=tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in weights(state).items())
    record = json.loads((tmp_path / "failure" / "failure.json").read_text())
    assert (record["epoch"], record["step"], record["precision"]) == (3, 4, "float32")
    assert record["losses"]["chest-1"]["fine_heart"] == "inf"
    dumped = load_file(tmp_path / "failure" / "chest-1.safetensors")
    assert torch.equal(dumped["image"], draw_sample(cases[1], context, epoch=JOINT).image)


def test_frozen_encoder_keeps_its_weights_and_the_rest_learns(
    tmp_path: Path, cases: list[TrainingCase], small_configuration: Configure, two_organs: LabelSet
) -> None:
    state, context = begun(small_configuration("train.encoder_rate=0"), two_organs)
    before = weights(state)
    for epoch in (0, JOINT):
        take_step(state, batch_of(cases, context, epoch=epoch), context, world=ALONE, run=tmp_path)
    changed = {name for name, value in weights(state).items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if not name.startswith("encoder.")}


def test_recomputed_levels_give_the_same_weights_bit_for_bit(
    tmp_path: Path, cases: list[TrainingCase], small_configuration: Configure, two_organs: LabelSet
) -> None:
    states = []
    for levels in (0, 2):
        state, context = begun(small_configuration(f"train.recomputed_levels={levels}"), two_organs)
        for epoch in (0, JOINT):
            take_step(state, batch_of(cases, context, epoch=epoch), context, world=ALONE, run=tmp_path)
        states.append(weights(state))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_organ_that_is_labelled_nowhere_in_a_batch_is_left_as_it_is(
    tmp_path: Path, cases: list[TrainingCase], small_configuration: Configure, two_organs: LabelSet
) -> None:
    state, context = begun(small_configuration(), two_organs)
    before = weights(state)
    hearts = [replace(case, organs=("heart",)) for case in cases]
    take_step(state, batch_of(hearts, context), context, world=ALONE, run=tmp_path)
    changed = {name for name, value in weights(state).items() if not torch.equal(value, before[name])}
    assert any(name.startswith("fine.heart") for name in changed)
    assert not any(name.startswith("fine.trachea") for name in changed)
