import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from thoar.cli import app
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import read_integers, read_labels, read_volume, write_labels, write_volume

COARSE = ("--spacing-zyx-mm", "8", "6", "6")
TABLE = "group,structure,id\n" + "".join(f"x,{o.name},{o.id}\n" for o in SEGTHOR.organs)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        app.main([str(a) for a in arguments])
    return int(left.value.code or 0)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A case folder as `thoar sample` makes it, of a very plain chest."""
    z, y, x = np.meshgrid(np.arange(40) * 6.0, *((np.arange(60) - 30) * 5.0,) * 2, indexing="ij")
    labels = np.zeros(z.shape, dtype=np.uint8)
    labels[np.hypot(x, y - 30) < 14] = 1
    labels[(x / 60) ** 2 + ((y + 20) / 45) ** 2 + ((z - 100) / 45) ** 2 < 1] = 2
    labels[(np.hypot(x, y - 8) < 13) & (z > 150)] = 3
    labels[np.hypot(x - 30, y - 40) < 16] = 4
    hu = np.where((x / 130) ** 2 + (y / 90) ** 2 < 1, 40, -1000)
    hu[(labels == 2) | (labels == 4)] = 220
    hu[labels == 3] = -1000
    grid = Geometry.axial(hu.shape, (6.0, 5.0, 5.0))
    place = tmp_path / "sample" / "S-1"
    place.mkdir(parents=True)
    write_volume(place / "S-1.nii.gz", Volume(voxels=hu.astype(np.int16), geometry=grid))
    write_labels(place / "structures.nii.gz", LabelVolume(voxels=labels, geometry=grid, label_set=SEGTHOR))
    (place / "structures.csv").write_text(TABLE)
    return place


def copies(sample: Path, out: Path, *options: object) -> int:
    return run("phantom", out, "--copies-of", sample, "--device", "cpu", *COARSE, *options)


def test_writes_a_data_set_of_parametric_cases_that_names_all_organs(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "set", "--cases", 1, "--seed", 3, "--device", "cpu", *COARSE) == 0
    (case,) = read_dataset(tmp_path / "set").cases
    assert case.id == "phantom_0000"
    assert case.organs == SEGTHOR.names
    assert case.source == ""
    assert case.label is not None
    volume, labels = read_volume(case.image), read_labels(case.label, SEGTHOR)
    assert volume.geometry.same_grid(labels.geometry)
    np.testing.assert_allclose(volume.geometry.spacing_zyx_mm, (8, 6, 6), rtol=1e-5)
    record = json.loads((case.image.parent / "parameters.json").read_text())
    assert (record["seed"], record["parameters"]["source"]) == (3, "thorax")


def test_copies_are_made_of_a_samples_scan_and_say_so(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "copies", "--cases", 2) == 0
    cases = read_dataset(tmp_path / "copies").cases
    assert [case.id for case in cases] == ["copy_0000", "copy_0001"]
    assert {case.source for case in cases} == {"S-1"}


def test_sample_folder_of_safetensors_gives_the_same_copies(tmp_path: Path, sample: Path) -> None:
    carried = tmp_path / "carried" / sample.name
    carried.mkdir(parents=True)
    write_volume(carried / "S-1.safetensors", read_volume(sample / "S-1.nii.gz"))
    write_volume(carried / "structures.safetensors", read_integers(sample / "structures.nii.gz"))
    (carried / "structures.csv").write_text(TABLE)
    assert copies(sample, tmp_path / "one", "--cases", 1) == 0
    assert copies(carried, tmp_path / "other", "--cases", 1) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "other")


def test_files_do_not_depend_on_the_number_of_workers_or_cases(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "one", "--cases", 2) == 0
    assert copies(sample, tmp_path / "two", "--cases", 3, "--workers", 2) == 0
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert len(one) == 7
    assert all(two[name] == digest for name, digest in one.items() if name != "dataset.toml")


def test_resuming_keeps_finished_cases_and_makes_the_others(tmp_path: Path, sample: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert copies(sample, whole, "--cases", 3) == 0
    assert copies(sample, broken, "--cases", 2) == 0
    (broken / "dataset.toml").unlink()
    kept = (broken / "copy_0000" / "GT.nii.gz").stat().st_mtime_ns
    (broken / ".copy_0002.thoar-new").mkdir()
    assert copies(sample, broken, "--cases", 3, "--resume") == 0
    assert digests(broken) == digests(whole)
    assert (broken / "copy_0000" / "GT.nii.gz").stat().st_mtime_ns == kept


def test_resuming_with_other_options_is_refused(
    tmp_path: Path, sample: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert copies(sample, tmp_path / "set", "--cases", 1) == 0
    before = digests(tmp_path / "set")
    assert copies(sample, tmp_path / "set", "--cases", 1, "--seed", 5, "--resume") == 2
    assert "copy_0000" in capfd.readouterr().err
    assert digests(tmp_path / "set") == before


def test_a_subset_of_organs_is_labelled_and_recorded(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "all", "--cases", 1) == 0
    assert copies(sample, tmp_path / "two", "--cases", 1, "--organs", "aorta,heart") == 0
    dataset = read_dataset(tmp_path / "two")
    assert dataset.label_set.names == dataset.cases[0].organs == ("heart", "aorta")
    one, two = (read_integers(tmp_path / name / "copy_0000" / "GT.nii.gz").voxels for name in ("all", "two"))
    np.testing.assert_array_equal(np.where(np.isin(one, (2, 4)), one, 0), two)
    record = json.loads((tmp_path / "two" / "copy_0000" / "parameters.json").read_text())
    assert record["organs"] == ["heart", "aorta"]
    assert "organs" not in json.loads((tmp_path / "all" / "copy_0000" / "parameters.json").read_text())


def test_organs_out_of_view_are_declared_absent(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "set", "--cases", 1, "--seed", 7) == 0
    cases = read_dataset(tmp_path / "set").cases
    for case in cases:
        assert case.label is not None
        found = set(np.unique(read_integers(case.label).voxels))
        assert set(case.absent) == {o.name for o in SEGTHOR.organs if o.id not in found}
    assert any(case.absent for case in cases)


@pytest.mark.parametrize("organs", ["spleen", "", "heart,liver"])
def test_unknown_organs_are_wrong_use(tmp_path: Path, organs: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("phantom", tmp_path / "set", "--cases", 1, "--organs", organs, *COARSE) == 2
    assert "--organs" in capfd.readouterr().err


def test_copies_cannot_have_labels_that_their_scan_lacks(
    tmp_path: Path, sample: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert copies(sample, tmp_path / "set", "--cases", 1, "--organs", "heart,lung_left") == 4
    assert "lung_left" in capfd.readouterr().err
    assert not (tmp_path / "set").exists()


def test_segthors_layout_holds_the_same_files_and_no_others(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "ours", "--cases", 2) == 0
    assert copies(sample, tmp_path / "theirs", "--cases", 2, "--layout", "segthor") == 0
    ours, theirs = digests(tmp_path / "ours"), digests(tmp_path / "theirs")
    assert theirs == {
        f"train/Patient_0{n + 1}/{file}": ours[
            f"copy_000{n}/{file.replace(f'Patient_0{n + 1}', f'copy_000{n}')}"
        ]
        for n in (0, 1)
        for file in (f"Patient_0{n + 1}.nii.gz", "GT.nii.gz")
    }
    assert [case.id for case in read_dataset(tmp_path / "theirs").cases] == ["Patient_01", "Patient_02"]


@pytest.mark.parametrize(
    "options",
    [("--organs", "heart"), ("--format", "safetensors"), ("--overwrite",), ("--resume",)],
)
def test_segthors_layout_takes_neither_other_organs_nor_a_folder_in_use(
    tmp_path: Path, sample: Path, options: tuple[str, ...]
) -> None:
    assert copies(sample, tmp_path / "set", "--cases", 1, "--layout", "segthor", *options) == 2
    assert not (tmp_path / "set").exists()


def test_all_cases_can_be_made_on_one_scanner(tmp_path: Path, sample: Path) -> None:
    file = tmp_path / "scanner.toml"
    file.write_text("noise_hu = [33, 33]\noffset_hu = [-20, -20]\n")
    assert copies(sample, tmp_path / "set", "--cases", 2, "--scanner", file) == 0
    assert copies(sample, tmp_path / "plain", "--cases", 2) == 0
    for name in ("copy_0000", "copy_0001"):
        there, here = (
            json.loads((tmp_path / place / name / "parameters.json").read_text())["parameters"]
            for place in ("set", "plain")
        )
        assert (there["scanner"]["noise"]["hu"], there["scanner"]["offset_hu"]) == (33, -20)
        assert there["deformation"] == here["deformation"]
        assert there["copy"] == here["copy"]


@pytest.mark.parametrize("text", ["noise = [1, 2]", "gain = [1.2, 0.8]", "gain = 1", "not toml"])
def test_a_scanner_that_makes_no_sense_is_a_bad_configuration(
    tmp_path: Path, sample: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scanner.toml"
    file.write_text(text)
    assert copies(sample, tmp_path / "set", "--cases", 1, "--scanner", file) == 4
    assert "scanner.toml" in capfd.readouterr().err


def test_cases_can_be_written_without_an_imaging_format(tmp_path: Path, sample: Path) -> None:
    assert copies(sample, tmp_path / "plain", "--cases", 1) == 0
    assert copies(sample, tmp_path / "tensors", "--cases", 1, "--format", "safetensors") == 0
    (one,), (two,) = (read_dataset(tmp_path / name).cases for name in ("plain", "tensors"))
    assert two.image.name == "copy_0000.safetensors"
    assert two.label is not None
    np.testing.assert_array_equal(read_volume(one.image).voxels, read_volume(two.image).voxels)
    assert set(np.unique(read_labels(two.label, SEGTHOR).voxels)) <= {0, 1, 2, 3, 4}


def test_folder_in_use_is_refused_unless_overwriting_is_asked_for(tmp_path: Path, sample: Path) -> None:
    target = tmp_path / "set"
    assert copies(sample, target, "--cases", 2) == 0
    before = digests(target)
    assert copies(sample, target, "--cases", 1) == 2
    assert digests(target) == before
    assert copies(sample, target, "--cases", 1, "--overwrite") == 0
    assert len(read_dataset(target).cases) == 1


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_what_is_not_ours_is_never_touched(tmp_path: Path, option: str) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run("phantom", tmp_path, "--cases", 1, option, *COARSE) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_sample_folder_without_its_files_is_bad_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("phantom", tmp_path / "out", "--cases", 1, "--copies-of", tmp_path / "none", *COARSE) == 3
    assert "thoar sample" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "columns structure and id"),
        ("structure,id\n", "names no structure"),
        ("name,number\nheart,1\n", "columns structure and id"),
        ("structure,id\nheart,two\n", "columns structure and id"),
        ("structure,id\nheart,2\naorta,-1\n", "[-1]"),
        ("structure,id\nwarp_drive,2\n", "structures.nii.gz"),
    ],
)
def test_label_map_without_a_usable_table_is_bad_input(
    tmp_path: Path,
    sample: Path,
    capfd: pytest.CaptureFixture[str],
    table: str | None,
    said: str,
) -> None:
    path = tmp_path / "table.csv"
    if table is not None:
        path.write_text(table)
    source = ("--from-map", sample / "structures.nii.gz", "--structures", path)
    assert run("phantom", tmp_path / "out", "--cases", 1, *COARSE, *source) == 3
    message = capfd.readouterr().err
    assert said in message
    assert "table.csv" in message
    assert not (tmp_path / "out").exists()


def test_label_map_makes_cases_and_warns_of_ids_that_its_table_does_not_name(
    tmp_path: Path, sample: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("\ufeffstructure,id\nheart,2\naorta,4\n", encoding="utf-8")  # as Excel begins its files
    source = ("--from-map", sample / "structures.nii.gz", "--structures", table)
    assert run("phantom", tmp_path / "maps", "--cases", 1, "--device", "cpu", *COARSE, *source) == 0
    (case,) = read_dataset(tmp_path / "maps").cases
    assert (case.id, case.source) == ("map_0000", "structures.nii.gz")
    assert "[1, 3]" in capfd.readouterr().err


def test_a_label_maps_cases_say_which_scan_filled_them_and_are_not_resumed_with_another(
    tmp_path: Path, sample: Path
) -> None:
    source = ("--from-map", sample / "structures.nii.gz", "--structures", sample / "structures.csv")
    command = ("phantom", tmp_path / "maps", "--cases", 1, "--device", "cpu", *COARSE, *source)
    assert run(*command, "--ct", sample / "S-1.nii.gz") == 0
    record = json.loads((tmp_path / "maps" / "map_0000" / "parameters.json").read_text())
    assert record["filled_from"] == "S-1.nii.gz"
    assert run(*command, "--ct", sample / "S-1.nii.gz", "--resume") == 0
    assert run(*command, "--resume") == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--spacing-zyx-mm", "0", "1", "1"),
        ("--from-map", "map.nii.gz"),
        ("--structures", "table.csv"),
        ("--ct", "scan.nii.gz"),
        ("--copies-of", "a", "--from-map", "b", "--structures", "c"),
        ("--device", "abacus"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_use(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert run("phantom", tmp_path / "out", "--cases", 1, *options) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flags", "said"), [((), "1/1 copy_0000\n"), (("--quiet",), "")])
def test_progress_is_a_message_that_quiet_silences(
    tmp_path: Path, sample: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert copies(sample, tmp_path / "set", "--cases", 1, *flags) == 0
    assert capsys.readouterr() == ("", said)
