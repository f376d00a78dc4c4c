import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.scanning.noise import Noise, draw_noise, grain, noise_in, relative_strength


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power_at(noise: torch.Tensor, spacing_mm: float, low: float, high: float) -> float:
    """Mean power of the slices between two frequencies per millimetre."""
    power = torch.fft.fft2(noise).abs().square().mean(dim=0)
    fy, fx = (torch.fft.fftfreq(n, spacing_mm) for n in noise.shape[1:])
    away = (fy[:, None].square() + fx[None, :].square()).sqrt()
    return float(power[(away > low) & (away < high)].mean())


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5])
def test_grain_has_unit_strength_on_any_grid(spacing_mm: float) -> None:
    noise = grain((8, 90, 101), 0.3, spacing_yx_mm=(spacing_mm, spacing_mm), chance=chance())
    assert float(noise.std()) == pytest.approx(1, rel=0.03)
    assert abs(float(noise.mean())) < 0.01


def test_grain_has_little_power_at_low_and_at_high_frequencies() -> None:
    noise = grain((16, 128, 128), 0.3, spacing_yx_mm=(1.0, 1.0), chance=chance())
    low, middle, high = (power_at(noise, 1.0, *band) for band in ((0.0, 0.02), (0.1, 0.2), (0.4, 0.5)))
    assert middle > 5 * low
    assert middle > 5 * high


def test_slices_do_not_share_their_noise() -> None:
    noise = grain((6, 80, 80), 0.4, spacing_yx_mm=(2.0, 2.0), chance=chance())
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 0.05


def test_noise_is_stronger_where_rays_pass_more() -> None:
    hu = torch.full((2, 100, 160), -1000.0)
    hu[0, 30:70, 20:140], hu[1, 40:60, 60:100] = 0.0, 0.0
    strength = relative_strength(hu, rise_per_m=5.0, spacing_yx_mm=(3.0, 3.0))
    assert float(strength[0, 50, 80]) > 1.3 * float(strength[1, 50, 80])
    assert float(strength[0, 50, 80]) > 1.3 * float(strength[0, 5, 5])


def test_noise_has_the_strength_asked_for_in_the_patient() -> None:
    hu = torch.full((4, 100, 100), -1000.0)
    hu[:, 20:80, 20:80] = 40.0
    noise = Noise(hu=20.0, cutoff_per_mm=0.4, rise_per_m=3.0)
    made = noise_in(hu, noise, spacing_yx_mm=(3.0, 3.0), chance=chance())
    assert float(made[:, 20:80, 20:80].std()) == pytest.approx(20, rel=0.15)


def test_sharp_kernels_are_noisier_and_finer_grained() -> None:
    rng = rng_for(0, "noise")
    sharp, smooth = ([draw_noise(rng, sharp=s) for _ in range(200)] for s in (True, False))
    for name in ("hu", "cutoff_per_mm"):
        means = [sum(getattr(n, name) for n in kind) / 200 for kind in (sharp, smooth)]
        assert means[0] > 1.3 * means[1]
