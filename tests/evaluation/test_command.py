"""``thoar evaluate`` from its arguments to its table."""

import json

import pytest
from typer.testing import CliRunner

from thoar.cli.app import application
from thoar.core.errors import UsageError


@pytest.fixture
def run(world, tmp_path):
    def run(*options, out=tmp_path / "new" / "results.json"):
        arguments = ["evaluate", str(world.predictions), str(world.references), "-o", str(out), *options]
        result = CliRunner().invoke(application(), arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout, out

    return run


@pytest.fixture
def one_case(world):
    world.reference("p1")
    world.predict("p1", record={"model": {"training_cases": ["p1"]}})


def test_the_table_shows_every_organ_and_the_paper_beside_it(run, one_case):
    text, out = run()
    lines = text.splitlines()
    assert "surface Dice @ 3 mm" in lines[0]
    assert lines[1].split()[:3] == ["esophagus", "1", "0.8000"]
    assert lines[2].startswith("paper (SegTHOR test set: other data)")
    assert lines[2].split()[-2:] == ["0.7732", "1.6774"]
    assert json.loads(out.read_text())["cases"][0]["in_training_data"] is True


def test_a_scan_from_the_training_data_is_named(run, one_case):
    assert "p1: this scan was in the model's training data" in run()[0]


def test_the_results_file_is_named_as_the_output_of_every_command(world, one_case, tmp_path):
    out = tmp_path / "results.json"
    arguments = ["evaluate", str(world.predictions), str(world.references), "--output", str(out)]
    assert CliRunner().invoke(application(), arguments).exit_code == 0
    assert json.loads(out.read_text())["cases"]


def test_json_prints_the_results_file(run, one_case):
    text, out = run("--json", "--tolerance-mm", "1")
    assert json.loads(text) == json.loads(out.read_text())
    assert json.loads(text)["tolerance_mm"] == 1.0


def test_an_earlier_results_file_is_replaced_only_when_asked(run, one_case):
    _, out = run()
    before = out.read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        run("--tolerance-mm", "1")
    assert out.read_bytes() == before
    run("--tolerance-mm", "1", "--overwrite")
    assert json.loads(out.read_text())["tolerance_mm"] == 1.0


def test_other_files_are_never_replaced(run, one_case, world):
    record = world.predictions / "p1" / "run.json"
    before = record.read_bytes()
    with pytest.raises(UsageError, match="no results file"):
        run("--overwrite", out=record)
    assert record.read_bytes() == before


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf"])
def test_an_impossible_tolerance_is_refused(run, one_case, tolerance):
    with pytest.raises(UsageError, match="tolerance"):
        run("--tolerance-mm", tolerance)


def test_what_the_means_leave_out_is_said(run, world, ground_truth):
    world.reference("p1", ground_truth * (ground_truth != 4))
    world.reference("p2", labelled=False)
    world.predict("p1", ground_truth * (ground_truth < 3))
    world.predict("p2")
    text, _ = run()
    assert "trachea: one mask is empty in 1 of 1 cases" in text
    assert "aorta: undefined in 1 of 1 cases" in text
    assert "not scored: p2" in text
