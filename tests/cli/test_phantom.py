import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from thoar.cli import app
from thoar.core.labels import SEGTHOR
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import read_labels, read_volume, write_labels, write_volume

COARSE = ("--spacing-zyx-mm", "8", "6", "6")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        app.main([str(a) for a in arguments])
    return int(left.value.code or 0)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_writes_a_data_set_whose_cases_name_all_organs(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "set", "--cases", 2, "--seed", 3, *COARSE) == 0
    dataset = read_dataset(tmp_path / "set")
    assert [case.id for case in dataset.cases] == ["phantom_0000", "phantom_0001"]
    for case in dataset.cases:
        assert case.organs == SEGTHOR.names
        assert case.label is not None
        volume, labels = read_volume(case.image), read_labels(case.label, SEGTHOR)
        assert volume.geometry.same_grid(labels.geometry)
        np.testing.assert_allclose(volume.geometry.spacing_zyx_mm, (8, 6, 6), rtol=1e-5)
        assert set(np.unique(labels.voxels)) == {0, 1, 2, 3, 4}
        assert json.loads((case.image.parent / "parameters.json").read_text())["seed"] == 3


def test_files_do_not_depend_on_the_number_of_workers_or_cases(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "one", "--cases", 2, *COARSE) == 0
    assert run("phantom", tmp_path / "two", "--cases", 3, "--workers", 2, *COARSE) == 0
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert len(one) == 7
    assert all(two[name] == digest for name, digest in one.items() if name != "dataset.toml")


def test_copies_are_made_of_a_samples_scan(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "source", "--cases", 1, *COARSE) == 0
    source, place = tmp_path / "source" / "phantom_0000", tmp_path / "sample" / "S-1"
    place.mkdir(parents=True)
    write_volume(place / "S-1.nii.gz", read_volume(source / "phantom_0000.nii.gz"))
    write_labels(place / "structures.nii.gz", read_labels(source / "GT.nii.gz", SEGTHOR))
    table = "group,structure,id\n" + "".join(f"x,{o.name},{o.id}\n" for o in SEGTHOR.organs)
    (place / "structures.csv").write_text(table)
    assert run("phantom", tmp_path / "copies", "--cases", 2, "--copies-of", place, *COARSE) == 0
    assert [case.id for case in read_dataset(tmp_path / "copies").cases] == ["copy_0000", "copy_0001"]


def test_folder_in_use_is_refused_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "set"
    assert run("phantom", target, "--cases", 2, *COARSE) == 0
    before = digests(target)
    assert run("phantom", target, "--cases", 1, *COARSE) == 2
    assert digests(target) == before
    assert run("phantom", target, "--cases", 1, "--overwrite", *COARSE) == 0
    assert len(read_dataset(target).cases) == 1


def test_overwriting_never_removes_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run("phantom", tmp_path, "--cases", 1, "--overwrite", *COARSE) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_sample_folder_without_its_files_is_bad_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("phantom", tmp_path / "out", "--cases", 1, "--copies-of", tmp_path / "none", *COARSE) == 3
    assert "thoar sample" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_impossible_spacing_is_wrong_use(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "out", "--cases", 1, "--spacing-zyx-mm", "0", "1", "1") == 2


@pytest.mark.parametrize(("flags", "said"), [((), "1/1 phantom_0000\n"), (("--quiet",), "")])
def test_progress_is_a_message_that_quiet_silences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert run("phantom", tmp_path / "set", "--cases", 1, *COARSE, *flags) == 0
    assert capsys.readouterr() == ("", said)
