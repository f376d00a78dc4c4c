"""``thoar dataset import`` and ``export`` of layouts: what they say, and how they leave."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thoar.cli.app import main
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import write_volume

Command = Callable[..., tuple[int, str, str]]
GRID = Geometry.axial((4, 8, 9), (3.0, 2.0, 2.0))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["dataset", *map(str, arguments)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def segthor(tmp_path: Path) -> Path:
    """Return three cases: a whole one, one without a trachea, one whose label lies elsewhere."""
    for name, organs, left_mm in (("A", 4, 0.0), ("B", 2, 0.0), ("C", 4, 7.0)):
        place = tmp_path / "in" / name
        place.mkdir(parents=True)
        scan, label = np.full(GRID.shape_zyx, 40, np.int16), np.zeros(GRID.shape_zyx, np.uint8)
        for organ in range(1, organs + 1):
            label[organ - 1, 2:4, 2:5] = organ
        moved = Geometry.axial(GRID.shape_zyx, GRID.spacing_zyx_mm, origin_xyz_mm=(left_mm, 0.0, 0.0))
        write_volume(place / f"{name}.nii.gz", Volume(voxels=scan, geometry=GRID))
        write_volume(place / "GT.nii.gz", Volume(voxels=label, geometry=moved))
    return tmp_path / "in"


def test_refused_cases_are_listed_and_leave_by_the_code_for_some(
    segthor: Path, tmp_path: Path, command: Command
) -> None:
    code, out, err = command("import", "segthor", segthor, "-o", tmp_path / "set")
    assert code == 8
    assert "A  esophagus 0.1 mL, heart 0.1 mL, trachea 0.1 mL, aorta 0.1 mL\n" in out
    assert "B  esophagus 0.1 mL, heart 0.1 mL\n    trachea: no voxel, unlabelled\n" in out
    assert "C  refused: C/GT.nii.gz: does not lie on its image's grid" in out
    assert "trachea: has voxels in 1 of 2 cases with labels\n" in out
    assert "error: 1 cases were refused, as listed above; the 2 other cases are in" in err
    assert [case.id for case in read_dataset(tmp_path / "set").cases] == ["A", "B"]


def test_export_says_what_partial_labels_would_mean_and_what_it_left_out(
    segthor: Path, tmp_path: Path, command: Command
) -> None:
    command("import", "segthor", segthor, "-o", tmp_path / "set")
    export = ("export", "nnunet", tmp_path / "set", "-o", tmp_path / "raw")
    code, _, err = command(*export)
    assert (code, "--as-background teaches a network that the organ is not there" in err) == (3, True)
    assert command(*export, "--drop-partial", "--as-background")[0] == 2
    code, out, _ = command(*export, "--drop-partial", "--name", "Dataset009_X")
    assert code == 0
    assert "1 cases with labels (1 esophagus, 2 heart, 3 trachea, 4 aorta), 0 without" in out
    assert "left out, since an organ is not labelled in them: B" in out
    assert json.loads((tmp_path / "raw" / "Dataset009_X" / "dataset.json").read_text())["numTraining"] == 1
    code, out, _ = command("import", "nnunet", tmp_path / "raw" / "Dataset009_X", "-o", tmp_path / "back")
    assert (code, [case.id for case in read_dataset(tmp_path / "back").cases]) == (0, ["A"])
    code, out, _ = command(
        "export", "segthor", tmp_path / "set", "-o", tmp_path / "st", "--as-background", "--link"
    )
    assert (code, (tmp_path / "st" / "train" / "B" / "B.nii.gz").is_symlink()) == (0, True)


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("segthor", "is no data set"),
        ("nnunet", "dataset.json: cannot be read"),
        ("msd", "dataset.json: cannot be read"),
        ("totalsegmentator", "holds no scan"),
        ("table", "cannot be read"),
    ],
)
def test_a_folder_that_is_not_the_layout_is_an_input_error(
    tmp_path: Path, command: Command, layout: str, says: str
) -> None:
    code, _, err = command("import", layout, tmp_path, "-o", tmp_path / "set")
    assert (code, says in err) == (3, True)


def test_left_out_labels_and_scans_are_told_of(tmp_path: Path, command: Command) -> None:
    for name, value in (("s1", 1), ("s2", 0)):
        place = tmp_path / "ts" / name / "segmentations"
        place.mkdir(parents=True)
        write_volume(place.parent / "ct.nii.gz", Volume(voxels=np.zeros((4, 8, 9), np.int16), geometry=GRID))
        for structure in ("heart", "liver"):
            mask = np.full((4, 8, 9), value, np.uint8)
            write_volume(place / f"{structure}.nii.gz", Volume(voxels=mask, geometry=GRID))
    arguments = ("import", "totalsegmentator", tmp_path / "ts", "-o", tmp_path / "set", "--organs", "heart")
    code, out, _ = command(*arguments)
    assert code == 0
    assert "left out, since none of the organs is in view: s2\nlabels left out: liver\n" in out
