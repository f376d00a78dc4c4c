import ablations
import msgspec
import pytest
from ablations import RECIPE, VARIANTS, Cost, Run, page, spread

from thoar.core.configuration import configuration_from, load_toml

COST = Cost(wall_s=120.0, cpu_s=60.0, peak_mib=900.0)
DATA = {"commit": "abc", "changed": "no", "phantoms_sha256": "1234", "torch": "2", "date": "2026-01-02"}


def run_of(variant, seed, value):
    return Run(
        variant=variant, seed=seed, train=COST, segment=COST, seconds={"encode": 0.5, "draw": 0.25},
        reduction=1.5, dice={"heart": value, "aorta": value - 0.2},
        hausdorff95_mm={"heart": None, "aorta": 4.0}, missed={"heart": 1, "aorta": 0},
        overrides=VARIANTS[variant][1], code=DATA,
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_configuration_of_its_own(variant):
    values = load_toml(RECIPE)
    baseline = configuration_from(values)
    changed = configuration_from(values, overrides=VARIANTS[variant][1])
    assert (changed == baseline) == (variant == "baseline")
    assert changed.train == baseline.train


def test_the_recipe_has_a_quarter_of_the_papers_channels():
    theirs = configuration_from({}).network
    ours = configuration_from(load_toml(RECIPE)).network
    assert [4 * width for width in ours.channels_of_levels] == list(theirs.channels_of_levels)
    assert [b.dilation for b in ours.blocks] == [b.dilation for b in theirs.blocks]


def test_the_page_gives_mean_and_spread_of_the_seeds_and_counts_misses():
    runs = [run_of("baseline", 0, 0.5), run_of("baseline", 1, 0.7), run_of("no mining", 0, 0.6)]
    text = "\n".join(page(runs, DATA))
    assert "| baseline | 2 | 0.600 ± 0.141 | 0.400 ± 0.141 | 0.500 ± 0.141 | 2 |" in text
    assert "| no mining | 1 | 0.600 | 0.400 | 0.500 | 1 |" in text
    assert "`loss.mining=none`" in text
    assert "separate encoders |" not in text


def test_a_single_value_has_no_spread():
    assert spread([0.25]) == "0.250"


def test_a_finished_run_is_read_and_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "command", lambda *_: pytest.fail("ran again"))
    run = run_of("whole volume", 2, 0.5)
    place = ablations.place_of(tmp_path, "whole volume", 2)
    place.mkdir(parents=True)
    (place / "result.json").write_bytes(msgspec.json.encode(run))
    assert ablations.finished(tmp_path, "whole volume", 2) == run
    assert ablations.finished(tmp_path, "whole volume", 1) is None
    assert ablations.finished(tmp_path, "whole volume", 2, more=["train.joint_epochs=1"]) is None
