import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoar.core.box import Box
from thoar.core.configuration import Boxes
from thoar.training.boxes import cap_of, training_box, uses_prediction

GRID = Box.of_shape((20, 16, 24))
TRUTH = Box(start_zyx=(8, 6, 10), stop_zyx=(12, 10, 15))
STILL = Boxes(jitter_cells=0, wide_probability=0.0)
UNCAPPED = math.inf


@st.composite
def boxes_within(draw, grid=GRID):
    corners = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in grid.stop_zyx]
    starts = [min(a, n - 1) for (a, _), n in zip(corners, grid.stop_zyx, strict=True)]
    stops = [max(b, a + 1) for (_, b), a in zip(corners, starts, strict=True)]
    return Box(start_zyx=tuple(starts), stop_zyx=tuple(stops))


def drawn(truth=TRUTH, *, predicted=None, settings=STILL, cap_cells=UNCAPPED, least=1, grid=GRID, seed=0):
    return training_box(
        truth,
        predicted=predicted,
        settings=settings,
        cap_cells=cap_cells,
        least_cells_per_axis=least,
        grid=grid,
        rng=np.random.default_rng(seed),
    )


@given(
    truth=boxes_within(),
    predicted=st.none() | boxes_within(),
    cap=st.sampled_from([1.0, 30.0, 300.0, UNCAPPED]),
    least=st.integers(1, 6),
    wide=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_the_organ_is_always_inside_and_the_box_inside_the_grid(truth, predicted, cap, least, wide, seed):
    settings = Boxes(wide_probability=wide)
    box = drawn(truth, predicted=predicted, settings=settings, cap_cells=cap, least=least, seed=seed)
    assert box.contains(truth)
    assert GRID.contains(box)
    assert all(n >= min(least, g) for n, g in zip(box.shape_zyx, GRID.shape_zyx, strict=True))


@given(truth=boxes_within(), predicted=boxes_within(), cap=st.integers(1, 3000), seed=st.integers(0, 99))
def test_no_box_is_larger_than_its_cap_unless_the_organ_is(truth, predicted, cap, seed):
    settings = Boxes(union_limit=math.inf)
    box = drawn(truth, predicted=predicted, settings=settings, cap_cells=float(cap), seed=seed)
    assert box.voxels <= max(cap, truth.voxels)
    if truth.voxels >= cap:
        assert box == truth


def test_jitter_moves_each_face_outward_by_none_to_two_cells():
    boxes = [drawn(settings=Boxes(wide_probability=0.0), seed=seed) for seed in range(300)]
    for corner, sign in (("start_zyx", 1), ("stop_zyx", -1)):
        for axis in range(3):
            moved = [sign * (getattr(TRUTH, corner)[axis] - getattr(box, corner)[axis]) for box in boxes]
            assert set(moved) == {0, 1, 2}


def test_one_box_in_four_becomes_up_to_twice_as_wide():
    wide = [drawn(settings=Boxes(wide_probability=1.0), seed=seed).shape_zyx for seed in range(300)]
    assert np.max(wide, axis=0).tolist() == [2 * n for n in TRUTH.shape_zyx]
    settings = Boxes(jitter_cells=0)
    still = [drawn(settings=settings, seed=seed) == TRUTH for seed in range(1000)]
    assert 0.70 < np.mean(still) < 0.80


def test_a_prediction_is_united_with_the_truth_only_while_that_stays_below_three_boxes():
    near = TRUTH.expanded((2, 0, 0), (0, 0, 2))
    assert drawn(predicted=near) == near
    partly = Box(start_zyx=(6, 7, 11), stop_zyx=(9, 8, 12))
    assert drawn(predicted=partly) == TRUTH.union(partly)
    assert drawn(predicted=GRID) == TRUTH
    small_but_far = Box(start_zyx=(19, 15, 23), stop_zyx=GRID.stop_zyx)
    assert drawn(predicted=small_but_far) == TRUTH
    thrice = Box(start_zyx=(8, 6, 9), stop_zyx=(20, 10, 15))
    assert thrice.voxels > 3 * TRUTH.voxels
    assert drawn(predicted=thrice) == TRUTH


def test_the_cap_draws_faces_in_towards_the_truth():
    wished = TRUTH.expanded((4, 4, 4), (4, 4, 4))
    settings = Boxes(jitter_cells=0, wide_probability=0.0, union_limit=math.inf)
    box = drawn(predicted=wished, settings=settings, cap_cells=400.0)
    assert wished.contains(box)
    assert TRUTH.voxels < box.voxels <= 400
    middles = [[a + b for a, b in zip(x.start_zyx, x.stop_zyx, strict=True)] for x in (box, TRUTH)]
    assert middles[0] == middles[1]


@pytest.mark.parametrize("corner", [(0, 0, 0), (18, 14, 22)])
def test_an_organ_at_the_volumes_faces_keeps_its_box_inside(corner):
    truth = Box(start_zyx=corner, stop_zyx=tuple(c + 2 for c in corner))
    for seed in range(50):
        box = drawn(truth, settings=Boxes(), least=4, seed=seed)
        assert GRID.contains(box)
        assert box.contains(truth)
        assert min(box.shape_zyx) >= 4


def test_a_grid_of_fewer_cells_than_the_least_gives_all_it_has():
    grid = Box.of_shape((2, 8, 8))
    assert drawn(Box(start_zyx=(0, 7, 3), stop_zyx=(1, 8, 4)), least=4, grid=grid).shape_zyx == (2, 4, 4)


def test_the_same_stream_gives_the_same_box():
    assert drawn(settings=Boxes(), seed=3) == drawn(settings=Boxes(), seed=3)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_predictions_are_used_never_at_first_and_always_from_half_of_the_joint_stage_on(progress, expected):
    rng = np.random.default_rng(0)
    used = [uses_prediction(Boxes(), joint_progress=progress, rng=rng) for _ in range(1000)]
    assert np.mean(used) == pytest.approx(expected, abs=0.05 if 0 < expected < 1 else 0)


def test_predictions_may_be_used_from_the_start():
    settings = Boxes(prediction_from=0.0)
    assert uses_prediction(settings, joint_progress=0.0, rng=np.random.default_rng(0))


def test_the_cap_is_one_and_a_half_times_the_99th_percentile_of_the_organs_boxes():
    assert cap_of([100] * 99 + [10_000] * 1, Boxes()) == 1.5 * np.percentile([100] * 99 + [10_000], 99)
    assert cap_of([100] * 200 + [10_000], Boxes()) == 150
    assert cap_of([], Boxes()) == math.inf


def test_more_least_cells_than_there_are_train_on_the_whole_volume_whatever_the_cap():
    assert drawn(least=1000, cap_cells=1.0) == GRID
