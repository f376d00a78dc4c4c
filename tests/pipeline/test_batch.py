import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from thoar.core.errors import PartialFailureError, ResourceError, UsageError
from thoar.datasets.scans import Scan
from thoar.inference.predictor import Predictor
from thoar.io.formats import read_volume
from thoar.pipeline import batch as batch_module
from thoar.pipeline import case as case_module
from thoar.pipeline import outputs as outputs_module
from thoar.pipeline import reading as reading_module
from thoar.pipeline.batch import CaseSummary, segment_cases, summed_up
from thoar.pipeline.case import segment_case
from thoar.pipeline.inputs import find_cases
from thoar.pipeline.workplace import workplace

Load = Callable[..., Any]
PATIENCE_S = 20.0


@pytest.fixture
def scans(tmp_path: Path, write_scan) -> Path:
    """Three scans in files of different kinds, and a label map that is none."""
    for name, shift in (("a.nii.gz", 0), ("b.nrrd", 50), ("c.mha", 100)):
        write_scan(tmp_path / "scans" / name, shift)
    write_scan(tmp_path / "scans" / "GT.nii.gz")
    return tmp_path / "scans"


def summary(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "summary.json").read_bytes())


def outcomes(out: Path) -> str:
    return ", ".join(f"{line['case_id']} {line['outcome']}" for line in summary(out))


def comparable(files: dict[str, bytes]) -> dict[str, Any]:
    """Return all results but the summary, and of run records all but what differs from run to run."""
    found: dict[str, Any] = {name: content for name, content in files.items() if name != "summary.json"}
    records = {name: json.loads(content) for name, content in found.items() if name.endswith("run.json")}
    return {
        **found,
        **{name: {**record, "seconds": None, "memory": None} for name, record in records.items()},
    }


def test_every_case_gets_a_folder_and_the_summary_a_line(
    tmp_path: Path, scans: Path, segmenter: Load, names: Any, snapshot: Any
) -> None:
    before, out = snapshot(scans), tmp_path / "out"
    summaries = segment_cases(segmenter(), find_cases(scans), out)
    assert names(out) == {"a", "b", "c", "summary.json"}
    assert all(names(out / n) == {"segmentation.nii.gz", "overview.png", "run.json"} for n in "abc")
    assert summary(out) == json.loads(msgspec.json.encode(summaries))
    for line in summary(out):
        record = json.loads((out / line["case_id"] / "run.json").read_bytes())
        assert line["outcome"] == "done"
        assert line["warnings"] == record["warnings"] != []
        assert line["seconds"] == pytest.approx(sum(record["seconds"].values()), abs=1e-3)
    assert snapshot(scans) == before


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_case_of_a_batch_is_the_case_alone(
    tmp_path: Path, scans: Path, segmenter: Load, snapshot: Any, ahead: Any
) -> None:
    segment_cases(segmenter(), find_cases(scans), tmp_path / "out", ahead=ahead)
    (case,) = find_cases(scans / "b.nrrd")
    segment_case(segmenter(), case, tmp_path / "alone")
    assert comparable(snapshot(tmp_path / "out" / "b")) == comparable(snapshot(tmp_path / "alone"))


def test_a_batch_does_the_others_when_one_fails(
    tmp_path: Path, scans: Path, segmenter: Load, caplog, names: Any
) -> None:
    (scans / "b.nrrd").write_bytes(b"no scan")
    out, told = tmp_path / "out", []
    with pytest.raises(PartialFailureError) as caught:
        segment_cases(segmenter(), find_cases(scans), out, on_case=told.append)
    assert str(caught.value) == f"3 cases: 2 done, 1 failed (see {out / 'summary.json'})"
    assert [line.case_id for line in told] == ["a", "b", "c"]
    assert names(out) == {"a", "c", "summary.json"}
    assert outcomes(out) == "a done, b failed, c done"
    failed = summary(out)[1]
    assert failed["error_kind"] == "UnsupportedFormatError"
    assert failed["error"].startswith("b.nrrd: ")
    assert str(tmp_path) not in json.dumps(summary(out))
    assert f"b: {scans / 'b.nrrd'}: " in caplog.text


def test_an_error_names_files_from_the_input_on(tmp_path: Path, write_scan, segmenter: Load) -> None:
    for name in ("one", "two"):
        write_scan(tmp_path / "data" / name / "ct.nii.gz")
    (tmp_path / "data" / "two" / "ct.nii.gz").write_bytes(b"no scan")
    entries = (f'[[cases]]\nid = "{name}"\nimage = "{name}/ct.nii.gz"\n' for name in ("one", "two"))
    (tmp_path / "data" / "dataset.toml").write_text("".join(entries))
    with pytest.raises(PartialFailureError):
        segment_cases(segmenter(), find_cases(tmp_path / "data"), tmp_path / "out")
    assert summary(tmp_path / "out")[1]["error"].startswith("two/ct.nii.gz: ")


TROUBLES = pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        (OSError(errno.EACCES, "Permission denied", "b"), "InputError", "Permission denied"),
        (ValueError("no such axis"), "ValueError", "no such axis"),
        (KeyError(), "KeyError", "KeyError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)


@pytest.fixture
def fails(tmp_path: Path, scans: Path, segmenter: Load, caplog) -> Callable[[str, str], None]:
    """Segment the scans, of which b fails alone."""

    def check(kind: str, said: str) -> None:
        with pytest.raises(PartialFailureError, match="3 cases: 2 done, 1 failed"):
            segment_cases(segmenter(), find_cases(scans), tmp_path / "out")
        assert outcomes(tmp_path / "out") == "a done, b failed, c done"
        assert summary(tmp_path / "out")[1]["error_kind"] == kind
        assert said in summary(tmp_path / "out")[1]["error"]
        assert ("Traceback" in caplog.text) == (kind not in ("InputError", "ResourceError"))
        assert not list(tmp_path.rglob(".thoar-*"))

    return check


@TROUBLES
def test_a_case_that_cannot_be_read_for_whatever_reason_does_not_stop_the_others(
    monkeypatch, fails: Any, trouble: Exception, kind: str, said: str
) -> None:
    def read(path: Path, _: Any) -> Any:
        if path.name == "b.nrrd":
            raise trouble
        return Scan(volume=read_volume(path))

    monkeypatch.setattr(reading_module, "read_scan", read)
    fails(kind, said)


@TROUBLES
def test_a_case_that_cannot_be_written_for_whatever_reason_does_not_stop_the_others(
    monkeypatch, fails: Any, trouble: Exception, kind: str, said: str
) -> None:
    def write(*given: Any, **wanted: Any) -> Any:
        if wanted["title"] == "b":
            raise trouble
        return outputs_module.write_outputs(*given, **wanted)

    monkeypatch.setattr(case_module, "write_outputs", write)
    fails(kind, said)


def test_a_scan_too_large_to_read_does_not_stop_the_others(monkeypatch, fails: Any) -> None:
    def read(path: Path, _: Any) -> Any:
        if path.name == "b.nrrd":
            raise MemoryError
        return Scan(volume=read_volume(path))

    monkeypatch.setattr(reading_module, "read_scan", read)
    fails("ResourceError", "b.nrrd: not enough memory to read it")


def test_running_out_of_memory_while_predicting_does_not_stop_the_others(
    tmp_path: Path, scans: Path, segmenter: Load, monkeypatch, caplog
) -> None:
    predict, calls = Predictor.predict, []

    def short_of_memory(*given: Any, **wanted: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return predict(*given, **wanted)

    monkeypatch.setattr(Predictor, "predict", short_of_memory)
    with pytest.raises(PartialFailureError):
        segment_cases(segmenter(), find_cases(scans), tmp_path / "out")
    assert outcomes(tmp_path / "out") == "a failed, b done, c done"
    assert summary(tmp_path / "out")[0]["error"] == "MemoryError"
    assert "Traceback" in caplog.text


def test_a_batch_refuses_existing_results_before_it_begins(
    tmp_path: Path, scans: Path, segmenter: Load, snapshot: Any
) -> None:
    (tmp_path / "out" / "c").mkdir(parents=True)
    (tmp_path / "out" / "c" / "run.json").write_text("{}")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="--overwrite"):
        segment_cases(segmenter(), find_cases(scans), tmp_path / "out")
    assert snapshot(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, scans: Path, segmenter: Load) -> None:
    (tmp_path / "file").write_text("no folder")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UsageError, match="file: is a file; give a folder"):
            segment_cases(segmenter(), find_cases(scans), out)


def test_two_runs_do_not_share_a_folder(tmp_path: Path, scans: Path, segmenter: Load, names: Any) -> None:
    (tmp_path / "out").mkdir()
    with workplace(tmp_path / "out"), pytest.raises(UsageError, match="another run is at work"):
        segment_cases(segmenter(), find_cases(scans), tmp_path / "out")
    assert names(tmp_path / "out") == set()


def test_a_data_set_is_segmented_without_its_ground_truth(
    tmp_path: Path, write_scan, segmenter: Load, monkeypatch, names: Any, snapshot: Any
) -> None:
    for name in ("Patient_01", "Patient_02"):
        write_scan(tmp_path / "data" / name / f"{name}.nii.gz")
        write_scan(tmp_path / "data" / name / "GT.nii.gz")
    read: list[str] = []

    def noted(path: Path, _: Any) -> Any:
        read.append(path.name)
        return Scan(volume=read_volume(path))

    monkeypatch.setattr(reading_module, "read_scan", noted)
    before = snapshot(tmp_path / "data")
    segment_cases(segmenter(), find_cases(tmp_path / "data"), tmp_path / "out")
    assert read == ["Patient_01.nii.gz", "Patient_02.nii.gz"]
    assert names(tmp_path / "out") == {"Patient_01", "Patient_02", "summary.json"}
    assert snapshot(tmp_path / "data") == before


def test_one_scan_is_read_and_one_is_written_while_one_is_drawn(
    tmp_path: Path, scans: Path, segmenter: Load, monkeypatch
) -> None:
    predict, read_scan = Predictor.predict, reading_module.read_scan
    read, told = {name: threading.Event() for name in "abc"}, {name: threading.Event() for name in "abc"}
    needs = iter([[read["b"]], [read["c"], told["a"]], [told["b"]]])

    def noted(path: Path, options: Any) -> Any:
        scan = read_scan(path, options)
        read[path.name[0]].set()
        return scan

    def waiting(*given: Any, **wanted: Any) -> Any:
        assert threading.current_thread() is threading.main_thread()
        assert all(event.wait(PATIENCE_S) for event in next(needs))
        return predict(*given, **wanted)

    monkeypatch.setattr(reading_module, "read_scan", noted)
    monkeypatch.setattr(Predictor, "predict", waiting)
    segment_cases(
        segmenter(), find_cases(scans), tmp_path / "out", on_case=lambda line: told[line.case_id].set()
    )
    assert outcomes(tmp_path / "out") == "a done, b done, c done"


@pytest.mark.parametrize(("ahead", "most"), [(0, 1), (1, 3)])
def test_no_more_scans_are_in_memory_than_stages(
    tmp_path: Path, write_scan, segmenter: Load, monkeypatch, ahead: Any, most: int
) -> None:
    for number in range(6):
        write_scan(tmp_path / "scans" / f"{number}.nii.gz", number)
    (tmp_path / "scans" / "3.nii.gz").write_bytes(b"no scan")
    alive: list[weakref.ref] = []
    counts: list[int] = []

    def counted(path: Path, _: Any) -> Any:
        volume = read_volume(path)
        alive.append(weakref.ref(volume.voxels))
        counts.append(sum(scan() is not None for scan in alive))
        return Scan(volume=volume)

    def slow_to_write(*given: Any, **wanted: Any) -> Any:
        time.sleep(0.05)  # reading and predicting are faster, so that scans would heap up
        return outputs_module.write_outputs(*given, **wanted)

    monkeypatch.setattr(reading_module, "read_scan", counted)
    monkeypatch.setattr(case_module, "write_outputs", slow_to_write)
    with pytest.raises(PartialFailureError):
        segment_cases(segmenter(), find_cases(tmp_path / "scans"), tmp_path / "out", ahead=ahead)
    assert len(counts) == 5
    assert max(counts) == most


def test_warnings_of_cases_in_work_at_once_are_not_mixed_up(
    tmp_path: Path, scans: Path, segmenter: Load, monkeypatch
) -> None:
    together = threading.Barrier(2)
    read_scan, said = reading_module.read_scan, batch_module._log

    def talk(name: str) -> None:
        together.wait(PATIENCE_S)
        for _ in range(200):
            said.warning("%s is dubious", name)
        together.wait(PATIENCE_S)

    def talking_reader(path: Path, options: Any) -> Any:
        if path.name == "c.mha":
            talk("reading c")
        return read_scan(path, options)

    def talking_writer(*given: Any, **wanted: Any) -> Any:
        if wanted["title"] == "a":
            talk("writing a")
        return outputs_module.write_outputs(*given, **wanted)

    monkeypatch.setattr(reading_module, "read_scan", talking_reader)
    monkeypatch.setattr(case_module, "write_outputs", talking_writer)
    segment_cases(segmenter(), find_cases(scans), tmp_path / "out")
    found = {
        line["case_id"]: [text for text in line["warnings"] if "dubious" in text]
        for line in summary(tmp_path / "out")
    }
    assert found == {"a": ["writing a is dubious"], "b": [], "c": ["reading c is dubious"]}


def test_the_summary_tells_at_any_time_how_far_the_batch_came(
    tmp_path: Path, scans: Path, segmenter: Load
) -> None:
    out, seen = tmp_path / "out", []
    segment_cases(segmenter(), find_cases(scans), out, on_case=lambda _: seen.append(outcomes(out)))
    assert seen == [
        "a done, b to do, c to do",
        "a done, b done, c to do",
        "a done, b done, c done",
    ]


def test_a_full_disk_ends_the_batch_and_what_is_done_stays(
    tmp_path: Path, scans: Path, segmenter: Load, monkeypatch, names: Any, caplog
) -> None:
    out = tmp_path / "out"

    def full(*given: Any, **wanted: Any) -> Any:
        if wanted["title"] == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return outputs_module.write_outputs(*given, **wanted)

    monkeypatch.setattr(case_module, "write_outputs", full)
    with pytest.raises(ResourceError, match="b: No space left"):
        segment_cases(segmenter(), find_cases(scans), out)
    assert outcomes(out) == "a done, b failed, c to do"
    assert names(out / "b") == set()
    assert "1 done, 1 failed, 1 to do" in caplog.text
    assert "--resume" in caplog.text
    monkeypatch.undo()
    segment_cases(segmenter(), find_cases(scans), out, resume=True)
    assert outcomes(out) == "a skipped, b done, c done"


def test_an_interruption_ends_the_batch_and_what_is_done_stays(
    tmp_path: Path, scans: Path, segmenter: Load, monkeypatch, names: Any
) -> None:
    out, predict, calls = tmp_path / "out", Predictor.predict, []

    def interrupted(*given: Any, **wanted: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*given, **wanted)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_cases(segmenter(), find_cases(scans), out)
    assert outcomes(out) == "a done, b to do, c to do"
    assert names(out) == {"a", "summary.json"}
    assert names(out / "a") == {"segmentation.nii.gz", "overview.png", "run.json"}
    assert {thread.name for thread in threading.enumerate()} == {"MainThread"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_batch_that_is_ended_and_resumed_gives_what_an_undisturbed_one_does(
    tmp_path: Path,
    write_scan,
    model: Path,
    segmenter: Load,
    names: Any,
    snapshot: Any,
    number: signal.Signals,
) -> None:
    for n in range(6):
        write_scan(tmp_path / "scans" / f"{n}.nii.gz", 20 * n)
    out = tmp_path / "out"
    wanted = ["segment", tmp_path / "scans", "-o", out, "--model", model, "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-m", "thoar", *map(str, wanted)], stderr=subprocess.PIPE) as run:
        until = time.monotonic() + 60
        while not (out / "2" / "run.json").is_file():
            assert time.monotonic() < until
            assert run.poll() is None, run.stderr
            time.sleep(0.001)
        run.send_signal(number)
        run.communicate()
    assert run.returncode == (-9 if number is signal.SIGKILL else 143)
    done = [line["case_id"] for line in summary(out) if line["outcome"] == "done"]
    assert {"0", "1"} <= set(done) < set("012345")
    if number is signal.SIGTERM:
        assert not list(out.rglob(".*"))
    kept = {name: (out / name / "run.json").stat().st_mtime_ns for name in done}

    segment_cases(segmenter(), find_cases(tmp_path / "scans"), out, resume=True)
    assert {name: (out / name / "run.json").stat().st_mtime_ns for name in done} == kept
    assert {line["case_id"] for line in summary(out) if line["outcome"] == "skipped"} >= set(done)
    segment_cases(segmenter(), find_cases(tmp_path / "scans"), tmp_path / "undisturbed")
    assert comparable(snapshot(out)) == comparable(snapshot(tmp_path / "undisturbed"))


def test_the_sum_of_a_batch_is_one_line(tmp_path: Path) -> None:
    ends = ["done"] * 9 + ["skipped"] * 2 + ["failed"]
    lines = [CaseSummary(case_id=str(n), outcome=end) for n, end in enumerate(ends)]
    assert summed_up(lines, Path("OUT")) == "12 cases: 9 done, 2 skipped, 1 failed (see OUT/summary.json)"
    assert summed_up(lines[:1], Path("OUT")) == "1 case: 1 done (see OUT/summary.json)"
