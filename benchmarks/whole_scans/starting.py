"""How long programs take before they do anything."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from whole_scans.results import Starts
from whole_scans.scans import Scan

LOADED = (
    "import time; from thoar.pipeline.request import Request, load_segmenter; "
    "load_segmenter(Request(device='cpu')); print(time.time())"
)


def starts_of(scan: Scan, work: Path, *, threads: int, times: int) -> Starts:
    """Measure each start a few times; the first, uncounted one fills the machine's file cache.

    Args:
        scan: a tiny one.
        work: where its results go.
        threads: of the program.
        times: that count.
    """
    called = os.environ | {"OMP_NUM_THREADS": str(threads)}
    thoar = [sys.executable, "-m", "thoar"]

    def run(line: list[str]) -> tuple[float, str]:
        began = time.time()
        done = subprocess.run(line, env=called, capture_output=True, text=True, check=True)  # noqa: S603 (ours)
        return time.time() - began, done.stdout

    def help_s() -> float:
        return run([*thoar, "--help"])[0]

    def cold_s() -> float:
        out = work / "cold"
        shutil.rmtree(out, ignore_errors=True)
        wall_s, _ = run([*thoar, "segment", str(scan.image), "-o", str(out), "--device", "cpu"])
        return wall_s - sum(msgspec.json.decode((out / "run.json").read_bytes())["seconds"].values())

    def loaded_s() -> float:
        began = time.time()
        return float(run([sys.executable, "-c", LOADED])[1].split()[-1]) - began

    medians = [
        statistics.median([start() for _ in range(1 + times)][1:]) for start in (help_s, cold_s, loaded_s)
    ]
    return Starts(help_s=medians[0], cold_s=medians[1], loaded_s=medians[2])
