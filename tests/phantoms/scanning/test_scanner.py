import msgspec
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.scanning.scanner import Scanner, draw_scanner, scanned

SPACING = (2.0, 2.0, 2.0)
Lying = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
replace = msgspec.structs.replace


def plain(**changes: float) -> Scanner:
    drawn = draw_scanner(rng_for(0, "scanner", 0))
    none = {
        "blur_mm": 0.0, "sharpen": 0.0, "slice_mm": 2.0, "increment_mm": 2.0, "start": 0.0,
        "gain": 1.0, "offset_hu": 0.0, "highest_hu": 3071.0, "step_hu": 1.0,
    }  # fmt: skip
    return replace(
        drawn,
        noise=replace(drawn.noise, hu=0.0),
        streaks=replace(drawn.streaks, cupping_hu=0.0, banding_hu=0.0, starved_hu=0.0),
        motion=replace(drawn.motion, heart=0.0, breath_mm=0.0),
        couch=replace(drawn.couch, kind="none", cushion_mm=0.0, blankets=()),
        **{**none, **changes},
    )


def seen(lying: Lying, scanner: Scanner) -> torch.Tensor:
    return scanned(*lying, scanner, posture="supine", spacing_zyx_mm=SPACING)


@pytest.fixture
def lying() -> Lying:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    body = (((y - 28) ** 2 + (x - 32) ** 2) < 22**2).float().expand(24, 64, 64).contiguous()
    heart = (((y - 28) ** 2 + (x - 32) ** 2) < 10**2).float() * torch.ones(24, 1, 1)
    heart[:8], heart[18:] = 0, 0
    return body * 1040 - 1000, body, heart


def test_plain_scanner_changes_nothing(lying: Lying) -> None:
    torch.testing.assert_close(seen(lying, plain()), lying[0])


def test_same_seed_makes_the_same_picture_and_another_seed_another(lying: Lying) -> None:
    scanner = draw_scanner(rng_for(2, "scanner", 1))
    assert torch.equal(seen(lying, scanner), seen(lying, scanner))
    assert not torch.equal(seen(lying, scanner), seen(lying, replace(scanner, seed=scanner.seed + 9)))


@pytest.mark.parametrize("slice_mm", [2.0, 6.0])
def test_noise_of_thick_slices_is_what_was_asked_for(lying: Lying, slice_mm: float) -> None:
    scanner = plain(slice_mm=slice_mm, increment_mm=slice_mm)
    noise = replace(scanner.noise, hu=20.0, cutoff_per_mm=0.3, rise_per_m=1.0)
    made = seen(lying, replace(scanner, noise=noise)) - seen(lying, scanner)
    spread = made[:, 24:32, 28:36].std(dim=(1, 2))
    assert float(spread.max()) == pytest.approx(20, rel=0.4)
    assert abs(float(made[:, 24:32, 28:36].mean())) < 3


def test_overlapping_slices_share_noise(lying: Lying) -> None:
    def likeness(slice_mm: float) -> float:
        scanner = plain(slice_mm=slice_mm, increment_mm=2.0)
        made = seen(lying, replace(scanner, noise=replace(scanner.noise, hu=20.0)))[:, 20:36, 20:44] - 40
        return float((made[1:] * made[:-1]).mean() / made.square().mean())

    assert abs(likeness(2.0)) < 0.1
    assert likeness(4.0) > 0.3


def test_thick_slices_average_neighbours_and_keep_the_mean(lying: Lying) -> None:
    hu = torch.zeros_like(lying[0])
    hu[12] = 300
    thick = seen((hu, *lying[1:]), plain(slice_mm=6.0, increment_mm=6.0))
    assert thick.max() < 150
    assert float(thick.mean()) == pytest.approx(float(hu.mean()), rel=0.1)


def test_blur_softens_and_sharpening_overshoots(lying: Lying) -> None:
    hu = lying[0]
    assert seen(lying, plain(sharpen=1.0)).max() > 100
    soft = seen(lying, plain(blur_mm=3.0))
    assert soft.max() < 40.6
    assert ((soft > -900) & (soft < -100)).sum() > ((hu > -900) & (hu < -100)).sum()


def test_gain_leaves_air_and_moves_water(lying: Lying) -> None:
    drifted = seen(lying, plain(gain=1.01))
    assert float(drifted[0, 0, 0]) == -1000
    assert float(drifted[12, 28, 32]) == 50


def test_values_are_rounded_and_end_where_the_file_does(lying: Lying) -> None:
    hu = lying[0].clone()
    hu[12, 28, 32] = 5000
    rounded = seen((hu, *lying[1:]), plain(step_hu=8.0, offset_hu=3.0))
    assert set((rounded % 8).unique().tolist()) <= {0.0, float(rounded.max() % 8)}
    assert rounded.max() == 3071
    assert seen((hu, *lying[1:]), plain(highest_hu=30000.0)).max() > 3500


def test_drawn_slices_and_kernels_span_what_hospitals_use() -> None:
    drawn = [draw_scanner(rng_for(0, "scanner", n)) for n in range(400)]
    thick = {s.slice_mm for s in drawn}
    assert min(thick) == 0.6
    assert max(thick) == 8.0
    assert {s.couch.kind for s in drawn} == {"none", "curved", "flat", "cradle"}
    assert 0.15 < sum(s.sharpen > 0 for s in drawn) / 400 < 0.35
