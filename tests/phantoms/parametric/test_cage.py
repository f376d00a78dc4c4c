"""The rib cage's surface, and smooth fields worked out coarsely."""

import numpy as np
import pytest
import torch

from thoar.phantoms.parametric.build import APEX_MM, draw_build
from thoar.phantoms.parametric.cage import (
    around_deg,
    cage_distance,
    cage_window,
    coarsened,
    refined,
    smoothly,
    thinned,
)
from thoar.phantoms.parametric.shapes import Grid

BUILD = draw_build(np.random.default_rng(0))


@pytest.fixture(scope="module")
def grid() -> Grid:
    """Return a grid whose size is no multiple of the coarse step."""
    return Grid.over((-170, -130, -30), (168, 131, 301), spacing_mm=5.0, device=torch.device("cpu"))


def test_a_straight_slope_survives_coarsening(grid: Grid) -> None:
    slope = smoothly(grid, lambda g: 0.3 * g.x + 0.5 * g.y - g.z)
    true = 0.3 * grid.x + 0.5 * grid.y - grid.z
    assert slope.shape == grid.shape_zyx
    inner = (slice(2, -3),) * 3
    torch.testing.assert_close(slope[inner], true[inner], atol=1e-2, rtol=0)


def test_thinning_undoes_refining(grid: Grid) -> None:
    coarse = coarsened(grid)
    field = coarse.x + coarse.y + coarse.z
    again = thinned(refined(field, grid))
    torch.testing.assert_close(again[:-1, :-1, :-1], field[:-1, :-1, :-1], atol=1e-3, rtol=0)


def test_the_distance_to_the_cage_grows_by_a_millimetre_per_millimetre(grid: Grid) -> None:
    away = cage_distance(grid, BUILD)
    near = (away.abs() < 15) & (grid.z > 0) & (grid.z < 240)
    slopes = torch.stack(torch.gradient(away, spacing=5.0)).norm(dim=0)
    assert 0.8 < float(slopes[near].median()) < 1.2


def test_all_of_the_cage_lies_in_its_window_below_the_apex(grid: Grid) -> None:
    inside = cage_distance(grid, BUILD) < 0
    window = cage_window(grid, BUILD, low_mm=-1e3, high_mm=APEX_MM)
    assert inside.any()
    assert int(inside[window].sum()) == int(inside.sum())


def test_angles_run_from_the_breast_bone_to_the_back() -> None:
    x, y = torch.tensor([0.0, 100.0, -100.0, 0.0]), torch.tensor([-90.0, 0.0, 0.0, 90.0])
    found = around_deg(BUILD, x, y, z=torch.tensor(60.0))
    torch.testing.assert_close(found, torch.tensor([0.0, 90.0, 90.0, 180.0]), atol=6.0, rtol=0)
