"""``thoar dataset plan``: what it prints, what it writes, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.cli.app import main
from thoar.cli.dataset_plan import size_in_bytes
from thoar.core.configuration import configuration_from, load_toml
from thoar.core.errors import UsageError

SMALL = """
name = "small"
[preparation]
spacing_zyx_mm = [8.0, 8.0, 8.0]
[network]
stem_channels = 4
blocks = [
    { channels = 6, convolutions = 1 },
    { channels = 8, convolutions = 1, stride_zyx = [2, 2, 2] },
    { channels = 8, convolutions = 1 },
]
[train]
threads = 1
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["dataset", "plan", *map(str, arguments)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("planned") / "set"
    with pytest.raises(SystemExit):
        main(["phantom", str(made), "--cases", "2", "--seed", "3", "--spacing-zyx-mm", "8", "8", "8"])
    return made


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 2**33), ("500 MB", 5e8), ("1.5gib", 1.5 * 2**30), ("1000", 1000), ("12e9", 12e9)],
)
def test_sizes_are_read_with_their_unit(text, size):
    assert size_in_bytes("--max-ram", text) == size


@pytest.mark.parametrize("text", ["", "8 apples", "-1GiB", "0", "1.2.3GiB", "GiB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--max-ram"):
        size_in_bytes("--max-ram", text)


def test_a_plan_says_memory_time_and_disk_and_writes_a_recipe(command, small_set, recipe, tmp_path):
    out = tmp_path / "plan.toml"
    code, said, _ = command(small_set, "--recipe", recipe, "--device", "cpu", "-o", out)
    assert code == 0
    for words in ("2 cases", "preparation:", "coarse:", "joint:", "validation:", "time on this cpu", "disk:"):
        assert words in said
    assert configuration_from(load_toml(out)) == configuration_from(load_toml(recipe))
    assert command(small_set, "--recipe", recipe, "-o", out)[0] == 2


def test_a_gpu_that_is_not_here_is_planned_for_without_times(command, small_set, recipe, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, said, _ = command(small_set, "--recipe", recipe, "--device", "cuda", "--json")
    plan = json.loads(said)
    assert code == 0
    assert plan["schema"] == "thoar.training-plan/1"
    assert plan["times"] is None
    assert all(need["vram_bytes"] > 0 for need in plan["needs"][1:])


def test_what_cannot_fit_is_refused_and_nothing_is_written(command, small_set, recipe, tmp_path):
    out = tmp_path / "plan.toml"
    code, _, error = command(
        small_set, "--recipe", recipe, "--device", "cpu", "--max-ram", "100MB", "-o", out
    )
    assert code == 6
    assert "takes at least" in error
    assert not out.exists()


def test_an_unknown_recipe_is_refused(command, small_set):
    code, _, error = command(small_set, "--recipe", "nosuch")
    assert code == 4
    assert "neither a shipped recipe" in error
