import math

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.configuration import Augmentation, Preparation
from thoar.metrics.overlap import dice
from thoar.training.augmentation import AugmentationParameters, augment, draw_augmentation

RANGES = Augmentation()
PREPARATION = Preparation(spacing_zyx_mm=(3.0, 1.0, 2.0))
SHAPE = (32, 64, 48)
EVERYTHING = AugmentationParameters(
    rotation_degrees_zyx=(8.0, -4.0, 5.0),
    scale_zyx=(1.1, 0.9, 1.05),
    elastic_mm=3.0,
    elastic_seed=1,
    shift_hu=15.0,
    gain=1.05,
    contrast_gain=1.3,
    noise_hu=20.0,
    noise_seed=2,
    blur_mm=1.0,
    thick_slices_mm=6.0,
    cells_z=(2, 15),
)


def positions_mm():
    """Return each voxel's (z, y, x) from the middle."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, PREPARATION.spacing_zyx_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def ball(centre_mm, radius_mm):
    """Return 0.5 plus a soft ball of 0.45 above it, and the ball's label, 3."""
    away_mm = np.linalg.norm(positions_mm() - np.reshape(centre_mm, (3, 1, 1, 1)), axis=0)
    image = 0.5 + 0.45 / (1 + np.exp((away_mm - radius_mm) / 0.5))
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(np.uint8(3) * (away_mm <= radius_mm))


def random_case(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.random(SHAPE, dtype=np.float32)
    labels = np.kron(rng.integers(0, 5, (4, 8, 8)), np.ones((8, 8, 6))).astype(np.uint8)
    return torch.from_numpy(image), torch.from_numpy(labels)


def changed(image, labels, parameters, *, preparation=PREPARATION, ranges=RANGES):
    return augment(image, labels, parameters=parameters, ranges=ranges, preparation=preparation, stride_z=2)


def centre_mm(weights):
    weights = np.asarray(weights, dtype=np.float64)
    return (positions_mm() * weights).sum(axis=(1, 2, 3)) / weights.sum()


def test_the_same_record_gives_the_same_sample_again_also_after_a_file():
    kept = msgspec.json.decode(msgspec.json.encode(EVERYTHING), type=AugmentationParameters)
    first, again = changed(*random_case(), EVERYTHING), changed(*random_case(), kept)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_record_of_no_change_changes_nothing():
    image, labels = random_case()
    new_image, new_labels = changed(image, labels, AugmentationParameters())
    torch.testing.assert_close(new_image, image, rtol=0, atol=2e-7)
    assert torch.equal(new_labels, labels)


def test_the_case_itself_stays_as_it_was():
    image, labels = random_case()
    before = image.clone(), labels.clone()
    changed(image, labels, EVERYTHING)
    assert torch.equal(image, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize(
    ("parameters", "start_mm", "end_mm"),
    [
        ({"rotation_degrees_zyx": (90.0, 0.0, 0.0)}, (5, 10, 0), (5, 0, 10)),
        ({"rotation_degrees_zyx": (30.0, 0.0, 0.0)}, (-6, 14, 0), (-6, 14 * math.cos(math.pi / 6), 7)),
        ({"rotation_degrees_zyx": (0.0, 90.0, 0.0)}, (10, 3, 0), (0, 3, 10)),
        ({"rotation_degrees_zyx": (0.0, 0.0, 90.0)}, (10, 0, 4), (0, 10, 4)),
        ({"scale_zyx": (1.5, 1.0, 1.0)}, (12, -6, 8), (18, -6, 8)),
        ({"scale_zyx": (1.0, 1.4, 0.8)}, (3, 10, -10), (3, 14, -8)),
    ],
)
def test_turning_and_scaling_move_a_ball_by_millimetres(parameters, start_mm, end_mm):
    image, labels = changed(*ball(start_mm, 8.0), AugmentationParameters(**parameters))
    for weights in ((image - 0.5).clamp_min(0.02) - 0.02, labels > 0):
        assert centre_mm(weights) == pytest.approx(end_mm, abs=0.35)


def test_an_organ_becomes_as_many_times_as_large_as_its_scale():
    _, before = ball((0, 0, 0), 15.0)
    _, after = changed(*ball((0, 0, 0), 15.0), AugmentationParameters(scale_zyx=(1.2, 1.1, 0.9)))
    ratio = int((after > 0).sum()) / int((before > 0).sum())
    assert ratio == pytest.approx(1.2 * 1.1 * 0.9, rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_labels_move_with_the_image(seed):
    moved = draw_augmentation(
        np.random.default_rng(seed),
        msgspec.structs.replace(RANGES, probability=1.0, short_scan_probability=0.0),
        coarse_slices=16,
    )
    moved = msgspec.structs.replace(
        moved, shift_hu=0.0, gain=1.0, contrast_gain=1.0, noise_hu=0.0, blur_mm=0.0, thick_slices_mm=0.0
    )
    assert moved.elastic_mm > 0
    image, labels = changed(*ball((4, -5, 6), 14.0), moved)
    assert dice((image >= 0.725).numpy(), (labels == 3).numpy()) >= 0.97
    assert set(labels.unique().tolist()) == {0, 3}
    unmoved = ball((4, -5, 6), 14.0)[1]
    assert dice((unmoved == 3).numpy(), (labels == 3).numpy()) < 0.97


@pytest.mark.parametrize("seed", range(6))
def test_a_small_label_anywhere_is_moved_as_its_mask_would_be(seed):
    rng = np.random.default_rng(seed)
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    first = [int(rng.integers(0, n - 5)) * (seed % 3) // 2 for n in SHAPE]  # seeds 0 and 3: in the corner
    labels[tuple(slice(a, a + 6) for a in first)] = 7
    where = msgspec.structs.replace(
        draw_augmentation(rng, msgspec.structs.replace(RANGES, probability=1.0), coarse_slices=16),
        shift_hu=0.0, gain=1.0, contrast_gain=1.0, noise_hu=0.0, blur_mm=0.0, thick_slices_mm=0.0,
    )  # fmt: skip
    mask, moved = changed((labels == 7).float(), labels, where)
    assert torch.equal(moved == 7, mask >= 0.5)


def test_blur_and_thick_slices_repeat_the_edges():
    image, labels = torch.full(SHAPE, 0.5), torch.zeros(SHAPE, dtype=torch.uint8)
    found, _ = changed(image, labels, AugmentationParameters(blur_mm=3.0, thick_slices_mm=9.0))
    assert found.numpy() == pytest.approx(0.5, abs=1e-6)


def test_displacements_are_millimetres_of_the_deviation_asked_for():
    ramp = torch.from_numpy(((positions_mm()[1] + 50) / 100).astype(np.float32))
    ranges = msgspec.structs.replace(RANGES, elastic_period_mm=8.0)
    bent, _ = changed(
        ramp, torch.zeros(SHAPE, dtype=torch.uint8), AugmentationParameters(elastic_mm=2.0), ranges=ranges
    )
    inner = (slice(6, -6), slice(12, -12), slice(6, -6))
    deviation_mm = ((bent - ramp)[inner] * 100).std().item()
    assert 0.4 * 2.0 < deviation_mm < 2.0, "linear interpolation between controls lessens it"


@pytest.mark.parametrize("seed", range(5))
def test_values_stay_within_0_to_1_and_labels_within_their_ids(seed):
    ranges = msgspec.structs.replace(RANGES, probability=1.0, noise_hu=2000.0, shift_hu=900.0)
    parameters = draw_augmentation(np.random.default_rng(seed), ranges, coarse_slices=16)
    image, labels = random_case(seed)
    new_image, new_labels = changed((image > 0.5).float(), labels, parameters, ranges=ranges)
    assert new_image.min() >= 0
    assert new_image.max() <= 1
    assert set(new_labels.unique().tolist()) <= {0, 1, 2, 3, 4}


def test_padding_stays_air():
    image, labels = random_case()
    image[:, 50:], labels[:, 50:] = 0, 0
    still = msgspec.structs.replace(
        EVERYTHING, rotation_degrees_zyx=(0, 0, 0), scale_zyx=(1, 1, 1), elastic_mm=0.0, cells_z=None
    )
    new_image, _ = changed(image, labels, still)
    assert not new_image[:, 50:].any()
    assert new_image[:, :50].any()


def test_what_comes_from_outside_the_case_is_air_without_a_label():
    image, labels = torch.ones(SHAPE), torch.ones(SHAPE, dtype=torch.uint8)
    image, labels = changed(image, labels, AugmentationParameters(scale_zyx=(0.5, 0.5, 0.5)))
    assert not image[:7].any()
    assert not labels[:7].any()
    assert image[16, 32, 24] == 1
    assert labels[16, 32, 24] == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_short_crop_is_whole_cells_of_at_least_the_least_length(seed):
    ranges = msgspec.structs.replace(RANGES, probability=0.0, short_scan_probability=1.0, short_scan_cells=5)
    parameters = draw_augmentation(np.random.default_rng(seed), ranges, coarse_slices=16)
    assert parameters.cells_z is not None
    first, last = parameters.cells_z
    assert 0 <= first < last <= 16
    assert 5 <= last - first < 16
    image, labels = random_case()
    new_image, new_labels = changed(image, labels, parameters)
    torch.testing.assert_close(new_image, image[2 * first : 2 * last], rtol=0, atol=2e-7)
    assert torch.equal(new_labels, labels[2 * first : 2 * last])


@pytest.mark.parametrize("coarse_slices", [3, 12])
def test_a_short_scan_is_not_cut_further(coarse_slices):
    ranges = msgspec.structs.replace(RANGES, short_scan_probability=1.0)
    assert draw_augmentation(np.random.default_rng(0), ranges, coarse_slices=coarse_slices).cells_z is None


def test_draws_stay_within_their_ranges_and_reach_far_into_them():
    ranges = msgspec.structs.replace(RANGES, probability=1.0)
    rng = np.random.default_rng(0)
    draws = [draw_augmentation(rng, ranges, coarse_slices=40) for _ in range(400)]
    limits = {
        "elastic_mm": (0, 4), "shift_hu": (-20, 20), "gain": (0.9, 1.1), "contrast_gain": (0.2, 1.5),
        "noise_hu": (0, 30), "blur_mm": (0, 1.5), "thick_slices_mm": (0, 6),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        values = [getattr(d, name) for d in draws]
        assert low <= min(values) <= low + 0.1 * (high - low), name
        assert high - 0.1 * (high - low) <= max(values) <= high, name
    angles = np.abs([d.rotation_degrees_zyx for d in draws])
    assert (angles.max(axis=0) <= [10, 5, 5]).all()
    assert (angles.max(axis=0) >= [9, 4.5, 4.5]).all()
    scales = np.array([d.scale_zyx for d in draws])
    assert 1 / 1.15 <= scales.min() < 0.89
    assert 1.13 < scales.max() <= 1.15
    assert np.mean([d.cells_z is not None for d in draws]) == pytest.approx(0.15, abs=0.05)


def test_with_probability_0_nothing_is_changed():
    ranges = msgspec.structs.replace(RANGES, probability=0.0, short_scan_probability=0.0)
    drawn = draw_augmentation(np.random.default_rng(0), ranges, coarse_slices=40)
    assert msgspec.structs.replace(drawn, elastic_seed=0, noise_seed=0) == AugmentationParameters()


def flat(value_hu):
    return torch.full(SHAPE, (value_hu + 1000) / 2000)


@pytest.mark.parametrize(
    ("change", "before_hu", "after_hu"),
    [
        ({"shift_hu": 15.0}, 100.0, 115.0),
        ({"gain": 1.1}, 100.0, 110.0),
        ({"gain": 1.1, "shift_hu": -10.0}, 100.0, 100.0),
        ({"contrast_gain": 1.5}, 250.0, 350.0),
        ({"contrast_gain": 0.2}, 250.0, 90.0),
        ({"contrast_gain": 1.5}, 40.0, 40.0),
        ({"shift_hu": 15.0}, -1000.0, -1000.0),
    ],
)
def test_intensities_change_by_hounsfield_units(change, before_hu, after_hu):
    image, _ = changed(
        flat(before_hu), torch.zeros(SHAPE, dtype=torch.uint8), AugmentationParameters(**change)
    )
    torch.testing.assert_close(image, flat(after_hu))


def test_noise_has_the_deviation_asked_for():
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    image, _ = changed(flat(0.0), labels, AugmentationParameters(noise_hu=25.0))
    assert (image * 2000).std().item() == pytest.approx(25, rel=0.02)


def test_blur_has_the_deviation_asked_for_in_millimetres_and_stays_in_its_slice():
    image = flat(0.0)
    image[16, 32, 24] = 1.0
    blurred, _ = changed(image, torch.zeros(SHAPE, dtype=torch.uint8), AugmentationParameters(blur_mm=3.0))
    spread = (blurred - flat(0.0)).clamp_min(0).numpy().astype(np.float64)
    assert spread.sum() == pytest.approx(0.5, rel=1e-3)
    away_mm = positions_mm() - positions_mm()[:, 16, 32, 24].reshape(3, 1, 1, 1)
    variance = (away_mm**2 * spread).sum(axis=(1, 2, 3)) / spread.sum()
    assert np.sqrt(variance) == pytest.approx([0, 3, 3], rel=0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("thickness_mm", "weights"),
    [
        (3.0, [0, 0, 1, 0, 0]),
        (4.5, [0, 1 / 6, 4 / 6, 1 / 6, 0]),
        (6.0, [0, 1 / 4, 1 / 2, 1 / 4, 0]),
        (9.0, [0, 1 / 3, 1 / 3, 1 / 3, 0]),
        (12.0, [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8]),
    ],
)
def test_thick_slices_are_the_mean_over_their_thickness(thickness_mm, weights):
    image = flat(0.0)
    image[16] = 1.0
    parameters = AugmentationParameters(thick_slices_mm=thickness_mm)
    thick, _ = changed(image, torch.zeros(SHAPE, dtype=torch.uint8), parameters)
    assert ((thick[14:19, 5, 5] - 0.5) * 2).tolist() == pytest.approx(weights, abs=1e-5)


def test_a_moved_float_image_on_another_grid_keeps_its_shape():
    image, labels = changed(*random_case(), EVERYTHING)
    assert image.shape == labels.shape == (2 * (15 - 2), 64, 48)
    assert (image.dtype, labels.dtype) == (torch.float32, torch.uint8)
