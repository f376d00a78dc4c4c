import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thoar.io.structures.contours import LARGEST_MOVE, level_rings, signed_area, simplified

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
AROUND_HALF = st.sampled_from([0.0, 0.3, 0.44, 0.4999999, 0.5, 0.5000001, 0.56, 0.7, 1.0])
PROBABILITIES = SHAPES.flatmap(
    lambda shape: arrays(np.float64, shape, elements=AROUND_HALF | st.floats(0, 1))
)
MASKS = SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)).map(lambda mask: mask.astype(np.float32))


def disc(radius: float, size: int) -> np.ndarray:
    y, x = np.indices((size, size)) - (size - 1) / 2
    return 1 / (1 + np.exp(np.hypot(y, x * 1.1) - radius))


def distances(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """From each point to the nearest side of a ring."""
    chord = np.roll(ring, -1, axis=0) - ring
    off = points[:, None] - ring
    along = np.clip((off * chord).sum(-1) / (chord**2).sum(-1), 0, 1)
    return np.linalg.norm(off - along[..., None] * chord, axis=-1).min(axis=1)


@settings(max_examples=200, deadline=None)
@given(probability=PROBABILITIES | MASKS)
def test_rings_hold_the_masks_pixel_centres_before_and_after_simplification(
    probability: np.ndarray, winding, crossings
) -> None:
    mask = (probability >= 0.5).astype(int)
    rings = level_rings(probability)
    simple = simplified(rings, LARGEST_MOVE)
    rounded = [np.round(ring * 0.7, 4) / 0.7 for ring in simple]
    for some in (rings, simple, rounded):
        np.testing.assert_array_equal(winding(some, probability.shape), mask)
        if some:
            assert crossings(some, touching=True) == 0
            assert min(len(np.unique(ring, axis=0)) for ring in some) >= 3


@settings(max_examples=100, deadline=None)
@given(probability=PROBABILITIES, tolerance=st.sampled_from([0.01, 0.03, 0.05]))
def test_simplified_rings_stay_within_the_tolerance(probability: np.ndarray, tolerance: float) -> None:
    rings = level_rings(probability)
    for ring, simple in zip(rings, simplified(rings, tolerance), strict=True):
        assert {tuple(point) for point in simple} <= {tuple(point) for point in ring}
        assert distances(ring, simple).max() <= tolerance + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_rings_of_a_noisy_slice_never_meet(seed: int, winding, crossings) -> None:
    probability = np.random.default_rng(seed).random((24, 31)) ** (1 + seed)
    rings = simplified(level_rings(probability), LARGEST_MOVE)
    np.testing.assert_array_equal(winding(rings, (24, 31)), probability >= 0.5)
    assert crossings(rings, touching=True) == 0


def test_a_ring_lies_on_the_half_level_between_soft_values() -> None:
    probability = np.array([[0.0, 0.2, 0.7, 0.9, 0.7, 0.3, 0.0]])
    (ring,) = level_rings(probability)
    crossed = sorted(ring[ring[:, 0] == 0, 1])
    np.testing.assert_allclose(crossed, [1 + 0.3 / 0.5, 4.5])


@given(inside=st.floats(0.501, 1), outside=st.floats(0, 0.499))
def test_a_ring_departs_from_the_half_level_by_a_tenth_of_a_pixel_at_most(inside, outside) -> None:
    (ring,) = level_rings(np.array([[outside, inside]] * 3))
    (found,) = ring[(ring[:, 0] == 1) & (ring[:, 1] < 1), 1]
    true = (0.5 - outside) / (inside - outside)
    assert found == pytest.approx(np.clip(true, 0.1, 0.9))


def test_outer_rings_are_positive_and_holes_negative() -> None:
    probability = np.pad(np.ones((7, 7)), 1)
    probability[4, 4] = 0
    areas = sorted(signed_area(ring) for ring in level_rings(probability))
    assert areas == pytest.approx([-0.5, 49 - 0.5])


def test_pixels_that_touch_at_a_corner_have_rings_of_their_own() -> None:
    assert [len(ring) for ring in level_rings(np.eye(3))] == [4, 4, 4]


def test_a_gap_that_is_open_at_a_corner_is_no_hole() -> None:
    probability = np.ones((3, 3))
    probability[0, 0] = probability[1, 1] = 0
    assert len(level_rings(probability)) == 1


def test_a_mask_at_the_images_edge_is_closed_half_a_pixel_beyond() -> None:
    (ring,) = level_rings(np.ones((2, 3)))
    assert ring.min(axis=0).tolist() == [-0.5, -0.5]
    assert ring.max(axis=0).tolist() == [1.5, 2.5]


def test_what_is_no_number_or_no_probability_lies_outside_or_inside() -> None:
    rings = level_rings(np.array([[np.nan, 7.0, -np.inf, np.nan]]))
    assert len(rings) == 1
    assert 0 < rings[0][:, 1].min() < 1 < rings[0][:, 1].max() < 2


def test_an_empty_slice_has_no_rings() -> None:
    assert simplified(level_rings(np.zeros((4, 5))), LARGEST_MOVE) == []


def test_a_large_smooth_ring_loses_most_of_its_points_and_no_area() -> None:
    (ring,) = level_rings(disc(90.3, 200))
    (simple,) = simplified([ring], LARGEST_MOVE)
    assert len(simple) < len(ring) / 3
    assert signed_area(simple) == pytest.approx(signed_area(ring), rel=1e-3)


def test_a_ring_of_fifty_thousand_points_takes_little_time() -> None:
    comb = np.zeros((236, 236))
    comb[::2] = comb[:, 0] = 1
    start = time.perf_counter()
    (ring,) = level_rings(comb)
    simplified([ring], LARGEST_MOVE)
    assert len(ring) > 50_000
    assert time.perf_counter() - start < 5
