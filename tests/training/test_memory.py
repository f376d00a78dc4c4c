"""What a dry run counts, against what real tensors and real processes take."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.training import memory
from thoar.training.live import LiveStorages
from thoar.training.memory import (
    inference_cost,
    training_cost,
    trial_inference,
    trial_network,
    trial_step,
)

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"
ORGANS = ("esophagus", "heart", "trachea", "aorta")
WHOLE = (240, 304, 424)
"""A chest on the paper's grid after the crop."""
ITS_BOXES = {
    "esophagus": (208, 104, 96),
    "heart": (100, 144, 168),
    "trachea": (92, 104, 112),
    "aorta": (200, 176, 120),
}


def recipe(name: str, *overrides: str) -> Configuration:
    path = Path(str(files("thoar"))) / "configs" / f"{name}.toml"
    return configuration_from(load_toml(path), overrides=overrides)


def test_storages_count_while_anything_keeps_them_alive():
    with LiveStorages() as live:
        first = torch.zeros(1000)
        view = first[:10]
        assert live.bytes == 4000
        del first
        assert live.bytes == 4000
        second = torch.zeros(500)
        del view
        assert live.bytes == 2000
    assert live.peak_bytes == 6000
    assert second.numel() == 500


def test_what_an_operation_takes_besides_its_tensors_counts_in_the_peak_alone():
    with LiveStorages(lambda name, _, made: [made[0].nbytes] * name.startswith("ones")) as live:
        kept = torch.ones(100)
    assert (live.bytes, live.peak_bytes) == (kept.nbytes, 2 * kept.nbytes)


@pytest.mark.parametrize("stage", ["coarse", "joint", "validation"])
@pytest.mark.parametrize(("precision", "levels"), [("float32", 0), ("bfloat16", 0), ("bfloat16", 3)])
def test_a_dry_run_counts_what_real_tensors_take(monkeypatch, stage, precision, levels):
    monkeypatch.setattr(memory, "_workspace", lambda *_, **__: [])
    configuration = recipe("tiny", f"train.precision={precision}", f"train.recomputed_levels={levels}")
    shape, boxes = (16, 32, 32), {"heart": (8, 16, 16), "aorta": (16, 8, 8)}
    if stage == "validation":
        counted = inference_cost(configuration, tuple(boxes), shape_zyx=shape, boxes_zyx=boxes)
    else:
        wanted = None if stage == "coarse" else boxes
        counted = training_cost(configuration, tuple(boxes), shape_zyx=shape, boxes_zyx=wanted)
    network = trial_network(configuration, tuple(boxes))
    with LiveStorages() as live:
        image = torch.rand(1, 1, *shape)
        if stage == "validation":
            trial_inference(network, image, boxes_zyx=boxes)
        else:
            trial_step(network, image, configuration, boxes_zyx=None if stage == "coarse" else boxes)
    assert counted.peak_bytes - counted.weight_bytes == pytest.approx(live.peak_bytes, rel=0.02)
    assert counted.flops == live.flops


def test_the_papers_network_on_a_whole_chest_stays_under_12_gb_in_half_precision():
    configuration = recipe("paper", "train.precision=bfloat16", "train.recomputed_levels=1")
    for boxes in (None, ITS_BOXES):
        counted = training_cost(configuration, ORGANS, shape_zyx=WHOLE, boxes_zyx=boxes)
        assert counted.saved_bytes < 6e9
        assert counted.peak_bytes < 12e9


def test_levels_that_are_computed_again_are_not_kept_and_cost_arithmetic():
    kept, again = (
        training_cost(
            recipe("paper", "train.precision=bfloat16", f"train.recomputed_levels={levels}"),
            ORGANS,
            shape_zyx=WHOLE,
        )
        for levels in (0, 5)
    )
    assert again.saved_bytes < 0.35 * kept.saved_bytes
    assert again.peak_bytes < 0.95 * kept.peak_bytes
    assert kept.flops < again.flops < 1.4 * kept.flops


def test_a_frozen_encoder_keeps_nothing_for_the_way_back():
    trained = training_cost(recipe("fast"), ORGANS, shape_zyx=(32, 64, 64))
    frozen = training_cost(recipe("fast", "train.encoder_rate=0.0"), ORGANS, shape_zyx=(32, 64, 64))
    assert frozen.saved_bytes < 0.6 * trained.saved_bytes


@pytest.mark.parametrize("mining", ["weights", "topk", "ohem", "none"])
def test_every_kind_of_mining_can_be_tried(mining):
    configuration = recipe("tiny", f"loss.mining={mining}")
    boxes = {"heart": (8, 16, 16)}
    cost = training_cost(configuration, ("heart",), shape_zyx=(16, 32, 32), boxes_zyx=boxes)
    assert cost.peak_bytes > cost.weight_bytes


def _error(*case: object) -> float:
    """Return by what part of the measured peak of a process the prediction is wrong."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--one", json.dumps(case)],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["predicted"] / found["real"] - 1


@pytest.mark.skipif(sys.platform != "linux", reason="the heap's waste was measured with glibc")
@pytest.mark.parametrize(
    "case",
    [
        ("fast", "joint", (64, 128, 128), ()),
        ("paper", "coarse", (48, 96, 128), ("train.precision=bfloat16", "train.recomputed_levels=2")),
        ("fast", "validation", (64, 128, 128), ()),
    ],
)
def test_predicted_memory_is_within_a_quarter_of_what_a_process_takes(case):
    assert abs(_error(*case)) < 0.25


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the heap's waste was measured with glibc")
@pytest.mark.parametrize(
    "case",
    [
        ("fast", "coarse", (64, 128, 128), ("train.precision=float32",)),
        ("fast", "joint", (96, 128, 160), ("train.precision=float32",)),
        ("paper", "validation", (64, 128, 160), ()),
        ("fast", "coarse", (128, 192, 256), ()),
        ("paper", "joint", (64, 128, 160), ("train.precision=bfloat16",)),
        ("tiny", "joint", (96, 96, 128), ()),
    ],
)
def test_predicted_memory_is_within_a_quarter_of_what_a_larger_process_takes(case):
    assert abs(_error(*case)) < 0.25


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", ["coarse", "joint"])
def test_predicted_gpu_memory_is_within_15_percent_of_what_tensors_take(stage):
    configuration = recipe("paper", "train.precision=bfloat16", "train.recomputed_levels=1")
    device, boxes = torch.device("cuda"), None if stage == "coarse" else ITS_BOXES
    counted = training_cost(configuration, ORGANS, shape_zyx=WHOLE, boxes_zyx=boxes, device=device)
    network = trial_network(configuration, ORGANS).to(device)
    torch.cuda.reset_peak_memory_stats()
    trial_step(network, torch.rand(1, 1, *WHOLE, device=device), configuration, boxes_zyx=boxes)
    assert counted.peak_bytes == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.15)
