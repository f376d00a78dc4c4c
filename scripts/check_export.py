"""``make proof-export``: an export draws what thoar draws, where there is nothing but numpy and one engine.

Makes the environment, exports the shipped model with all its organs, segments the sample CT there and here.
"""

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

import thoar
from thoar.datasets.scans import read_scan
from thoar.inference.export.check import LEAST_DICE
from thoar.inference.manifest import read_manifest
from thoar.inference.shipped import find_model
from thoar.metrics.overlap import dice

CASE = "LIDC-IDRI-0001"
MODEL = "thorax-fast"
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}


def run(*words: str | Path) -> str:
    """Run a program, show it, and return what it prints; end with what it says if it fails."""
    print(f"$ {' '.join(map(str, words))}", flush=True)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return done.stdout


def bare_python(folder: Path, engine: str) -> Path:
    """Return the interpreter of an environment with numpy and one engine, at the versions we test with."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *quiet, "-c", "constraints.txt", "numpy", engine)
    print(run(python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"))
    return python


def main() -> None:
    """Compare every mask, and say how alike they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder to work in")
    parser.add_argument("--to", choices=ENGINES, default="onnx")
    given = parser.parse_args()
    work, sample = given.work, given.work / "sample"
    organs = read_manifest(find_model(MODEL)).label_set.names
    program = (sys.executable, "-m", "thoar")
    if not (sample / "dataset.toml").is_file():
        run(*program, "sample", sample)
    scan_file = sample / CASE / f"{CASE}.nii.gz"
    wanted = ("--organs", ",".join(organs), "--check", scan_file)
    print(
        run(*program, "model", "export", MODEL, "-o", work / "out", "--to", given.to, *wanted, "--overwrite")
    )
    volume = read_scan(scan_file).volume
    spacing_zyx_mm = volume.geometry.spacing_zyx_mm
    directions = (volume.geometry.lps_from_index[:3, :3] / spacing_zyx_mm).T
    np.savez(
        work / "scan.npz", voxels_hu=volume.voxels, spacing_zyx_mm=spacing_zyx_mm, directions_xyz=directions
    )
    python = bare_python(work / "bare", ENGINES[given.to])
    print(run(python, "-I", work / "out" / "runtime.py", work / "scan.npz", work / "out.npz"))
    expected = thoar.segment(volume, model=MODEL, organs=organs, device="cpu", precision="float32")
    with np.load(work / "out.npz") as found:
        scores = {name: dice(found[f"mask_{name}"], expected.mask(name)) for name in organs}
    print(json.dumps(scores, indent=2))
    if not all(score >= LEAST_DICE for score in scores.values()):
        sys.exit(f"a mask's Dice with thoar's is below {LEAST_DICE}")


if __name__ == "__main__":
    main()
