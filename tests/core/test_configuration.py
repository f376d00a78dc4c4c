import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import tomli_w

from thoar.core.configuration import Configuration, configuration_from, load_toml, plain
from thoar.core.errors import ConfigError

RECIPES = sorted(Path(str(files("thoar"))).glob("configs/*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_under_its_own_name(recipe: Path) -> None:
    assert configuration_from(load_toml(recipe), source=str(recipe)).name == recipe.stem


def test_recipes_are_shipped() -> None:
    assert {"paper", "fast", "tiny"} <= {recipe.stem for recipe in RECIPES}


def test_the_recipe_paper_is_what_the_defaults_are() -> None:
    (paper,) = [recipe for recipe in RECIPES if recipe.stem == "paper"]
    assert configuration_from(load_toml(paper)) == Configuration()


def test_the_defaults_are_the_papers() -> None:
    c = Configuration()
    assert c.preparation.spacing_zyx_mm == (3.0, 1.0, 1.0)
    assert c.network.channels_of_levels == (16, 32, 64, 128, 256)
    assert [b.convolutions for b in c.network.blocks] == [2, 2, 3, 3]
    assert [b.dilation for b in c.network.blocks] == [1, 1, 3, 6]
    assert c.network.total_stride_zyx == (2, 8, 8)
    assert (c.train.coarse_epochs, c.train.joint_epochs) == (40, 50)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("train.joint_epoch=3", r"joint_epoch.*\$\.train"),
        ("trian.joint_epochs=3", "trian"),
        (
            f"network.blocks=[{{channels=8, stride=1}}{', {channels=8, convolutions=2}' * 2}]",
            r"stride.*\$\.network\.blocks",
        ),
        ("train.joint_epochs=three", r"\$\.train\.joint_epochs"),
        ("train.joint_epochs=2.5", r"\$\.train\.joint_epochs"),
        ("loss.mining=hard", r"\$\.loss\.mining"),
        ("preparation.spacing_zyx_mm=[1.0, 1.0]", r"\$\.preparation\.spacing_zyx_mm"),
    ],
)
def test_an_unknown_key_or_wrong_type_is_refused_with_its_path(override: str, path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        configuration_from({}, overrides=[override])


@pytest.mark.parametrize(
    "override",
    [
        "preparation.spacing_zyx_mm=[3.0, 0.0, 1.0]",
        "preparation.window_hu=[100.0, -100.0]",
        "localisation.threshold=0.0",
        "localisation.threshold=nan",
        "train.learning_rate=0.0",
        "train.cases_per_epoch=-1",
        "train.gradient_norm=-1.0",
        "localisation.keep_fraction=1.5",
        "localisation.organ_threshold.heart=1.5",
        "augmentation.elastic_period_mm=0.0",
        "boxes.jitter_cells=-1",
        "preparation.spacing_zyx_mm=[3.0, inf, 1.0]",
        "augmentation.contrast_gain=[2.0, 1.0]",
        "train.coarse_epochs=-1",
        "network.blocks=[]",
    ],
)
def test_an_impossible_value_is_refused_with_its_path(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0].removesuffix(".heart")):
        configuration_from({}, overrides=[override])


@pytest.mark.parametrize("override", ["train", "=3", "train.=3", ".x=1", "name.first=x"])
def test_an_override_that_is_none_is_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        configuration_from({"name": "x"}, overrides=[override])


def test_overrides_win_and_leave_the_file_alone() -> None:
    values = {"train": {"seed": 1, "joint_epochs": 9}}
    c = configuration_from(values, overrides=["train.seed=2", "loss.mining=none", 'name="my run"'])
    assert (c.train.seed, c.train.joint_epochs, c.loss.mining, c.name) == (2, 9, "none", "my run")
    assert values == {"train": {"seed": 1, "joint_epochs": 9}}


def test_a_resolved_configuration_survives_toml() -> None:
    c = configuration_from({}, overrides=["train.seed=7", "localisation.organ_threshold={heart=0.4}"])
    assert configuration_from(tomllib.loads(tomli_w.dumps(plain(c)))) == c


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        load_toml(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("a = = 1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.toml: is no TOML"):
        load_toml(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml: is no TOML"):
        load_toml(tmp_path / "latin.toml")


def test_decoder_widths_are_one_for_each_level_or_none() -> None:
    widths = configuration_from({"network": {"decoder_channels": [1, 2, 3, 4, 5]}}).network
    assert widths.decoder_channels_of_levels == (1, 2, 3, 4, 5)
    assert configuration_from({}).network.decoder_channels_of_levels == (16, 32, 64, 128, 256)
    with pytest.raises(ConfigError, match=r"decoder_channels has 2 widths.*\(5\), or none"):
        configuration_from({"network": {"decoder_channels": [1, 2]}})
