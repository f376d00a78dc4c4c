"""``thoar train`` as its users start, stop and kill it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thoar.datasets.manifest import Dataset

LONG = ("--set", "train.coarse_epochs=3", "--set", "train.joint_epochs=3", "--deterministic")


def command(recipe: Path, dataset: Dataset, run: Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "thoar", "train", str(recipe)]
    return [*program, "--data", str(dataset.root), "-o", str(run), "--device", "cpu", *more]


def finished(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)


def started(arguments: list[str], run: Path, *, epoch: int) -> subprocess.Popen[str]:
    """Return the process once it has written the checkpoint of an epoch."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while epochs_logged(run) < epoch:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def epochs_logged(run: Path) -> int:
    log = run / "metrics.csv"
    return len({line.split(",")[0] for line in log.read_text().splitlines()[1:]}) if log.is_file() else 0


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, small_recipe: Path, small_dataset: Dataset) -> Path:
    run = tmp_path_factory.mktemp("commands") / "whole"
    done = finished(command(small_recipe, small_dataset, run, *LONG))
    assert done.returncode == 0, done.stderr
    assert f"the model is {run} " in done.stdout
    assert (run / "report.html").is_file()
    assert "epoch 6/6 (joint): validation Dice heart" in done.stderr
    return run


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_the_run_with_a_checkpoint_to_resume_from(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    endless = ("--set", "train.coarse_epochs=10000", "--set", "train.validate_every=10000")
    process = started(command(small_recipe, small_dataset, run, *endless), run, epoch=1)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "go on with --resume" in said
    assert (run / "last" / "progress.json").is_file()
    assert not list(run.glob(".thoar*"))


def test_time_limit_stops_with_a_checkpoint(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    run = tmp_path / "run"
    endless = ("--set", "train.coarse_epochs=10000", "--set", "train.validate_every=10000")
    done = finished(command(small_recipe, small_dataset, run, *endless, "--max-time", "4s"))
    assert done.returncode == 9, done.stderr
    assert "stopped with a checkpoint" in done.stderr
    assert (run / "last" / "manifest.json").is_file()


def test_time_limit_stops_the_preparation_too(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    run = tmp_path / "run"
    done = finished(command(small_recipe, small_dataset, run, "--max-time", "0.01s"))
    assert done.returncode == 9
    assert "stopped while preparing cases" in done.stderr
    assert not (run / "last").exists()
    assert list((run / "prepared").glob("*.json"))
    again = finished(command(small_recipe, small_dataset, run, *LONG))
    assert again.returncode == 0, again.stderr


def test_run_can_begin_with_a_model(
    tmp_path: Path, whole_run: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    more = ("--set", "train.coarse_epochs=0", "--set", "train.joint_epochs=1", "--from", str(whole_run))
    done = finished(command(small_recipe, small_dataset, tmp_path / "run", *more))
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1 (joint): validation Dice" in done.stderr


@pytest.mark.parametrize(
    ("recipe", "more", "code", "said"),
    [
        ("papre", (), 4, "papre: is neither a shipped recipe ("),
        ("tiny", ("--set", "train.epochs=3"), 4, "unknown field `epochs`"),
        ("tiny", ("--max-time", "soon"), 2, "--max-time soon: expected a time such as 90s"),
        ("tiny", ("--device", "cuda:99"), 2, "not available here"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    tmp_path: Path, small_dataset: Dataset, recipe: str, more: tuple[str, ...], code: int, said: str
) -> None:
    run = tmp_path / "run"
    done = finished(command(Path(recipe), small_dataset, run, *more))
    assert done.returncode == code
    assert said in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert not run.exists()


def test_an_organ_is_added_by_a_command(
    tmp_path: Path, whole_run: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    program = [sys.executable, "-m", "thoar", "model"]
    fewer, out = tmp_path / "fewer", tmp_path / "out"
    done = finished([*program, "remove-organ", "trachea", "--model", str(whole_run), "-o", str(fewer)])
    assert done.returncode == 0, done.stderr
    words = ["add-organ", "trachea", "--model", str(fewer), "--data", str(small_dataset.root), "-o", str(out)]
    words += ["--recipe", str(small_recipe), "--set", "train.encoder_rate=0", "--optional", "--device", "cpu"]
    done = finished([*program, *words])
    assert done.returncode == 0, done.stderr
    assert "heart, trachea" in done.stdout
    assert (out / "training" / "report.html").is_file()
    told = finished([*program, "info", str(out)])
    assert "trachea (), optional" in told.stdout
    again = finished([*program, *words])
    assert again.returncode == 2
    assert "--resume" in again.stderr


def test_adapting_needs_a_model(tmp_path: Path, small_dataset: Dataset) -> None:
    done = finished(command(Path("adapt"), small_dataset, tmp_path / "run"))
    assert done.returncode == 2
    assert "--from MODEL" in done.stderr
