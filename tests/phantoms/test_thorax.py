from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from skimage.measure import label

from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.thorax import draw_thorax, make_thorax
from thoar.phantoms.thorax_parameters import ThoraxParameters

COARSE = (6.0, 4.0, 4.0)
ESOPHAGUS, HEART, TRACHEA, AORTA = 1, 2, 3, 4
Native = Callable[[ThoraxParameters], ThoraxParameters]
Cases = list[tuple[ThoraxParameters, Volume, LabelVolume]]


def centre_xyz_mm(labels: LabelVolume, organ: int, levels: np.ndarray | slice = slice(None)) -> np.ndarray:
    index = np.argwhere(labels.voxels[levels] == organ).mean(axis=0)
    return np.array(labels.geometry.position_xyz_mm(index.tolist()))


def test_same_seed_makes_the_same_case_and_another_seed_another() -> None:
    first, again, other = (draw_thorax(rng_for(seed, "thorax", 0)) for seed in (7, 7, 8))
    assert first == again != other
    (one, one_labels), (two, two_labels) = (make_thorax(p, spacing_zyx_mm=COARSE) for p in (first, again))
    np.testing.assert_array_equal(one.voxels, two.voxels)
    np.testing.assert_array_equal(one_labels.voxels, two_labels.voxels)


def test_parameters_come_back_from_a_file_and_make_the_same_case(cases: Cases) -> None:
    parameters, volume, _ = cases[0]
    stored = msgspec.json.decode(msgspec.json.encode(parameters), type=ThoraxParameters)
    np.testing.assert_array_equal(make_thorax(stored, spacing_zyx_mm=COARSE)[0].voxels, volume.voxels)


def test_every_organ_has_an_adults_volume(cases: Cases) -> None:
    for parameters, _, labels in cases:
        assert set(np.unique(labels.voxels)) == {0, 1, 2, 3, 4}
        for organ in SEGTHOR.organs:
            least, most = organ.usual_volume_ml or (0, 0)
            volume_ml = (labels.voxels == organ.id).sum() * labels.geometry.voxel_volume_ml
            assert least < volume_ml < most, (organ.name, parameters.seed)


def test_labels_do_not_depend_on_the_voxel_size(cases: Cases) -> None:
    parameters, _, coarse = cases[1]
    _, fine = make_thorax(parameters, spacing_zyx_mm=(3.0, 2.5, 2.5))
    for organ in (HEART, AORTA):
        volumes = [(v.voxels == organ).sum() * v.geometry.voxel_volume_ml for v in (coarse, fine)]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
        assert np.linalg.norm(centre_xyz_mm(coarse, organ) - centre_xyz_mm(fine, organ)) < 3


def test_values_are_a_scanners(cases: Cases) -> None:
    for _, volume, _ in cases:
        assert volume.voxels.dtype == np.int16
        assert -1024 <= volume.voxels.min() < -990
        assert 250 < volume.voxels.max() <= 3071


def test_heart_lies_left_of_the_trachea_and_left_is_plus_x(cases: Cases) -> None:
    apart = [centre_xyz_mm(labels, HEART)[0] - centre_xyz_mm(labels, TRACHEA)[0] for _, _, labels in cases]
    assert np.mean(apart) > 10
    assert np.mean([a > 0 for a in apart]) > 0.85


def test_trachea_lies_in_front_of_the_esophagus_and_above_the_heart(cases: Cases) -> None:
    for _, _, labels in cases:
        levels = (labels.voxels == TRACHEA).any(axis=(1, 2)) & (labels.voxels == ESOPHAGUS).any(axis=(1, 2))
        trachea, esophagus = (centre_xyz_mm(labels, organ, levels) for organ in (TRACHEA, ESOPHAGUS))
        assert trachea[1] < esophagus[1] - 4
        assert centre_xyz_mm(labels, TRACHEA)[2] > centre_xyz_mm(labels, HEART)[2] + 50


def test_descending_aorta_lies_left_of_the_spine_and_behind_the_heart(cases: Cases) -> None:
    for parameters, _, labels in cases:
        middle = round(centre_xyz_mm(labels, HEART)[2] / COARSE[0])
        levels = slice(middle - 2, middle + 3)
        aorta, heart = (centre_xyz_mm(labels, organ, levels) for organ in (AORTA, HEART))
        assert aorta[0] > parameters.body.shift_xyz_mm[0] - 15
        assert aorta[1] > heart[1]


def test_each_organ_hangs_together(cases: Cases) -> None:
    for _, _, labels in cases:
        for organ in (ESOPHAGUS, HEART, TRACHEA, AORTA):
            sizes = np.bincount(np.asarray(label(labels.voxels == organ)).ravel())[1:]
            assert sizes.max() > 0.9 * sizes.sum()


def test_without_contrast_the_organs_are_no_brighter_than_muscle(cases: Cases, native: Native) -> None:
    parameters = native(cases[2][0])
    volume, labels = make_thorax(parameters, spacing_zyx_mm=(3.0, 2.0, 2.0))
    for organ in (ESOPHAGUS, HEART, AORTA):
        assert volume.voxels[labels.voxels == organ].mean() == pytest.approx(
            parameters.body.muscle_hu, abs=25
        )


def test_contrast_makes_the_aorta_brighter_and_leaves_the_labels(native: Native) -> None:
    parameters = native(draw_thorax(rng_for(0, "thorax", 5)))
    target = {**parameters.contrast.target_hu, "arteries": 300.0}
    bright = msgspec.structs.replace(
        parameters, contrast=msgspec.structs.replace(parameters.contrast, target_hu=target)
    )
    (plain, labels), (lit, lit_labels) = (make_thorax(p, spacing_zyx_mm=COARSE) for p in (parameters, bright))
    np.testing.assert_array_equal(labels.voxels, lit_labels.voxels)
    aorta = labels.voxels == AORTA
    assert lit.voxels[aorta].mean() > plain.voxels[aorta].mean() + 150


def test_place_and_value_alone_do_not_find_the_organs(cases: Cases) -> None:
    """A histogram over (place in the body's box, value), learnt on eight, fails on six others."""
    counts = np.zeros((12 * 16 * 20 * 14, 5))
    for _, volume, labels in cases[:8]:
        np.add.at(counts, (_cells(volume), labels.voxels.ravel()), 1)
    guess = counts.argmax(axis=1)
    dice = [_dice(guess[_cells(volume)], labels.voxels.ravel()) for _, volume, labels in cases[8:]]
    assert 0.3 < np.mean(dice) < 0.6


def _cells(volume: Volume) -> np.ndarray:
    _, y, x = np.nonzero(volume.voxels > -300)
    low = np.array([0, np.percentile(y, 1), np.percentile(x, 1)])
    high = np.array([volume.voxels.shape[0], np.percentile(y, 99) + 1, np.percentile(x, 99) + 1])
    index = np.indices(volume.voxels.shape).reshape(3, -1).T
    place = ((index - low) / (high - low) * (12, 16, 20)).astype(int).clip(0, (11, 15, 19))
    edges = (-950, -700, -300, -50, 0, 20, 40, 60, 80, 110, 150, 200, 300)
    value = np.digitize(volume.voxels.ravel(), edges)
    return np.ravel_multi_index((*place.T, value), (12, 16, 20, 14))


def _dice(guess: np.ndarray, truth: np.ndarray) -> float:
    return float(
        np.mean(
            [
                2 * ((guess == k) & (truth == k)).sum() / ((guess == k).sum() + (truth == k).sum())
                for k in (1, 2, 3, 4)
            ]
        )
    )
