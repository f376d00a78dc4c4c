"""The script for Slurm, with stand-ins for Slurm's own commands: two machines are two processes here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.cli.app import main
from thoar.datasets.manifest import Dataset

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm" / "train.sbatch"
STAND_INS = {
    "scontrol": """
echo "$*" >> "$CALLED"
case $1-$2 in
  show-job) echo "   StartTime=2026-01-01T00:00:00 EndTime=$ENDS Deadline=N/A" ;;
  show-hostnames) printf 'localhost\\nother\\n' ;;
esac
""",
    "srun": """
echo "$*" >> "$CALLED"
shift
[ -n "${ONLY_SAYS:-}" ] && exit 3
for _ in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & done
wait
""",
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")


@pytest.fixture
def called(tmp_path: Path) -> Path:
    """Where the stand-ins note what they were called with."""
    for name, text in STAND_INS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path / "called"


Submit = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def submit(tmp_path: Path, called: Path) -> Submit:
    def submit(*words: str, **more: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "CALLED": str(called),
            "ENDS": "Unknown",
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            **more,
        }
        with (tmp_path / "log").open("w") as log:
            return subprocess.Popen(
                ["bash", str(SCRIPT), *words], env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    return submit


def torchrun_line(called: Path) -> str:
    (line,) = [line for line in called.read_text().splitlines() if "torch.distributed.run" in line]
    return line


def test_new_run_is_started_on_all_machines_until_five_minutes_before_the_limit(
    tmp_path: Path, submit: Submit, called: Path
) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 3600))
    more = {"ONLY_SAYS": "yes", "ENDS": ends, "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "41000"}
    assert submit(str(tmp_path / "run"), "paper", "--data", "set", **more).wait(30) == 3
    line = torchrun_line(called)
    assert "--nnodes=2 --nproc-per-node=4 --rdzv-id=41000-0" in line
    assert "--rdzv-endpoint=localhost:21000 -m thoar train paper --data set" in line
    assert "--resume" not in line
    limit_s = int(line.split("--max-time ")[1].split("s")[0])
    assert 3200 < limit_s <= 3300
    assert "requeue" not in called.read_text()


def test_run_whose_folder_is_there_is_resumed_and_an_unlimited_job_has_no_limit(
    tmp_path: Path, submit: Submit, called: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('  "outcome": "stopped",\n')
    assert submit(str(tmp_path / "run"), "paper", "--data", "set", ONLY_SAYS="yes").wait(30) == 3
    assert torchrun_line(called).endswith("--resume")
    assert "--max-time" not in torchrun_line(called)
    assert "requeue" not in called.read_text()  # an old record says nothing about this start


def test_jobs_of_an_array_train_a_fold_each(tmp_path: Path, submit: Submit, called: Path) -> None:
    run = tmp_path / "cv"
    (run / "fold_1").mkdir(parents=True)
    for fold in ("0", "1"):
        job = submit(str(run), "paper", "--data", "set", ONLY_SAYS="yes", SLURM_ARRAY_TASK_ID=fold)
        assert job.wait(30) == 3
    first, second = (line for line in called.read_text().splitlines() if "torch.distributed.run" in line)
    assert first.endswith(f"-o {run} --fold 0")
    assert second.endswith(f"-o {run} --fold 1 --resume")


def test_without_a_recipe_nothing_is_started(tmp_path: Path, submit: Submit, called: Path) -> None:
    assert submit(str(tmp_path / "run")).wait(30) != 0
    assert "RECIPE is missing" in (tmp_path / "log").read_text()
    assert not called.exists()


def test_two_machines_train_together_and_slurms_signal_puts_the_job_back_into_the_queue(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset, submit: Submit, called: Path
) -> None:
    run = tmp_path / "run"
    settings = ("train.batch_cases=2", "train.coarse_epochs=10000", "train.validate_every=10000")
    words = [word for setting in settings for word in ("--set", setting)]
    process = submit(
        str(run), str(small_recipe), "--data", str(small_dataset.root), "--device", "cpu", *words
    )
    deadline = time.monotonic() + 120
    while not (run / "last").is_dir():
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()
    assert called.read_text().splitlines()[-1] == f"requeue {os.getpid()}"
    record = (run / "run.json").read_text()
    assert '"processes": 2' in record
    assert '"outcome": "stopped"' in record
    again = ["--quiet", "train", str(small_recipe), "--data", str(small_dataset.root), "-o", str(run), *words]
    with pytest.raises(SystemExit, match="9"):  # and one process alone may go on with it
        main([*again, "--device", "cpu", "--resume", "--max-time", "0.1s"])
