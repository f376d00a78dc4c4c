"""``thoar dataset check`` on phantoms in SegTHOR's layout, with the two faults of a circulated copy."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoar.cli.app import main
from thoar.datasets.manifest import MANIFEST, read_dataset

HEART, TRACHEA, AORTA = 2, 3, 4

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["dataset", "check", *map(str, arguments)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two phantoms as SegTHOR lays its cases out: ``train/Patient_01/GT.nii.gz``, no manifest."""
    made = tmp_path_factory.mktemp("phantoms")
    with pytest.raises(SystemExit):
        main(["phantom", str(made / "set"), "--cases", "2", "--seed", "7", "--spacing-zyx-mm", "6", "6", "6"])
    for number, case in enumerate(read_dataset(made / "set").cases, 1):
        folder = made / "segthor" / "train" / f"Patient_{number:02d}"
        folder.mkdir(parents=True)
        shutil.copy(case.image, folder / f"{folder.name}.nii.gz")
        shutil.copy(case.label or "", folder / "GT.nii.gz")
    assert not (made / "segthor" / MANIFEST).exists()
    return made / "segthor"


@pytest.fixture
def segthor(phantoms: Path, tmp_path: Path) -> Path:
    return shutil.copytree(phantoms, tmp_path / "segthor")


def relabel(folder: Path, change: Callable[[np.ndarray, nib.Nifti1Image], np.ndarray]) -> None:
    labels = nib.load(folder / "GT.nii.gz")
    voxels = change(np.asarray(labels.dataobj), labels)
    nib.Nifti1Image(voxels.astype(np.uint8), labels.affine).to_filename(folder / "GT.nii.gz")


def displace_heart(voxels: np.ndarray, labels: nib.Nifti1Image) -> np.ndarray:
    """Move the heart 45 mm to the patient's left and 30 mm to the back, as an affine would."""
    moved = np.argwhere(voxels == HEART) + np.rint(np.linalg.inv(labels.affine[:3, :3]) @ (-45, -30, 0))
    out = np.where(voxels == HEART, 0, voxels)
    inside = moved[((moved >= 0) & (moved < voxels.shape)).all(axis=1)].astype(int)
    out[tuple(inside.T)] = HEART
    return out


def test_good_phantoms_pass_even_strictly(command: Command, phantoms: Path) -> None:
    code, out, _ = command(phantoms, "--strict")
    assert (code, out.splitlines()[-1]) == (0, "2 cases: 0 errors, 0 warnings")


def test_an_aorta_without_a_voxel_in_half_the_cases_is_caught(command: Command, segthor: Path) -> None:
    relabel(segthor / "train" / "Patient_02", lambda voxels, _: np.where(voxels == AORTA, 0, voxels))
    code, out, err = command(segthor)
    assert code == 3
    (line,) = [line for line in out.splitlines() if line.startswith("error")]
    assert line.split()[:3] == ["error", "Patient_02", "aorta"]
    assert "`absent`" in line
    assert "(all)" in out
    assert "1 of 2 cases" in out
    assert err.splitlines()[-1].startswith("error:")


@pytest.mark.parametrize("cases", [("Patient_02",), ("Patient_01", "Patient_02")], ids=["some", "all"])
def test_a_displaced_heart_is_caught(command: Command, segthor: Path, cases: tuple[str, ...]) -> None:
    for case in cases:
        relabel(segthor / "train" / case, displace_heart)
    code, out, _ = command(segthor, "--strict", "--json")
    findings = json.loads(out)["findings"]
    assert code == 3
    assert {f["case_id"] for f in findings} == set(cases)
    assert {f["case_id"] for f in findings if f["organ"] == "heart"} == set(cases)


def test_a_folder_of_results_holds_table_pictures_and_page(
    command: Command, segthor: Path, tmp_path: Path
) -> None:
    relabel(segthor / "train" / "Patient_01", lambda voxels, _: np.where(voxels == AORTA, 0, voxels))
    out = tmp_path / "out"
    assert command(segthor, "-o", out)[0] == 3
    assert sorted(p.name for p in out.iterdir()) == [
        "findings.csv",
        "findings.json",
        "index.html",
        "pictures",
    ]
    assert sorted(p.name for p in (out / "pictures").iterdir()) == ["Patient_01.png", "Patient_02.png"]
    rows = list(csv.DictReader((out / "findings.csv").read_text().splitlines()))
    assert (rows[0]["severity"], rows[0]["case_id"], rows[0]["organ"]) == ("error", "Patient_01", "aorta")
    assert "pictures/Patient_01.png" in (out / "index.html").read_text()
    assert command(segthor, "-o", out)[0] == 2
    assert command(segthor, "-o", out, "--overwrite")[0] == 3


def test_a_folder_with_other_files_is_never_replaced(command: Command, segthor: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    assert command(segthor, "-o", tmp_path / "out", "--overwrite")[0] == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "x"


def test_warnings_alone_leave_with_0_unless_strict(command: Command, segthor: Path) -> None:
    def stray(voxels: np.ndarray, _: nib.Nifti1Image) -> np.ndarray:
        voxels = voxels.copy()
        levels = np.flatnonzero((voxels == TRACHEA).any(axis=(0, 1)))
        top = np.argwhere(voxels[..., levels[-2]] == TRACHEA)[0]
        voxels[*top, levels[-2]] = HEART
        return voxels

    relabel(segthor / "train" / "Patient_01", stray)
    assert command(segthor)[0] == 0
    assert command(segthor, "--strict")[0] == 3
