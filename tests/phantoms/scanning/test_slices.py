import pytest
import torch

from thoar.phantoms.scanning.slices import along_z, averaging, interpolating, slice_places

CPU = torch.device("cpu")


def places(step: float, start: float = 0.3, levels: int = 30) -> torch.Tensor:
    return slice_places(levels, step=step, start=start, device=CPU)


def test_fine_slices_are_the_levels_themselves() -> None:
    assert torch.equal(places(0.5), torch.arange(30.0))
    assert torch.equal(averaging(places(0.5), 30, thickness=0.4), torch.eye(30))
    assert torch.equal(interpolating(places(1.0), 30), torch.eye(30))


@pytest.mark.parametrize("step", [1.3, 2.0, 3.7])
def test_thick_slices_keep_a_slope_away_from_the_ends(step: float) -> None:
    ramp = torch.arange(30.0)[:, None, None].expand(30, 2, 2)
    at = places(step)
    again = along_z(interpolating(at, 30), along_z(averaging(at, 30, thickness=step), ramp))
    torch.testing.assert_close(again[6:-6], ramp[6:-6], atol=0.26, rtol=0)


def test_every_level_lies_between_two_slices() -> None:
    for step in (1.4, 2.5, 6.0):
        for start in (0.0, 0.5, 0.99):
            at = places(step, start)
            assert at[0] <= 0
            assert at[-1] >= 29 - step
            torch.testing.assert_close(interpolating(at, 30).sum(dim=1), torch.ones(30))


def test_thickness_spreads_a_bright_level() -> None:
    spike = torch.zeros(30, 1, 1)
    spike[15] = 300
    thick = along_z(averaging(places(1.0), 30, thickness=3.0), spike)
    torch.testing.assert_close(thick[14:17, 0, 0], torch.full((3,), 100.0))
    assert float(thick.sum()) == pytest.approx(300)
