from typing import Literal

import msgspec
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.posture import Posture
from thoar.phantoms.scanning.couch import Couch, downwards, draw_couch, with_couch

SPACING = (4.0, 3.0, 3.0)
POSTURES: tuple[Posture, ...] = ("supine", "prone", "left_side", "right_side")


def couch(kind: Literal["none", "curved", "flat", "cradle"] = "flat", **changes: object) -> Couch:
    plain = {
        "gap_mm": 6.0, "half_mm": 200.0, "depth_mm": 20.0, "shell_hu": 100.0, "shift_mm": 0.0,
        "cushion_mm": 0.0, "cushion_hu": -800.0, "blankets": (), "curve_per_mm": 0.001,
    }  # fmt: skip
    return msgspec.structs.replace(draw_couch(rng_for(0, "couch")), kind=kind, **{**plain, **changes})


@pytest.fixture
def lying() -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(100.0) - 50, torch.arange(110.0) - 55, indexing="ij")
    body = ((y / 25) ** 2 + (x / 32) ** 2 < 1).float().expand(12, -1, -1).contiguous()
    return body * 1040 - 1000, body


def changed(lying: tuple[torch.Tensor, torch.Tensor], couch: Couch, posture: Posture) -> torch.Tensor:
    hu, body = lying
    out = with_couch(hu, body, couch, posture=posture, spacing_zyx_mm=SPACING)
    assert torch.equal(out[body > 0.5], hu[body > 0.5])
    return (out - hu).abs() > 1


@pytest.mark.parametrize("posture", POSTURES)
@pytest.mark.parametrize("kind", ["curved", "flat", "cradle"])
def test_couch_lies_where_gravity_points_and_not_in_the_patient(
    lying: tuple[torch.Tensor, torch.Tensor],
    posture: Posture,
    kind: Literal["curved", "flat", "cradle"],
) -> None:
    where = changed(lying, couch(kind), posture).nonzero().float().mean(dim=0)
    expected = {"supine": (1, 1), "prone": (1, -1), "left_side": (2, 1), "right_side": (2, -1)}
    axis, side = expected[posture]
    middle = (50.0, 55.0)
    assert side * float(where[axis] - middle[axis - 1]) > 20
    other = 3 - axis
    assert abs(float(where[other] - middle[other - 1])) < 4


def test_no_couch_changes_nothing(lying: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert not changed(lying, couch("none"), "supine").any()


def test_flat_couch_leaves_its_gap(lying: tuple[torch.Tensor, torch.Tensor]) -> None:
    rows = changed(lying, couch("flat", gap_mm=12.0), "supine").any(dim=2).any(dim=0).nonzero()[:, 0]
    lowest = int((lying[1] > 0.5).any(dim=2).any(dim=0).nonzero()[-1, 0])
    assert float(rows.min() - lowest) * 3 == pytest.approx(12, abs=3.1)


def test_cushion_fills_what_is_beside_the_back(lying: tuple[torch.Tensor, torch.Tensor]) -> None:
    soft = changed(lying, couch("flat", cushion_mm=80.0), "supine") & ~changed(lying, couch(), "supine")
    assert soft.sum() > 500
    assert float(soft.nonzero()[:, 1].float().min()) > 40


def test_blankets_lie_on_the_patient(lying: tuple[torch.Tensor, torch.Tensor]) -> None:
    cloth = changed(lying, couch("none", blankets=(6.0, 6.0)), "supine")
    above = cloth[:, :, 50:60].nonzero()[:, 1]
    assert 5 < int(above.min()) < int(above.max()) < 26
    over = changed(lying, couch("none", blankets=(6.0,)), "prone")[:, :, 50:60].nonzero()[:, 1]
    assert int(over.min()) > 70


@pytest.mark.parametrize("posture", POSTURES)
def test_turning_downwards_twice_is_nothing(posture: Posture) -> None:
    voxels = torch.arange(60.0).reshape(3, 4, 5)
    assert torch.equal(downwards(downwards(voxels, posture), posture), voxels)


def test_air_alone_stays_air() -> None:
    hu = torch.full((4, 10, 10), -1000.0)
    assert with_couch(hu, hu * 0, couch(), posture="supine", spacing_zyx_mm=SPACING) is hu
