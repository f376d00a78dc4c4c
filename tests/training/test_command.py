"""``thoar train`` as its users start, stop and kill it."""

import hashlib
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


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, small_recipe: Path, small_dataset: Dataset) -> Path:
    run = tmp_path_factory.mktemp("commands") / "whole"
    done = finished(command(small_recipe, small_dataset, run, *LONG))
    assert done.returncode == 0, done.stderr
    assert f"the model is {run / 'best'}" in done.stdout
    assert "epoch 6/6 (joint): validation Dice heart" in done.stderr
    return run


@pytest.mark.parametrize("epoch", [2, 4], ids=["coarse stage", "joint stage"])
def test_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, whole_run: Path, small_recipe: Path, small_dataset: Dataset, epoch: int
) -> None:
    run = tmp_path / "run"
    process = started(command(small_recipe, small_dataset, run, *LONG), run, epoch=epoch)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = finished(command(small_recipe, small_dataset, run, *LONG, "--resume"))
    assert done.returncode == 0, done.stderr
    assert digests(run / "last") == digests(whole_run / "last")
    assert digests(run / "best") == digests(whole_run / "best")
    assert (run / "metrics.csv").read_text() == (whole_run / "metrics.csv").read_text()


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
    assert "the same command goes on" in done.stderr
    assert [place.name for place in run.iterdir()] == ["prepared"]


def test_run_can_begin_with_a_model(
    tmp_path: Path, whole_run: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    more = ("--set", "train.coarse_epochs=0", "--set", "train.joint_epochs=1", "--init", str(whole_run))
    done = finished(command(small_recipe, small_dataset, tmp_path / "run", *more))
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1 (joint): validation Dice" in done.stderr


@pytest.mark.parametrize(
    ("recipe", "more", "code", "said"),
    [
        ("papre", (), 4, "neither a shipped recipe (fast, paper, tiny) nor a TOML file"),
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
