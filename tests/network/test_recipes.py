from importlib.resources import files
from pathlib import Path

import pytest

from thoar.core.configuration import configuration_from, load_toml
from thoar.network.network import build_network

RECIPES = sorted(Path(str(files("thoar"))).glob("configs/*.toml"))


@pytest.mark.parametrize(
    ("name", "cell_zyx_mm"),
    [("paper", [6.0, 8.0, 8.0]), ("fast", [6.0, 8.0, 8.0]), ("tiny", [6.0, 6.0, 6.0])],
)
def test_coarse_cells_are_as_large_as_the_recipe_says(name, cell_zyx_mm):
    (recipe,) = (path for path in RECIPES if path.stem == name)
    configuration = configuration_from(load_toml(recipe))
    stride_zyx = configuration.network.total_stride_zyx
    spacing_zyx_mm = configuration.preparation.spacing_zyx_mm
    assert [n * mm for n, mm in zip(stride_zyx, spacing_zyx_mm, strict=True)] == cell_zyx_mm


def fast():
    (recipe,) = (path for path in RECIPES if path.stem == "fast")
    return configuration_from(load_toml(recipe))


def test_fast_takes_less_than_6_megabytes_in_float16():
    network = build_network(fast().network, ("esophagus", "heart", "trachea", "aorta"))
    assert 2 * sum(parameter.numel() for parameter in network.parameters()) < 6e6


def test_the_dilated_blocks_of_fast_reach_at_least_90_mm_in_plane_and_in_z():
    configuration = fast()
    stride_zyx, spacing_zyx_mm = (
        configuration.network.total_stride_zyx,
        configuration.preparation.spacing_zyx_mm,
    )
    cells = sum(b.convolutions * b.dilation for b in configuration.network.blocks if b.dilation > 1)
    assert min(cells * n * mm for n, mm in zip(stride_zyx, spacing_zyx_mm, strict=True)) >= 90


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if "network" in load_toml(path)], ids=lambda path: path.stem
)
def test_only_the_paper_averages_sigmoids_and_others_threshold_at_a_half(recipe):
    configuration = configuration_from(load_toml(recipe))
    if recipe.stem == "paper":
        assert configuration.network.average == "sigmoids"
        return
    assert configuration.network.average == "logits"
    assert configuration.localisation.threshold == 0.5
    assert not configuration.localisation.organ_threshold
