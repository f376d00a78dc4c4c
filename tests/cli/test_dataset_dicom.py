"""``thoar dataset import dicom``: what it says, where it writes, and how it leaves."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.cli.app import main
from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.core.volume import Volume
from thoar.datasets import scans
from thoar.datasets.manifest import read_dataset
from thoar.io.dicom.series import read_series
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rtstruct_writer import write_rtstruct

CANARIES = ("SECRETNAME", "PHI-ID-12345", "19470203", "ACC-98765", "SECRET HOSPITAL")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clinic(tmp_path: Path, write_series: Callable[..., Path]) -> Path:
    """Return a folder of two patients, one of whose structures are called heart and something like it."""
    (tmp_path / "PHI-ID-12345").mkdir()
    for patient, name in (("A", "Heart"), ("B", "Heart_v2")):
        voxels = np.full((5, 24, 30), -1000, dtype=np.int16)
        voxels[:, 3:21, 3:27] = 40
        volume = Volume(voxels=voxels, geometry=Geometry.axial((5, 24, 30), (3.0, 2.0, 2.0)))
        folder = write_series(volume, name=f"PHI-ID-12345/SECRETNAME_{patient}", edit=identify)
        box = Box(start_zyx=(1, 6, 6), stop_zyx=(4, 16, 18))
        organ = Organ(name="heart", id=1, tg263=name)
        mask = OrganMask(organ=organ, box_zyx=box, probability=np.ones(box.shape_zyx))
        write_rtstruct(
            folder / "SECRETNAME_rs.dcm", read_series(folder), [mask], maker=Maker(uid_seed=patient)
        )
    return tmp_path / "PHI-ID-12345"


def identify(ds: pydicom.Dataset, k: int) -> None:
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "PHI^SECRETNAME", "PHI-ID-12345", "19470203"
    ds.AccessionNumber, ds.InstitutionName = "ACC-98765", "SECRET HOSPITAL"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr(scans, "read_series", read_series)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["dataset", "import", "dicom", *map(str, arguments)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def test_refused_case_is_told_of_and_leaves_by_the_code_for_some(
    clinic: Path, tmp_path: Path, command: Command
) -> None:
    code, out, err = command(clinic, "-o", tmp_path / "set")
    assert code == 8
    assert "heart 4.3 mL" in out
    assert "may mean an organ and are not known: 1" in out
    assert "undecided name 'Heart_v2' in 1: heart?" in out
    assert "1 structure files were refused" in err
    assert len(read_dataset(tmp_path / "set").cases) == 1


def test_proposal_then_import_with_it(clinic: Path, tmp_path: Path, command: Command) -> None:
    names = tmp_path / "names.toml"
    assert command(clinic, "--propose", names)[:2] == (
        0,
        f"{names}: 2 names, 1 of them undecided; look through it, then use --names\n",
    )
    text = names.read_text()
    assert '# "Heart_v2",  # in 1' in text
    names.write_text(text.replace('# "Heart_v2"', '"Heart_v2"'))
    code, out, _ = command(clinic, "-o", tmp_path / "set", "--names", names, "--organs", "heart")
    assert code == 0
    assert "undecided" not in out
    assert len(read_dataset(tmp_path / "set").cases) == 2
    assert command(clinic, "--propose", names)[0] == 2  # it is there already
    assert command(clinic, "-o", tmp_path / "set", "--names", names)[0] == 2
    assert command(clinic, "-o", tmp_path / "set", "--names", names, "--overwrite")[0] == 0


def test_key_says_which_file_is_meant_and_never_lies_in_the_data_set(
    clinic: Path, tmp_path: Path, command: Command
) -> None:
    assert command(clinic, "-o", tmp_path / "set", "--key", tmp_path / "set" / "key.json")[0] == 2
    assert not (tmp_path / "set").exists()
    key = tmp_path / "key.json"
    assert command(clinic, "-o", tmp_path / "set", "--key", key)[0] == 8
    read = json.loads(key.read_text())
    assert {Path(read[read[f"case_000{k}"]]).name for k in (0, 1)} == {"SECRETNAME_rs.dcm"}


@pytest.mark.parametrize(
    "arguments", [[], ["-o", "x", "--propose", "y"], ["-o", "x", "--select", "nonsense"]]
)
def test_contradictory_options_are_a_usage_error(
    tmp_path: Path, command: Command, arguments: list[str]
) -> None:
    assert command(tmp_path, *arguments)[0] == 2


def test_folder_without_dicom_is_an_input_error(tmp_path: Path, command: Command) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = command(tmp_path / "empty", "-o", tmp_path / "set")
    assert (code, "holds no DICOM file" in err) == (3, True)


def test_process_says_and_writes_nothing_of_the_patients(clinic: Path, tmp_path: Path) -> None:
    broken = clinic / "SECRETNAME_C"
    shutil.copytree(clinic / "SECRETNAME_A", broken)
    for path in broken.iterdir():
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:-2]}77"
        ds.save_as(path)
    (clinic / "SECRETNAME.dcm").write_bytes(b"")
    # the folder given and where to write are the caller's own words; what lies in them must not come out
    clinic = clinic.rename(tmp_path / "scans")
    arguments = [sys.executable, "-m", "thoar", "--verbose", "dataset", "import", "dicom", str(clinic)]
    done = subprocess.run([*arguments, "-o", str(tmp_path / "set")], capture_output=True, check=False)
    assert done.returncode == 8, done.stderr
    texts = {"stdout": done.stdout, "stderr": done.stderr}
    for path in (tmp_path / "set").rglob("*.*"):
        content = path.read_bytes()
        texts[str(path)] = gzip.decompress(content) if path.suffix == ".gz" else content
    assert len(texts) > 4
    for where, text in texts.items():
        assert [c for c in CANARIES if c.lower().encode() in text.lower()] == [], where
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
