import numpy as np
import pytest
import torch
from scipy import ndimage

from thoar.phantoms.smooth import blurred, soft_noise, unit_noise, widely_blurred


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


def test_wide_blur_spreads_and_keeps_a_constant() -> None:
    torch.testing.assert_close(
        widely_blurred(torch.full((5, 6, 7), 2.0), (9.0, 3.0, 1.0)), torch.full((5, 6, 7), 2.0)
    )
    spike = torch.zeros(2, 21, 5, 5)
    spike[1, 10, 2, 2] = 1
    wide = widely_blurred(spike, (2.0, 0.0, 0.0))
    assert wide[0].sum() == 0
    assert float(wide[1, 12, 2, 2] / wide[1, 10, 2, 2]) == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_soft_noise_is_smooth_and_of_unit_mean_square() -> None:
    noise = soft_noise(np.random.default_rng(0), (2, 20, 20, 20), sigma_zyx=(3.0, 3.0, 3.0))
    torch.testing.assert_close(noise.square().mean(dim=(1, 2, 3)), torch.ones(2))
    assert float((noise[:, 1:] * noise[:, :-1]).mean()) > 0.9
