import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thoar.cli import app
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.io.formats import read_volume, write_labels

SHAPE = (10, 24, 30)
GRID = Geometry.axial(SHAPE, (3.0, 1.0, 1.0))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        app.main([str(a) for a in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def series(write_series: Callable[..., Path]) -> Path:
    voxels = np.random.default_rng(2).integers(-1000, 1000, SHAPE).astype(np.int16)
    return write_series(Volume(voxels=voxels, geometry=GRID))


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2:7, 5:15, 8:20] = 2
    write_labels(tmp_path / "map.nii.gz", LabelVolume(voxels=labels, geometry=GRID, label_set=SEGTHOR))
    return tmp_path / "map.nii.gz"


def test_a_series_becomes_a_volume(tmp_path: Path, series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", series, "-o", tmp_path / "ct.nii.gz") == 0
    assert capsys.readouterr().out == f"ct.nii.gz in {tmp_path}\n"
    assert read_volume(tmp_path / "ct.nii.gz").geometry.same_grid(GRID)


def test_a_label_map_goes_to_rtstruct_and_back(
    tmp_path: Path, series: Path, label_map: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.toml").write_text('heart = "Heart AI"\n')
    out = tmp_path / "rt.dcm"
    options = ("--to", "rtstruct", "--like", series, "--names", tmp_path / "names.toml", "--json")
    assert run("convert", label_map, "-o", out, *options) == 0
    assert json.loads(capsys.readouterr().out) == {
        "to": "rtstruct", "files": ["rt.dcm"], "structures": ["heart"], "empty": [],
    }  # fmt: skip
    assert run("convert", out, "-o", tmp_path / "masks", "--like", series, "--format", "mha") == 0
    assert capsys.readouterr().out == f"masks: Heart AI\nHeart_AI.mha in {tmp_path / 'masks'}\n"
    mask, labels = read_volume(tmp_path / "masks" / "Heart_AI.mha"), read_volume(label_map)
    both = (mask.voxels > 0) & (labels.voxels == 2)
    assert 2 * both.sum() / (mask.voxels.sum() + (labels.voxels == 2).sum()) > 0.99


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "--to rtstruct"),
        (("--to", "rtstruct"), 2, "--like SERIES"),
        (("--to", "volume", "--select", "AcquisitionNumber"), 2, "KEYWORD=VALUE"),
        (("--to", "pdf"), 2, "pdf"),
        (("--to", "dicom-seg", "--like", "SERIES", "--labels", "liver"), 3, "has no liver"),
        (("--to", "dicom-seg", "--like", "SERIES", "--names", "none.toml"), 4, "none.toml"),
    ],
)
def test_wrong_use_says_what_to_do(
    tmp_path: Path,
    series: Path,
    label_map: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    given = [series if option == "SERIES" else option for option in options]
    assert run("convert", label_map, "-o", tmp_path / "x.dcm", *given) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x.dcm").exists()


def test_what_stands_there_is_replaced_only_when_asked(tmp_path: Path, series: Path, label_map: Path) -> None:
    out = tmp_path / "seg.dcm"
    options = ("--to", "dicom-seg", "--like", series)
    out.write_text("older")
    assert run("convert", label_map, "-o", out, *options) == 2
    assert out.read_text() == "older"
    assert run("convert", label_map, "-o", out, *options, "--overwrite") == 0
    assert out.read_bytes()[128:132] == b"DICM"


def test_torch_is_not_loaded(tmp_path: Path, series: Path, label_map: Path) -> None:
    commands = [
        ["convert", str(series), "-o", str(tmp_path / "ct.nii.gz")],
        [
            "convert",
            str(label_map),
            "-o",
            str(tmp_path / "rt.dcm"),
            "--to",
            "rtstruct",
            "--like",
            str(series),
        ],
        [
            "convert",
            str(label_map),
            "-o",
            str(tmp_path / "s.dcm"),
            "--to",
            "dicom-seg",
            "--like",
            str(series),
        ],
        ["convert", str(tmp_path / "s.dcm"), "-o", str(tmp_path / "masks")],
    ]
    program = (
        "import sys\n"
        "from thoar.cli.app import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        main(command)\n"
        "    except SystemExit as left:\n"
        "        assert not left.code, left.code\n"
        "print('TORCH', 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "TORCH False"
