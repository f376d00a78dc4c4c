import pytest
import torch

from thoar.phantoms.scanning.streaks import Streaks, hardening, with_metal, with_starvation

SPACING = (2.0, 2.0)


def streaks(**changes: float) -> Streaks:
    values = {"cupping_hu": 0.0, "banding_hu": 0.0, "starved_hu": 0.0, "metal": 0.3, "metal_noise": 0.3}
    return Streaks(**{**values, **changes})


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def slices(half_y_mm: float, half_x_mm: float) -> torch.Tensor:
    """Three slices of an elliptic body of water."""
    y, x = _places()
    body = ((y / half_y_mm) ** 2 + (x / half_x_mm) ** 2 < 1).float()
    return (body * 1000 - 1000).expand(3, -1, -1).clone()


def _places() -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(180.0) - 89.5, torch.arange(220.0) - 109.5, indexing="ij")
    return y * 2, x * 2


def test_scanner_that_corrects_everything_adds_nothing() -> None:
    hu = slices(100, 180)
    assert float(hardening(hu, streaks(), spacing_yx_mm=SPACING).abs().max()) == 0
    assert torch.equal(with_starvation(hu, streaks(), spacing_yx_mm=SPACING, chance=chance()), hu)
    assert torch.equal(with_metal(hu, streaks(), spacing_yx_mm=SPACING, chance=chance()), hu)


def test_cupping_darkens_the_middle_of_thirty_centimetres_of_water_as_asked() -> None:
    error = hardening(slices(150, 150), streaks(cupping_hu=20.0), spacing_yx_mm=SPACING)
    assert float(error[1, 85:95, 105:115].mean()) == pytest.approx(-20, abs=3)
    assert float(error[1, 85:95, 38:40].mean()) > -10


def test_dark_band_joins_two_bones_and_lies_nowhere_else() -> None:
    hu, (y, x) = slices(110, 180), _places()
    hu[:, (x.abs() - 130) ** 2 + y**2 < 15**2] = 1000.0
    error = hardening(hu, streaks(banding_hu=30.0), spacing_yx_mm=SPACING)[1]
    assert float(error[88:92, 100:120].mean()) == pytest.approx(-30, rel=0.4)
    assert abs(float(error[50:60, 100:120].mean())) < 3


def test_streaks_appear_where_rays_pass_much_and_run_along_them() -> None:
    thick, thin = slices(90, 215), slices(60, 90)
    asked = streaks(starved_hu=30.0)
    lines = with_starvation(thick, asked, spacing_yx_mm=SPACING, chance=chance()) - thick
    assert torch.equal(with_starvation(thin, asked, spacing_yx_mm=SPACING, chance=chance()), thin)
    middle = lines[:, 80:100, 90:130]
    assert 10 < float(middle.std()) < 60
    along, across = (middle.diff(dim=axis).square().mean() for axis in (2, 1))
    assert float(across) > 2 * float(along)


def test_metal_throws_a_star_in_its_own_slice_alone() -> None:
    hu, (y, x) = slices(110, 170), _places()
    hu[1, (x - 40) ** 2 + y**2 < 5**2] = 6000.0
    starred = with_metal(hu, streaks(metal=0.5, metal_noise=0.5), spacing_yx_mm=SPACING, chance=chance())
    assert torch.equal(starred[[0, 2]], hu[[0, 2]])
    soft = hu[1] == 0
    near, far = ((x - 40) ** 2 + y**2 < 30**2), ((x + 100) ** 2 + y**2 < 30**2)
    spread = [float((starred - hu)[1, soft & part].std()) for part in (near, far)]
    assert spread[0] > 40
    assert spread[0] > 3 * spread[1] > 3
    assert float(starred[1].max()) >= 0.7 * 6000


def test_bone_throws_no_star() -> None:
    hu, (y, x) = slices(110, 170), _places()
    hu[:, (x - 40) ** 2 + y**2 < 10**2] = 1100.0
    assert torch.equal(with_metal(hu, streaks(), spacing_yx_mm=SPACING, chance=chance()), hu)
