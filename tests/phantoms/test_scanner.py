import msgspec
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.scanner import Scanner, draw_scanner, scanned

SPACING = (2.0, 2.0, 2.0)


def plain(**changes: float | bool) -> Scanner:
    none = {
        "blur_mm": 0.0, "sharpen": 0.0, "slice_mm": 2.0, "noise_hu": 0.0, "streak_hu": 0.0,
        "gain": 1.0, "offset_hu": 0.0, "table": False,
    }  # fmt: skip
    return msgspec.structs.replace(draw_scanner(rng_for(0, "scanner", 0)), **{**none, **changes})


@pytest.fixture
def patient() -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    body = (((y - 28) ** 2 + (x - 32) ** 2) < 22**2).float().expand(24, 64, 64).contiguous()
    return body * 1040 - 1000, body


def test_plain_scanner_changes_nothing(patient: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, body = patient
    torch.testing.assert_close(scanned(hu, body, plain(), spacing_zyx_mm=SPACING), hu)


def test_noise_has_the_strength_asked_for_in_the_middle_and_less_outside(
    patient: tuple[torch.Tensor, torch.Tensor],
) -> None:
    hu, body = patient
    noise = scanned(hu, body, plain(noise_hu=20.0, slice_mm=6.0), spacing_zyx_mm=(6.0, 6.0, 6.0)) - hu
    middle, corner = noise[:, 24:32, 28:36], noise[:, 56:, 56:][noise[:, 56:, 56:] > -24]
    assert middle.std() == pytest.approx(20, rel=0.25)
    assert corner.std() < 0.7 * middle.std()
    assert abs(float(middle.mean())) < 3


def test_thick_slices_average_neighbours_and_keep_the_mean(
    patient: tuple[torch.Tensor, torch.Tensor],
) -> None:
    _, body = patient
    hu = torch.zeros_like(body)
    hu[12] = 300
    thick = scanned(hu, body, plain(slice_mm=6.0), spacing_zyx_mm=SPACING)
    assert thick.max() < 150
    assert float(thick.mean()) == pytest.approx(float(hu.mean()), rel=0.05)


def test_blur_softens_and_sharpening_overshoots(patient: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, body = patient
    assert scanned(hu, body, plain(sharpen=1.0), spacing_zyx_mm=SPACING).max() > 100
    soft = scanned(hu, body, plain(blur_mm=3.0), spacing_zyx_mm=SPACING)
    assert soft.max() < 40.01
    assert ((soft > -900) & (soft < -100)).sum() > ((hu > -900) & (hu < -100)).sum()


def test_table_lies_under_the_patient_and_not_in_him(patient: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, body = patient
    scanner = plain(table=True, table_gap_mm=4.0, table_curve_per_mm=0.0, table_hu=100.0)
    changed = (scanned(hu, body, scanner, spacing_zyx_mm=SPACING) - hu).abs() > 1
    rows = changed.any(dim=2).any(dim=0).nonzero()[:, 0]
    assert rows.min() > 48
    assert not changed[body > 0.5].any()


def test_gain_leaves_air_and_offset_moves_water(patient: tuple[torch.Tensor, torch.Tensor]) -> None:
    hu, body = patient
    drifted = scanned(hu, body, plain(gain=1.01), spacing_zyx_mm=SPACING)
    assert float(drifted[0, 0, 0]) == pytest.approx(-1000)
    assert float(drifted[12, 28, 32]) == pytest.approx(40 + 10.4, abs=0.01)
