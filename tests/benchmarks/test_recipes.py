import msgspec
import pytest
import recipes
from budget import Trained
from costs import Cost
from recipes import CONFIGS, RECIPES, Run, lengths, page, resolved

from thoar.core.configuration import configuration_from, load_toml

COST = Cost(wall_s=590.0, cpu_s=500.0, peak_mib=900.0)
DATA = {"commit": "abc", "changed": "no", "phantoms_sha256": "1234", "torch": "2", "date": "2026-01-02"}


def run_of(recipe, seed, value):
    return Run(
        recipe=recipe, seed=seed, minutes=10.0, epochs={"coarse": 4, "joint": 5},
        length=Trained(steps=100 + seed, outcome="stopped" if seed else "finished"), train=COST,
        dice={"heart": value, "aorta": value - 0.2}, hausdorff95_mm={"heart": None, "aorta": 4.0},
        missed={"heart": 1, "aorta": 0}, code=DATA,
    )  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_run_with_a_quarter_of_its_channels_and_else_as_it_is(recipe):
    shipped, run = configuration_from(load_toml(CONFIGS / f"{recipe}.toml")), resolved(recipe)
    assert [4 * width for width in run.network.channels_of_levels] == list(shipped.network.channels_of_levels)
    assert (run.loss, run.localisation, run.augmentation) == (
        shipped.loss,
        shipped.localisation,
        shipped.augmentation,
    )
    assert run.train.learning_rate == shipped.train.learning_rate


def test_both_recipes_see_the_same_grid_and_blocks():
    paper, best = (resolved(recipe) for recipe in RECIPES)
    assert paper.preparation == best.preparation
    assert paper.network.blocks == best.network.blocks


def test_the_page_gives_mean_and_spread_and_the_difference_of_every_seed():
    runs = [run_of("best", 0, 0.9), run_of("paper", 0, 0.5), run_of("paper", 1, 0.7)]
    text = "\n".join(page(runs, DATA, minutes=10))
    assert "| `paper` | 2 | 0.600 ± 0.141 | 0.400 ± 0.141 | 0.500 ± 0.141 | 2 |" in text
    assert "| 0 | 0.400 | 0.800 | +0.400 |" in text
    assert "| 1 | 0.600 | – | – |" in text
    assert "| `best` | 4 + 5 | 100 | 0 |" in text
    assert "| `paper` | 4 + 5 | 100 ± 1 | 1 |" in text


def test_infinite_distances_are_counted_and_not_averaged():
    assert lengths([4.0, None]) == "∞ in 1 of 2"
    assert lengths([4.0, 6.0]) == "5.0 ± 1.4"


def test_a_run_of_another_budget_is_done_again(tmp_path):
    place = recipes.place_of(tmp_path, "best-2", minutes=10.0)
    place.mkdir(parents=True)
    (place / "result.json").write_bytes(msgspec.json.encode(run_of("best", 2, 0.5)))
    assert recipes.finished(tmp_path, "best", 2, minutes=10.0) == run_of("best", 2, 0.5)
    assert recipes.finished(tmp_path, "best", 2, minutes=2.0) is None
    assert recipes.finished(tmp_path, "best", 1, minutes=10.0) is None
