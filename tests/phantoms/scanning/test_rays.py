import numpy as np
import pytest
import torch

from thoar.phantoms.scanning.rays import mean_along, projected, rays_over, reconstructed

CPU = torch.device("cpu")


@pytest.fixture
def discs() -> torch.Tensor:
    """Two slices: a disc of 1000 in one, and off its middle with 500 in the other."""
    y, x = torch.meshgrid((torch.arange(60.0) - 29.5) * 4, (torch.arange(80.0) - 39.5) * 4, indexing="ij")
    first = 1000.0 * (x**2 + y**2 < 80**2)
    second = 500.0 * ((x - 60) ** 2 + y**2 < 50**2)
    return torch.stack([first, second], dim=-1).flatten(0, 1)


def test_longest_way_through_a_disc_is_its_diameter(discs: torch.Tensor) -> None:
    rays = rays_over((60, 80), (4.0, 4.0), angles_deg=[0.0, 30.0, 90.0], device=CPU)
    lines = projected(discs, rays)
    np.testing.assert_allclose(lines[:, :, 0].amax(dim=1), 160 * 1000, rtol=0.05)
    total = discs.sum(dim=0) * 4.0**2
    torch.testing.assert_close(lines.sum(dim=1) * rays.step_mm, total.expand(3, -1), rtol=1e-4, atol=1.0)


def test_ray_of_ninety_degrees_runs_along_x() -> None:
    row = torch.zeros(60, 80)
    row[20] = 1.0
    rays = rays_over((60, 80), (4.0, 4.0), angles_deg=[90.0], device=CPU)
    lines = projected(row.flatten()[:, None], rays)[0, :, 0]
    assert float(lines.max()) == pytest.approx(80 * 4, rel=0.6)
    assert int((lines > 1).sum()) <= 2


def test_reconstruction_undoes_projection(discs: torch.Tensor) -> None:
    rays = rays_over((60, 80), (4.0, 4.0), angles_deg=list(np.arange(90) * 2.0), device=CPU)
    again = reconstructed(projected(discs, rays), rays).unflatten(0, (60, 80))
    assert float(again[25:35, 35:45, 0].mean()) == pytest.approx(1000, rel=0.02)
    assert float(again[25:35, 50:58, 1].mean()) == pytest.approx(500, rel=0.03)
    assert float(again[:5, :5, 0].abs().mean()) < 25


def test_mean_of_equal_rays_is_their_value(discs: torch.Tensor) -> None:
    rays = rays_over((60, 80), (4.0, 4.0), angles_deg=[0.0, 45.0], device=CPU)
    lines = torch.full((2, rays.count, 2), 3.0)
    torch.testing.assert_close(mean_along(lines, rays), torch.full_like(discs, 3.0))
