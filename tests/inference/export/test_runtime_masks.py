"""What ``runtime.py`` does with masks in numpy alone is what scipy and scikit-image do."""

import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from thoar.imaging.components import largest_component
from thoar.inference.export import runtime
from thoar.inference.localisation import connected_to

SHAPES = ((1, 1, 1), (3, 4, 5), (6, 1, 9), (9, 17, 23), (1, 30, 31))
CORNERS = np.ones((3, 3, 3), dtype=bool)


@pytest.fixture(
    params=[(shape, share) for shape in SHAPES for share in (0.0, 0.05, 0.2, 0.5, 0.9, 1.0)], ids=str
)
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    shape, share = request.param
    return np.random.default_rng(7).random(shape) < share


def test_pieces_are_those_of_scipy_in_the_same_order(mask: np.ndarray) -> None:
    labels, count = ndimage.label(mask, CORNERS)
    pieces = runtime._pieces(mask)
    assert np.array_equal(pieces.sizes, np.bincount(labels.ravel(), minlength=1 + count)[1:])
    for number in range(min(count, 5)):
        assert np.array_equal(pieces.mask(np.arange(count) == number), labels == number + 1)
    assert np.array_equal(pieces.mask(np.ones(count, dtype=bool)), mask)


def test_the_largest_and_the_touched_pieces_are_thoars(mask: np.ndarray) -> None:
    assert np.array_equal(runtime._largest(mask), largest_component(mask))
    seed = np.random.default_rng(1).random(mask.shape) < 0.02
    assert np.array_equal(runtime._connected_to(mask, seed & mask), connected_to(mask, seed))


def test_holes_are_filled_slice_by_slice(mask: np.ndarray) -> None:
    in_slice = ndimage.generate_binary_structure(2, 1)[None]
    assert np.array_equal(runtime._filled(mask), ndimage.binary_fill_holes(mask, in_slice))


@pytest.mark.parametrize("radii", [(1, 1), (2, 1), (2, 3)])
def test_masks_are_widened_as_by_scipy(mask: np.ndarray, radii: tuple[int, int]) -> None:
    plate = np.ones((1, 2 * radii[0] + 1, 2 * radii[1] + 1), dtype=bool)
    assert np.array_equal(runtime._widened(mask, *radii), ndimage.binary_dilation(mask, plate))
    eroded = ~runtime._widened(~mask, *radii)
    assert np.array_equal(eroded, ndimage.binary_erosion(mask, plate, border_value=1))


def test_long_snakes_are_one_piece() -> None:
    snake = np.zeros((3, 201, 50), dtype=bool)
    snake[1, ::2] = True
    snake[1, 1::4, -1] = snake[1, 3::4, 0] = True
    spiral = snake.transpose(1, 0, 2)
    for mask in (snake, spiral, snake[:, ::-1]):
        assert runtime._pieces(mask).sizes.tolist() == [np.count_nonzero(mask)]


@pytest.mark.parametrize("seed", range(40))
def test_hulls_are_those_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 40), rng.integers(1, 40))) < rng.choice([0.01, 0.1, 0.6])
    mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
    assert np.array_equal(runtime._hull(mask), convex_hull_image(mask))


def test_ten_million_noisy_voxels_are_parted_in_seconds() -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((100, 320, 320)), 1) > 0.1
    began = time.process_time()
    pieces = runtime._pieces(mask)
    took_s = time.process_time() - began
    assert len(pieces.sizes) > 1000
    assert took_s < 10
