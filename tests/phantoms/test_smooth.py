import numpy as np
import pytest
import torch
from scipy import ndimage

from thoar.phantoms.smooth import blurred, unit_noise


def test_blur_is_scipys_gaussian() -> None:
    voxels = torch.from_numpy(np.random.default_rng(0).standard_normal((12, 14, 16), dtype=np.float32))
    ours = blurred(voxels, (0.0, 1.3, 2.0)).numpy()
    theirs = ndimage.gaussian_filter(voxels.numpy(), (0.0, 1.3, 2.0), mode="nearest", truncate=2.5)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_blur_keeps_a_constant() -> None:
    voxels = torch.full((4, 5, 6), 7.0)
    torch.testing.assert_close(blurred(voxels, (1.0, 2.0, 3.0)), voxels)


@pytest.mark.parametrize("sigma", [1.0, 6.0, 30.0])
def test_smooth_noise_has_unit_mean_square_however_wide(sigma: float) -> None:
    noise = unit_noise(np.random.default_rng(1), (20, 20), sigma=sigma)
    assert float(np.mean(noise**2)) == pytest.approx(1, rel=1e-3)
