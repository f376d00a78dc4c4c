"""``thoar segment`` from its arguments to what it prints."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from thoar.cli import app

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, model: Path, write_scan, capsys: pytest.CaptureFixture[str]) -> Run:
    """Segment a folder of two scans, one of which may be none."""

    def run(*options: str, damaged: bool = False) -> tuple[int, str, str]:
        for name in ("a", "b"):
            write_scan(tmp_path / "in" / f"{name}.nii.gz")
        if damaged:
            (tmp_path / "in" / "a.nii.gz").write_bytes(b"no scan")
        wanted = ["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(model)]
        with pytest.raises(SystemExit) as left:
            app.main([*wanted, "--formats", "mha", *options])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_json_of_a_batch_is_its_summary_even_when_a_case_failed(tmp_path: Path, run: Run) -> None:
    code, out, err = run("--json", damaged=True)
    assert code == 8
    assert json.loads(out) == json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert [line["case_id"] for line in json.loads(out) if "error" in line] == ["a"]
    assert err.splitlines()[-1].startswith("error: 2 cases: 1 done, 1 failed (see ")


def test_a_failed_case_is_named_once_as_it_fails(run: Run) -> None:
    code, out, err = run(damaged=True)
    assert (code, out) == (8, "")
    assert sum(line.startswith("a: ") for line in err.splitlines()) == 1
    assert "b: done in " in err


@pytest.mark.parametrize(
    ("flags", "told"), [((), ["a: done in  (1 of 2)", "b: done in  (2 of 2)"]), (("--quiet",), [])]
)
def test_quiet_silences_progress_and_not_the_result(
    tmp_path: Path, run: Run, flags: tuple[str, ...], told: list[str]
) -> None:
    code, out, err = run(*flags)
    assert (code, out) == (0, f"2 cases: 2 done (see {tmp_path / 'out' / 'summary.json'})\n")
    lines = [re.sub(r"[\d.]+ s", "", line) for line in err.splitlines() if ": done" in line]
    assert lines == told


def test_options_of_dicom_reach_reader_and_writers(
    tmp_path: Path, model: Path, write_scan_series, capsys: pytest.CaptureFixture[str]
) -> None:
    def tilted(ds: pydicom.Dataset, k: int) -> None:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y + 0.5 * k, z]
        ds.AcquisitionNumber = 4

    folder = write_scan_series(tmp_path / "series", edit=tilted)
    (tmp_path / "names.toml").write_text('heart = "Heart AI"')
    wanted = ["segment", str(folder), "-o", str(tmp_path / "out"), "--model", str(model), "--json"]
    dicom = [
        "--formats",
        "rtstruct",
        "--names",
        str(tmp_path / "names.toml"),
        "--holes",
        "xor",
        "--deterministic",
    ]
    uid = str(pydicom.dcmread(min(folder.iterdir())).SeriesInstanceUID)
    reading = ["--select", "AcquisitionNumber=4", "--series", uid[-9:], "--fill-gaps", "1"]
    with pytest.raises(SystemExit) as left:
        app.main([*wanted, *dicom, *reading])
    assert left.value.code == 3
    assert "--rectify" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        app.main([*wanted, *dicom, *reading, "--rectify", "--organs", "heart"])
    assert left.value.code in (None, 0)
    record = json.loads(capsys.readouterr().out)
    assert record["input"]["rectified"]
    assert set(record["outputs"]) == {"rtstruct.dcm"}
    ds = pydicom.dcmread(tmp_path / "out" / "rtstruct.dcm")
    assert [item.ROIName for item in ds.StructureSetROISequence] == ["Heart AI"]


def test_dicom_outputs_of_what_is_no_dicom_are_refused_before_the_model_is_loaded(
    tmp_path: Path, write_scan, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_scan(tmp_path / "a.nii.gz")
    given = ["segment", str(path), "-o", str(tmp_path / "out"), "--formats", "rtstruct", "--model", "no-such"]
    with pytest.raises(SystemExit) as left:
        app.main(given)
    assert left.value.code == 2
    assert "thoar convert --like" in capsys.readouterr().err


def test_a_batch_is_resumed(tmp_path: Path, run: Run) -> None:
    assert run(damaged=True)[0] == 8
    code, out, err = run("--resume")
    assert (code, out) == (0, f"2 cases: 1 done, 1 skipped (see {tmp_path / 'out' / 'summary.json'})\n")
    assert "a: done in " in err
    assert "b: was finished before (2 of 2)" in err
    assert run()[0] == 2


@pytest.fixture
def run_one(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Segment one scan."""

    def run_one(path: Path, *options: str) -> tuple[int, str, str]:
        wanted = ["segment", str(path), "-o", str(tmp_path / "out"), "--model", str(model), *options]
        with pytest.raises(SystemExit) as left:
            app.main(wanted)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run_one


def test_one_scan_is_resumed_without_being_made_again(tmp_path: Path, write_scan, run_one: Run) -> None:
    path = write_scan(tmp_path / "a.nii.gz")
    assert run_one(path, "--resume")[0] == 0
    made = (tmp_path / "out" / "run.json").stat().st_mtime_ns
    code, out, err = run_one(path, "--resume")
    assert (code, err) == (0, "a: was finished before\n")
    assert "results: " in out
    assert (tmp_path / "out" / "run.json").stat().st_mtime_ns == made
    (tmp_path / "out" / "segmentation.nii.gz").write_bytes(b"drawn by hand")
    assert run_one(path, "--resume")[0] == 2
    assert run_one(path, "--resume", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 3, "is not a NIfTI file"),
        (("--model", "no-such-model"), 5, "no-such-model"),
        (("--organs", "liver"), 3, "liver"),
        (("--device", "abacus"), 2, "abacus"),
        (("--formats", "rtstruct"), 2, "thoar convert --like"),
        (("--formats", "jpeg"), 2, "jpeg"),
    ],
)
def test_what_is_wrong_is_told_though_the_scan_was_being_read(
    tmp_path: Path, write_scan, run_one: Run, options: tuple[str, ...], code: int, said: str
) -> None:
    path = write_scan(tmp_path / "a.nii")
    if not options:
        path.write_bytes(b"no scan")
    found, out, err = run_one(path, *options)
    assert (found, out) == (code, "")
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
