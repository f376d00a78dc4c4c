"""``thoar segment --max-ram``: believed, kept, or refused."""

from pathlib import Path

import numpy as np
import pytest

from thoar.cli import app
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.io.formats import write_volume


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    _, y, x = np.indices((24, 64, 72))
    voxels = np.where(((y - 32) / 28) ** 2 + ((x - 36) / 30) ** 2 < 1, 0, -1000).astype(np.int16)
    volume = Volume(voxels=voxels, geometry=Geometry.axial(voxels.shape, (3.0, 4.0, 4.0)))
    write_volume(tmp_path / "scan.nii", volume)
    return tmp_path / "scan.nii"


def segmented(scan: Path, *options: str) -> int:
    out = scan.parent / "out"
    given = ["segment", str(scan), "-o", str(out), "--model", "thorax-fast", "--formats", "mha"]
    with pytest.raises(SystemExit) as left:
        app.main([*given, "--device", "cpu", *options])
    return int(left.value.code or 0)


def test_a_scan_that_does_not_fit_is_refused_with_what_would_do(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segmented(scan, "--max-ram", "1MiB") == 6
    said = capsys.readouterr().err
    assert "(24, 64, 72) voxels" in said
    assert "would do" in said
    assert not (scan.parent / "out" / "run.json").exists()


def test_a_scan_that_fits_is_segmented(scan: Path) -> None:
    assert segmented(scan, "--max-ram", "64GiB") == 0
    assert (scan.parent / "out" / "run.json").is_file()


@pytest.mark.parametrize("option", ["--max-ram", "--max-vram"])
def test_a_size_that_is_none_is_refused(scan: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert segmented(scan, option, "much") == 2
    assert f"{option} much: expected a size such as 8GiB" in capsys.readouterr().err
