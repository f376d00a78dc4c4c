import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from thoar.io.structures.contours import LARGEST_MOVE, level_rings, signed_area, simplified
from thoar.io.structures.polygons import keyholed

MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.bool_, shape, elements=st.sampled_from([True, True, False]), fill=st.nothing())
)


def polygons_of(probability: np.ndarray) -> list[np.ndarray]:
    return keyholed(simplified(level_rings(probability.astype(float)), LARGEST_MOVE))


def check(probability: np.ndarray, winding, crossings) -> list[np.ndarray]:
    mask = probability >= 0.5
    polygons = polygons_of(probability)
    for some in (polygons, [np.round(polygon * 0.7, 4) / 0.7 for polygon in polygons]):
        np.testing.assert_array_equal(winding(some, mask.shape), mask)
        for polygon in some:
            assert signed_area(polygon) > 0
            assert crossings([polygon], touching=False) == 0
    assert len(polygons) == ndimage.label(mask)[1]
    return polygons


@settings(max_examples=200, deadline=None)
@given(mask=MASKS, seed=st.integers(0, 3))
def test_each_piece_becomes_one_polygon_that_holds_its_pixel_centres(mask, seed, winding, crossings) -> None:
    soft = np.random.default_rng(seed).uniform(0, 0.5, mask.shape) if seed else np.zeros(mask.shape)
    check(np.where(mask, 1 - soft, soft * 0.999), winding, crossings)


@pytest.mark.parametrize("seed", range(3))
def test_many_holes_in_a_noisy_piece(seed: int, winding, crossings) -> None:
    noise = np.random.default_rng(seed).random((30, 37)) < 0.7
    check(noise.astype(float), winding, crossings)


def test_a_ring_is_one_polygon_with_a_channel(winding, crossings) -> None:
    y, x = np.indices((21, 21)) - 10
    (polygon,) = check((abs(np.hypot(y, x) - 7) < 2).astype(float), winding, crossings)
    twice = [tuple(p) for p in polygon if (polygon == p).all(axis=1).sum() == 2]
    assert len(set(twice)) == 2  # the channel's two ends


def test_islands_in_holes_are_polygons_of_their_own_with_their_own_holes(winding, crossings) -> None:
    squares = np.zeros((15, 15))
    for inset in range(8):
        squares[inset : 15 - inset, inset : 15 - inset] = inset % 2
    assert len(check(squares, winding, crossings)) == 4


def test_holes_in_one_row_are_joined_one_to_the_next(winding, crossings) -> None:
    mask = np.ones((5, 13))
    mask[1:4, 2], mask[2, 5], mask[1:3, 8:10] = 0, 0, 0
    assert len(check(mask, winding, crossings)) == 1


def test_a_hole_in_the_bay_of_another(winding, crossings) -> None:
    mask = np.ones((11, 11))
    mask[2, 2:9] = mask[2:9, 2] = mask[8, 2:9] = 0
    mask[5, 5] = mask[5, 8] = 0
    assert len(check(mask, winding, crossings)) == 1


def test_polygons_without_holes_are_the_rings_themselves() -> None:
    rings = level_rings(np.eye(3))
    assert all(a is b for a, b in zip(keyholed(rings), rings, strict=True))


def test_thousands_of_holes_take_little_time() -> None:
    mask = np.ones((226, 226))
    mask[1::5, 1::5] = 0
    start = time.perf_counter()
    assert len(polygons_of(mask)) == 1
    assert time.perf_counter() - start < 10
