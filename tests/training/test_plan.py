"""What a run takes of memory and time, and how a recipe is made to fit."""

import functools
import itertools
import math
import tomllib

import pytest
import torch

from thoar.core.configuration import Configuration, configuration_from
from thoar.core.errors import ResourceError
from thoar.datasets.fingerprint import CaseFingerprint, Fingerprint, Percentiles
from thoar.training import fit as fit_module
from thoar.training.fit import Limits, fit
from thoar.training.needs import largest_sample, largest_scan, needs, prepared_shape, typical_sample
from thoar.training.plan import cache_bytes, expected_times, make_plan, recipe_text
from thoar.training.speed import Speed, measured_speed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HU = Percentiles(lowest=-1, lower=0, median=1, upper=2, highest=3)


def case(name: str, shape_zyx, **boxes) -> CaseFingerprint:
    return CaseFingerprint(
        id=name,
        shape_zyx=(100, 512, 512),
        spacing_zyx_mm=(2.5, 0.9, 0.9),
        resampled_shape_zyx=(80, 460, 460),
        content_zyx=shape_zyx,
        prepared_shape_zyx=shape_zyx,
        box_cells_zyx=boxes,
    )


def found_of(*cases: CaseFingerprint, organs: tuple[str, ...] = ("heart", "aorta")) -> Fingerprint:
    return Fingerprint(
        organs=organs,
        spacing_zyx_mm=(3.0, 1.0, 1.0),
        stride_zyx=(2, 8, 8),
        cases=cases,
        organ_hu=dict.fromkeys(organs, HU),
        body_hu=HU,
    )


FOUND = found_of(
    case("small", (40, 96, 128), heart=(6, 6, 6)),
    case("large", (64, 128, 160), heart=(8, 6, 6), aorta=(20, 4, 4)),
)


BIG = found_of(case("big", (160, 320, 400), heart=(30, 15, 20)), organs=("heart",))
"""Of which the GPU's own context is the smaller part."""


def paper(*overrides: str) -> Configuration:
    """Return the paper's recipe with a network that is quickly tried: narrow, of the same strides."""
    blocks = [
        {"channels": 12, "convolutions": 1, "stride_zyx": [1, 2, 2]},
        {"channels": 16, "convolutions": 1, "stride_zyx": [2, 2, 2]},
        {"channels": 16, "convolutions": 1, "stride_zyx": [1, 2, 2]},
    ]
    return configuration_from({"network": {"stem_channels": 8, "blocks": blocks}}, overrides=overrides)


def test_the_largest_scan_and_its_largest_boxes_count():
    sizes = largest_sample(paper(), FOUND)
    assert sizes.shape_zyx == (64, 128, 160)
    heart = math.prod(sizes.boxes_zyx["heart"]) / (2 * 8 * 8)
    assert 8 * 6 * 6 <= heart <= 1.5 * 8 * 6 * 6


def test_a_lower_cap_makes_boxes_smaller_but_never_smaller_than_the_organ():
    boxes = largest_sample(paper("boxes.cap=0.1"), FOUND).boxes_zyx
    assert boxes["heart"] == (16, 48, 48)
    assert boxes["aorta"] == (40, 32, 32)


def test_samples_are_as_long_as_the_longest_that_may_be_seen_and_validation_sees_whole_scans():
    short = paper("augmentation.longest_scan_cells=14")
    assert largest_sample(short, FOUND).shape_zyx == (28, 128, 160)
    assert largest_sample(short, FOUND).boxes_zyx["aorta"][0] == 28
    assert largest_scan(short, FOUND).shape_zyx == (64, 128, 160)
    assert typical_sample(short, FOUND).shape_zyx[0] == 28


def test_another_spacing_changes_scans_and_boxes_in_proportion():
    coarser = paper("preparation.spacing_zyx_mm=[3.0,2.0,2.0]")
    assert prepared_shape(FOUND.cases[1], coarser, FOUND) == (64, 64, 80)
    assert largest_scan(coarser, FOUND).boxes_zyx["heart"] == (24, 56, 56)


def test_a_gpu_holds_the_tensors_and_the_process_the_rest():
    on_gpu, on_cpu = needs(paper(), FOUND, device=GPU), needs(paper(), FOUND, device=CPU)
    assert [need.stage for need in on_gpu] == ["preparation", "coarse", "joint", "validation"]
    assert all(need.vram_bytes == 0 for need in on_cpu)
    assert on_gpu[0].vram_bytes == 0
    for gpu, cpu in zip(on_gpu[1:], on_cpu[1:], strict=True):
        assert gpu.vram_bytes > 0.5 * gpu.step.peak_bytes
        assert cpu.ram_bytes > cpu.step.peak_bytes


def test_samples_drawn_ahead_and_batches_and_workers_take_memory():
    def worst(*overrides: str, workers: int = 1) -> dict[str, int]:
        return {
            need.stage: need.ram_bytes
            for need in needs(paper(*overrides), FOUND, device=CPU, workers=workers)
        }

    plain = worst()
    assert worst("train.prefetch=2")["coarse"] > plain["coarse"]
    assert worst("train.batch_cases=4")["coarse"] > plain["coarse"]
    assert worst("train.averaging=0.9")["joint"] > plain["joint"]
    assert worst(workers=4)["preparation"] > 2 * plain["preparation"]


def test_a_run_without_a_joint_stage_needs_nothing_for_it():
    stages = [need.stage for need in needs(paper("train.joint_epochs=0"), FOUND, device=CPU)]
    assert stages == ["preparation", "coarse", "validation"]


@functools.cache
def vram_of_the_recipe() -> int:
    return most_vram(paper())


def most_vram(configuration) -> int:
    return max(need.vram_bytes for need in needs(configuration, BIG, device=GPU))


@functools.cache
def fitted(part: float):
    """Fit the paper's recipe to a part of the GPU memory that it takes."""
    return fit(paper(), BIG, Limits(vram_bytes=part * vram_of_the_recipe()), device=GPU)


def test_what_fits_stays_as_it_is():
    result = fitted(1.0)
    assert result.configuration == paper()
    assert result.changes == ()


def test_the_cheapest_change_that_suffices_is_taken():
    result = fitted(0.6)
    assert [change.setting for change in result.changes] == ["train.precision"]
    assert "losses, weights and validation stay float32" in result.changes[0].cost


def test_levels_are_computed_again_before_anything_is_lost():
    rungs = [path for path, _ in fit_module._rungs(paper(), BIG, GPU)]
    assert list(dict.fromkeys(rungs)) == [
        "train.recomputed_levels",
        "train.precision",
        "boxes.cap",
        "augmentation.longest_scan_cells",
        "preparation.spacing_zyx_mm",
    ]


def test_limits_are_kept_and_every_change_says_what_it_costs():
    result = fitted(0.45)
    assert max(need.vram_bytes for need in result.needs) <= 0.45 * vram_of_the_recipe()
    assert result.configuration.train.precision == "bfloat16"
    assert all(change.cost and change.before != change.after for change in result.changes)
    assert result.changes[-1].vram_bytes == max(need.vram_bytes for need in result.needs)


def test_no_change_is_left_that_is_not_needed():
    result = fitted(0.45)
    limit = 0.45 * vram_of_the_recipe()
    settings = {change.setting: change for change in result.changes}
    for path in settings:
        section, key = path.split(".")
        before = getattr(getattr(paper(), section), key)
        without = fit_module._with(result.configuration, {path: before})
        assert most_vram(without) > limit


def test_a_device_without_bfloat16_is_not_given_it(monkeypatch):
    monkeypatch.setattr(fit_module, "has_bfloat16", lambda _: False)
    assert fitted.__wrapped__(0.6).configuration.train.precision == "float32"


def test_voxels_grow_in_plane_first_and_never_beyond_the_coarsest():
    coarser = [value for _, value in fit_module._coarser_voxels(paper())]
    assert coarser[0] == (3.0, 1.25, 1.25)
    assert max(max(spacing) for spacing in coarser) <= fit_module.COARSEST_MM
    assert all(math.prod(b) > math.prod(a) for a, b in itertools.pairwise(coarser))


def test_what_cannot_fit_is_refused_with_the_least_that_would_do():
    with pytest.raises(ResourceError, match=r"validation|joint|coarse") as caught:
        fitted(0.05)
    assert "GPU memory: the stage" in str(caught.value)
    assert "--max-vram" in str(caught.value)


def test_a_scan_whose_preparation_alone_takes_too_much_is_refused_as_such():
    with pytest.raises(ResourceError, match="the stage preparation takes at least"):
        fit(paper(), FOUND, Limits(ram_bytes=2**28), device=GPU)


SPEED = Speed(flops_per_s=1e12, drawing_s_per_voxel=0.0)


def test_prepared_cases_take_five_bytes_a_voxel_on_disk():
    assert cache_bytes(paper(), FOUND) == 5 * (40 * 96 * 128 + 64 * 128 * 160)


def test_times_grow_with_cases_and_epochs_and_shrink_with_speed():
    times = expected_times(paper(), FOUND, SPEED)
    assert 0 < times.coarse_epoch_s < times.joint_epoch_s
    assert times.run_s == pytest.approx(40 * times.coarse_epoch_s + 50 * times.joint_epoch_s)
    twice = expected_times(paper(), FOUND, Speed(flops_per_s=2e12, drawing_s_per_voxel=0.0))
    assert twice.run_s == pytest.approx(times.run_s / 2)
    drawn = expected_times(paper(), FOUND, Speed(flops_per_s=1e12, drawing_s_per_voxel=1e-6))
    assert drawn.run_s > times.run_s


def test_the_written_recipe_is_the_fitted_configuration_and_names_the_changes():
    limits = Limits(vram_bytes=0.7 * vram_of_the_recipe())
    plan = make_plan(paper(), BIG, limits=limits, device=GPU, timed=False)
    text = recipe_text(plan)
    assert configuration_from(tomllib.loads(text)) == plan.configuration
    assert plan.changes
    for change in plan.changes:
        assert f"# {change.setting}: {change.before} became {change.after}" in text
    assert max(need.vram_bytes for need in plan.as_it_was) > limits.vram_bytes
    assert max(need.vram_bytes for need in plan.needs) <= limits.vram_bytes


def test_a_measured_speed_is_some_speed(small_configuration):
    speed = measured_speed(small_configuration(), ("heart",), device=CPU)
    assert speed.flops_per_s > 1e6
    assert 0 < speed.drawing_s_per_voxel < 1e-2
    still = measured_speed(small_configuration("augmentation.enabled=false"), ("heart",), device=CPU)
    assert still.drawing_s_per_voxel == 0
