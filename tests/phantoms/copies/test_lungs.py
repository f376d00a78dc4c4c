import pytest
import torch

from thoar.phantoms.copies.lungs import Lungs, Tumour, breathe

SPACING = (2.0, 2.0, 2.0)


def lungs(**changes: object) -> Lungs:
    values: dict[str, object] = {
        "shift_hu": 0.0,
        "back_hu": 0.0,
        "fluid_share": 0.0,
        "fluid_left": True,
        "fluid_hu": 10.0,
    }
    return Lungs(**{"tumours": (), **values, **changes})


@pytest.fixture
def chest() -> tuple[torch.Tensor, torch.Tensor]:
    lung = torch.zeros(10, 40, 60)
    lung[:, 5:35, 5:25] = 1
    lung[:, 5:35, 35:55] = 1
    return 40 - lung * 900, lung


def test_shift_changes_lung_only(chest: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, lung = chest
    out = breathe(hu, lung, lungs(shift_hu=60.0), spacing_zyx_mm=SPACING)
    torch.testing.assert_close(out - hu, lung * 60)


def test_lowest_part_is_densest(chest: tuple[torch.Tensor, torch.Tensor]) -> None:
    out = breathe(*chest, lungs(back_hu=200.0), spacing_zyx_mm=SPACING)
    assert out[5, 34, 10] > out[5, 20, 10] + 100 > out[5, 6, 10] + 100


def test_fluid_gathers_at_the_back_of_one_side(chest: tuple[torch.Tensor, torch.Tensor]) -> None:
    out = breathe(*chest, lungs(fluid_share=0.3), spacing_zyx_mm=SPACING)
    assert float(out[5, 32, 45]) == pytest.approx(10, abs=5)
    assert float(out[5, 10, 45]) == float(out[5, 32, 15]) == pytest.approx(-860)


def test_tumour_stays_within_the_lung(chest: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, lung = chest
    lump = Tumour(place=0.5, radius_xyz_mm=(12.0, 12.0, 12.0), hu=45.0)
    out = breathe(hu, lung, lungs(tumours=(lump,)), spacing_zyx_mm=SPACING)
    assert 30 < int((out - hu > 800).sum()) < 1200
    torch.testing.assert_close(out[lung == 0], hu[lung == 0])


def test_body_without_lung_is_left_alone() -> None:
    hu = torch.full((4, 8, 8), 40.0)
    torch.testing.assert_close(breathe(hu, torch.zeros_like(hu), lungs(), spacing_zyx_mm=SPACING), hu)
