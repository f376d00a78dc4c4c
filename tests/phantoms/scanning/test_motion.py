import msgspec
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.scanning.motion import Motion, breathing, draw_motion, with_heartbeat

SPACING = (3.0, 2.0, 2.0)


def motion(**changes: float) -> Motion:
    still = {"heart": 0.0, "beat_mm": 20.0, "phase": 0.1, "breath_mm": 0.0}
    return msgspec.structs.replace(draw_motion(rng_for(0, "motion")), **{**still, **changes})


@pytest.fixture
def heart() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(80.0) - 40, torch.arange(90.0) - 50, indexing="ij")
    share = torch.zeros(30, 80, 90)
    share[8:20] = ((y / 18) ** 2 + (x / 22) ** 2 < 1).float()
    return share


def test_still_patient_is_left_alone(heart: torch.Tensor) -> None:
    hu = heart * 900 - 850
    assert with_heartbeat(hu, heart, motion(), spacing_zyx_mm=SPACING) is hu
    assert breathing(heart, motion(), step_mm=3.0) is None


def test_no_heart_no_motion(heart: torch.Tensor) -> None:
    none = torch.zeros_like(heart)
    assert breathing(none, motion(breath_mm=5.0), step_mm=3.0) is None
    assert with_heartbeat(none, none, motion(heart=0.05), spacing_zyx_mm=SPACING) is none


def test_beating_heart_has_a_blurred_edge_and_nothing_else_changes(heart: torch.Tensor) -> None:
    hu = heart * 900 - 850
    moved = with_heartbeat(hu, heart, motion(heart=0.06), spacing_zyx_mm=SPACING)
    changed = (moved - hu).abs() > 1
    assert changed[8:20].any()
    assert not changed[:8].any()
    assert not changed[20:].any()
    edges = (moved > -750) & (moved < -50)
    assert int(edges[8:20].sum()) > 500
    torch.testing.assert_close(moved[14, 40, 50], hu[14, 40, 50])


def test_beat_changes_from_slice_to_slice(heart: torch.Tensor) -> None:
    moved = with_heartbeat(heart * 900 - 850, heart, motion(heart=0.06), spacing_zyx_mm=SPACING)
    sizes = (moved[8:20] > -400).sum(dim=(1, 2)).float()
    assert float(sizes.max() - sizes.min()) > 60


def test_breath_shows_the_diaphragm_twice_and_leaves_the_neck(heart: torch.Tensor) -> None:
    matrix = breathing(heart, motion(breath_mm=6.0), step_mm=3.0)
    assert matrix is not None
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(30))
    assert matrix[8, 8] == pytest.approx(0)
    assert matrix[8, 6] == pytest.approx(0.5, abs=0.01)
    assert matrix[29, 29] > 0.9
