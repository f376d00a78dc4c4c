import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from thoar.imaging.hull import filled_hull

SEEDS = range(60)


def blobs(seed: int) -> np.ndarray:
    """Return a few pixels, a cloud of them, or smooth blobs."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 70, size=2))
    kind = seed % 3
    if kind == 0:
        mask = np.zeros(shape, dtype=bool)
        mask[rng.integers(0, shape[0], 4), rng.integers(0, shape[1], 4)] = True
        return mask
    if kind == 1:
        return rng.random(shape) < 0.05
    return ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0.02


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # scikit-image: of an empty mask
@pytest.mark.parametrize("seed", SEEDS)
def test_the_hull_is_that_of_scikit_image(seed: int) -> None:
    mask = blobs(seed)
    np.testing.assert_array_equal(filled_hull(mask), convex_hull_image(mask))


def test_an_empty_mask_has_an_empty_hull() -> None:
    assert not filled_hull(np.zeros((4, 5), dtype=bool)).any()


def test_a_ring_is_filled_and_nothing_is_added_outside() -> None:
    y, x = np.indices((41, 41)) - 20
    ring = (x**2 + y**2 <= 18**2) & (x**2 + y**2 > 15**2)
    hull = filled_hull(ring)
    assert hull[x**2 + y**2 <= 18**2].all()
    assert not hull[x**2 + y**2 > 18.6**2].any()  # half a pixel is the diamonds' part
