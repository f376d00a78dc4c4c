"""Several processes train as one does, and none outlives another's death."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Dataset, write_dataset
from thoar.io.formats import read_labels, read_volume, write_labels, write_volume

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks up processes in /proc")


@pytest.fixture(scope="module")
def unlike_cases(tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset) -> Path:
    """Two chests of different shapes; in one of them the trachea is not labelled."""
    folder = tmp_path_factory.mktemp("unlike")
    first, second = small_dataset.cases[:2]
    cases = []
    for case, rows, organs in ((first, 30, first.organs), (second, 26, ("heart",))):
        image, label = folder / f"{case.id}.nii.gz", folder / f"{case.id}_GT.nii.gz"
        assert case.label is not None
        volume, labels = read_volume(case.image), read_labels(case.label, small_dataset.label_set)
        part = (slice(None), slice(0, rows), slice(None))
        geometry = replace(volume.geometry, shape_zyx=(24, rows, 40))
        write_volume(image, Volume(voxels=volume.voxels[part], geometry=geometry))
        write_labels(
            label,
            LabelVolume(voxels=labels.voxels[part], geometry=geometry, label_set=small_dataset.label_set),
        )
        cases.append(replace(case, image=image, label=label, organs=organs))
    write_dataset(folder, replace(small_dataset, root=folder, cases=tuple(cases)))
    return folder


@pytest.fixture
def arguments(small_recipe: Path, unlike_cases: Path) -> Callable[..., list[str]]:
    def arguments(run: Path, *, epochs: int, precision: str = "float32") -> list[str]:
        settings = {
            "coarse_epochs": epochs // 2,
            "joint_epochs": epochs - epochs // 2,
            "batch_cases": 2,
            "validation_cases": 0,
            "precision": precision,
        }
        pairs = [word for key, value in settings.items() for word in ("--set", f"train.{key}={value}")]
        words = ["-m", "thoar", "--quiet", "train", str(small_recipe), "--data", str(unlike_cases)]
        return [*words, "-o", str(run), "--device", "cpu", *pairs]

    return arguments


def losses(run: Path) -> dict[tuple[str, str], float]:
    """Return every loss of every step: an epoch is one step of two cases here."""
    with (run / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        (row["epoch"], row["name"]): float(row["value"]) for row in rows if row["name"].startswith("train/")
    }


@pytest.mark.parametrize(
    ("precision", "steps", "tolerance"),
    [("float32", 20, 1e-5), pytest.param("float64", 100, 1e-9, marks=pytest.mark.slow)],
)
def test_two_processes_give_the_losses_of_one_that_accumulates(
    tmp_path: Path, arguments: Callable[..., list[str]], precision: str, steps: int, tolerance: float
) -> None:
    """Cases of unlike shapes, an organ unlabelled in one of them."""
    one, two = tmp_path / "one", tmp_path / "two"
    for program, run in (((sys.executable,), one), (TORCHRUN, two)):
        done = subprocess.run(
            [*program, *arguments(run, epochs=steps, precision=precision)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    expected = losses(one)
    assert len({epoch for epoch, _ in expected}) == steps
    assert any(name == "train/fine_trachea" for _, name in expected)
    assert losses(two) == pytest.approx(expected, rel=tolerance)
    assert '"processes": 2' in (two / "run.json").read_text()


def test_batch_that_processes_cannot_share_is_refused(
    tmp_path: Path, arguments: Callable[..., list[str]]
) -> None:
    words = [*TORCHRUN, *arguments(tmp_path / "run", epochs=2), "--set", "train.batch_cases=3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "train.batch_cases = 3 cannot be shared by 2 processes" in done.stderr
    assert not (tmp_path / "run" / "last").exists()


def test_killed_worker_ends_the_run_within_a_minute_and_leaves_no_process(
    tmp_path: Path, arguments: Callable[..., list[str]]
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*TORCHRUN, *arguments(run, epochs=20000)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not (run / "last").is_dir():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = children_of(process.pid)
    assert len(workers) == 2
    killed = time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    again = subprocess.run(
        [*TORCHRUN, *arguments(run, epochs=20000), "--resume", "--max-time", "1s"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "stopped with a checkpoint" in again.stderr, again.stderr


STOPPING = """
import os, sys
from pathlib import Path
import torch
from thoar.core.configuration import configuration_from, load_toml
from thoar.datasets.manifest import read_dataset
from thoar.training.run import Setting, train
from thoar.training.split import Split
from thoar.training.world import joined

rank, (recipe, data, run) = int(os.environ["RANK"]), (Path(word) for word in sys.argv[1:])
dataset = read_dataset(data)
with joined(rank, 2, device=torch.device("cpu")) as world:
    outcome = train(
        configuration_from(load_toml(recipe), overrides=["train.batch_cases=2"], source="recipe"),
        Split(training=dataset.cases, validation=()),
        run,
        label_set=dataset.label_set,
        setting=Setting(device="cpu", world=world, should_stop=lambda: rank == 1),
    )
    print(f"process {rank}: {outcome}", flush=True)
    if rank == 1:
        os._exit(3)
    world.wait()
"""


def test_process_asked_to_stop_while_preparing_stops_all_and_one_that_is_lost_is_named_as_such(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    script = tmp_path / "stopping.py"
    script.write_text(STOPPING)
    words = [*TORCHRUN, str(script), str(small_recipe), str(small_dataset.root), str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert sorted(done.stdout.splitlines()) == ["process 0: preparing", "process 1: preparing"], done.stderr
    assert "PeerError: another process of this run has ended" in done.stderr


def children_of(pid: int) -> list[int]:
    """Return a process's children, in the order that they were started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(word) for path in found for word in path.read_text().split())
