"""Whether an export draws what thoar draws: its own ``runtime.py``, run as a program, on one scan."""

import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thoar.core.errors import ModelError
from thoar.core.versions import version_of
from thoar.core.volume import Volume
from thoar.inference.export.manifest import Agreement, Engine
from thoar.inference.segmentation import Segmentation
from thoar.metrics.overlap import dice

LEAST_DICE = 0.999
RUNTIME = "runtime.py"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckScan:
    """The scan that an export is checked on.

    Attributes:
        volume: the scan.
        description: which one, for the manifest: no name of a file or patient.
    """

    volume: Volume
    description: str


def measured(folder: Path, expected: Segmentation, scan: CheckScan, *, engine: Engine) -> Agreement:
    """Run an export on a scan and compare its masks with thoar's own.

    Args:
        folder: the export.
        expected: thoar's segmentation of the scan.
        scan: the scan.
        engine: what is to run the graphs.

    Raises:
        ModelError: if the export fails, a mask's Dice with thoar's is below 0.999, or thoar itself finds none
            of the organs in the scan, which then shows nothing.
    """
    with tempfile.TemporaryDirectory() as work:
        results = Path(work, "out.npz")
        _run(folder, _written(scan.volume, Path(work, "scan.npz")), results, engine=engine)
        with np.load(results) as masks:
            scores = {
                name: dice(masks[f"mask_{name}"], expected.mask(name)) for name in expected.label_set.names
            }
    agreement = Agreement(
        scan=scan.description,
        shape_zyx=scan.volume.geometry.shape_zyx,
        spacing_zyx_mm=scan.volume.geometry.spacing_zyx_mm,
        engine=f"{engine} {version_of(engine)}",
        dice={name: None if math.isnan(score) else round(score, 6) for name, score in scores.items()},
    )
    _refuse_disagreement(agreement)
    return agreement


def _written(volume: Volume, path: Path) -> Path:
    geometry = volume.geometry
    directions = (geometry.lps_from_index[:3, :3] / geometry.spacing_zyx_mm).T
    np.savez(path, voxels_hu=volume.voxels, spacing_zyx_mm=geometry.spacing_zyx_mm, directions_xyz=directions)
    return path


def _run(folder: Path, scan: Path, results: Path, *, engine: Engine) -> None:
    program = [sys.executable, str(folder / RUNTIME), str(scan), str(results), "--engine", engine]
    done = subprocess.run(program, capture_output=True, text=True, check=False)  # noqa: S603 (our own file)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"nothing, and left with {done.returncode}"]
        raise ModelError(f"the exported {RUNTIME} failed on the check's scan: {said[-1]}")


def _refuse_disagreement(agreement: Agreement) -> None:
    found = {name: score for name, score in agreement.dice.items() if score is not None}
    if not found:
        raise ModelError(
            f"no organ was found in {agreement.scan}, so that nothing could be compared; name a chest CT "
            "with --check"
        )
    apart = [f"{name} {score:.4f}" for name, score in found.items() if score < LEAST_DICE]
    if apart:
        raise ModelError(
            f"with {agreement.engine} the export does not draw what thoar draws in {agreement.scan}: Dice "
            f"{', '.join(apart)}, and {LEAST_DICE} is the least; nothing was written. Please report it"
        )
