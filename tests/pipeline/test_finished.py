import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thoar.core.errors import PartialFailureError, UsageError
from thoar.io.dicom.records import ReadOptions
from thoar.pipeline import finished as finished_module
from thoar.pipeline import reading as reading_module
from thoar.pipeline.batch import segment_cases
from thoar.pipeline.case import segment_case
from thoar.pipeline.finished import request_digest
from thoar.pipeline.inputs import InputCase, find_cases
from thoar.pipeline.outputs import WriteOptions
from thoar.pipeline.request import Request

Load = Callable[..., Any]
Change = Callable[[Path, Path], object]


@pytest.fixture
def patient(tmp_path: Path, write_scan) -> InputCase:
    return InputCase(id="patient", path=write_scan(tmp_path / "in" / "patient.nii.gz"))


def never(*_: Any, **__: Any) -> Any:
    pytest.fail("a finished case was read")


def test_finished_results_stay_and_the_scan_is_not_read(
    tmp_path: Path, patient: InputCase, segmenter: Load, snapshot: Any, monkeypatch, caplog
) -> None:
    first = segment_case(segmenter(), patient, tmp_path / "out")
    before = snapshot(tmp_path)
    monkeypatch.setattr(reading_module, "read_scan", never)
    with caplog.at_level(logging.INFO, "thoar"):
        assert segment_case(segmenter(), patient, tmp_path / "out", resume=True) == first
    assert snapshot(tmp_path) == before
    assert "patient: was finished before" in caplog.text
    assert segment_case(segmenter(overwrite=True), patient, tmp_path / "out", resume=True) == first


def test_where_nothing_is_there_a_resumed_run_begins(
    tmp_path: Path, patient: InputCase, segmenter: Load, names: Any
) -> None:
    segment_case(segmenter(), patient, tmp_path / "out", resume=True)
    assert names(tmp_path / "out") == {"segmentation.nii.gz", "overview.png", "run.json"}


def edit_record(out: Path, key: str, value: object) -> None:
    record = json.loads((out / "run.json").read_bytes())
    (out / "run.json").write_text(json.dumps({**record, key: value}))


STALE: dict[str, tuple[Change, dict[str, Any], str]] = {
    "changed by hand": (
        lambda out, _: (out / "segmentation.nii.gz").write_bytes(b"drawn by hand"),
        {},
        "segmentation.nii.gz was changed or taken away since",
    ),
    "taken away": (lambda out, _: (out / "overview.png").unlink(), {}, "overview.png was changed or taken"),
    "other input": (lambda _, scan: scan.write_bytes(b"no scan"), {}, "made of another input"),
    "other organs": (lambda *_: None, {"organs": ("heart",)}, "other organs, formats or options"),
    "other formats": (lambda *_: None, {"formats": ("nrrd",)}, "other organs, formats or options"),
    "other options": (lambda *_: None, {"coarse": True}, "other organs, formats or options"),
    "other model": (
        lambda out, _: edit_record(out, "model", {**model_of(out), "manifest_sha256": "f" * 64}),
        {},
        "made with another model",
    ),
    "other version": (
        lambda out, _: edit_record(out, "versions", {"thoar": "0.0.1"}),
        {},
        "another version of thoar",
    ),
    "older schema": (lambda out, _: edit_record(out, "one_more", 1), {}, "damaged, or not from this version"),
    "damaged record": (lambda out, _: (out / "run.json").write_bytes(b"\xff"), {}, "run.json is damaged"),
}


def model_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "run.json").read_bytes())["model"]


@pytest.mark.parametrize("kind", STALE)
def test_other_results_are_left_as_they_are_unless_they_may_be_replaced(
    tmp_path: Path, patient: InputCase, segmenter: Load, write_scan, snapshot: Any, kind: str
) -> None:
    change, wanted, why = STALE[kind]
    segment_case(segmenter(), patient, tmp_path / "out")
    change(tmp_path / "out", patient.path)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=f"left as they are: .*{why}.*--overwrite"):
        segment_case(segmenter(**wanted), patient, tmp_path / "out", resume=True)
    assert snapshot(tmp_path) == before
    write_scan(patient.path, 30)
    made = segment_case(segmenter(overwrite=True, **wanted), patient, tmp_path / "out", resume=True)
    again = segment_case(segmenter(**wanted), patient, tmp_path / "out", resume=True)
    assert again == made


def test_results_that_no_record_tells_of_are_left_as_they_are(
    tmp_path: Path, patient: InputCase, segmenter: Load, snapshot: Any
) -> None:
    theirs = tmp_path / "out" / "segmentation.nii.gz"
    theirs.parent.mkdir()
    theirs.write_bytes(b"drawn by hand")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="holds results already"):
        segment_case(segmenter(), patient, tmp_path / "out", resume=True)
    assert snapshot(tmp_path) == before


def test_a_batch_goes_on_past_a_case_that_somebody_has_corrected(
    tmp_path: Path, write_scan, segmenter: Load, snapshot: Any
) -> None:
    for name in "abc":
        write_scan(tmp_path / "scans" / f"{name}.nii.gz")
    cases, out = find_cases(tmp_path / "scans"), tmp_path / "out"
    segment_cases(segmenter(), cases, out)
    (out / "a" / "segmentation.nii.gz").write_bytes(b"drawn by hand")
    shutil.rmtree(out / "b")
    with pytest.raises(PartialFailureError, match="3 cases: 1 done, 1 skipped, 1 failed"):
        segment_cases(segmenter(), cases, out, resume=True)
    lines = json.loads((out / "summary.json").read_bytes())
    assert [line["outcome"] for line in lines] == ["failed", "done", "skipped"]
    assert lines[0]["error"].startswith("a: holds results that were left as they are")
    assert lines[2]["warnings"] == json.loads((out / "c" / "run.json").read_bytes())["warnings"]
    assert (out / "a" / "segmentation.nii.gz").read_bytes() == b"drawn by hand"
    assert [line.outcome for line in segment_cases(segmenter(overwrite=True), cases, out, resume=True)] == [
        "done", "skipped", "skipped",
    ]  # fmt: skip


@pytest.fixture
def killed(tmp_path: Path, patient: InputCase, segmenter: Load) -> Callable[[int], Path]:
    """Leave results as a run does that is killed when so many of its three files are in place."""

    def leave(moved: int) -> Path:
        out = tmp_path / "out"
        segment_case(segmenter(), patient, out)
        unmoved = ["overview.png", "segmentation.nii.gz", "run.json"][moved:]
        (out / ".thoar-1234" / "new").mkdir(parents=True)
        (out / ".thoar-1234" / "lock").touch()
        for name in unmoved:
            (out / name).rename(out / ".thoar-1234" / "new" / name)
        return out

    return leave


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_results_that_were_being_moved_into_place_get_there(
    patient: InputCase, segmenter: Load, killed: Any, names: Any, monkeypatch, moved: int
) -> None:
    out = killed(moved)
    monkeypatch.setattr(reading_module, "read_scan", never)
    segment_case(segmenter(), patient, out, resume=True)
    assert names(out) == {"segmentation.nii.gz", "overview.png", "run.json"}


def test_nothing_is_replaced_by_results_that_were_to_be_moved_into_place(
    patient: InputCase, segmenter: Load, killed: Any, names: Any
) -> None:
    out = killed(0)
    (out / "segmentation.nii.gz").write_bytes(b"drawn by hand")
    with pytest.raises(UsageError, match="holds results already"):
        segment_case(segmenter(), patient, out, resume=True)
    assert (out / "segmentation.nii.gz").read_bytes() == b"drawn by hand"
    assert names(out) == {"segmentation.nii.gz"}


@pytest.mark.parametrize("lost", ["segmentation.nii.gz", "run.json"])
def test_unfinished_results_are_made_anew(
    patient: InputCase, segmenter: Load, killed: Any, names: Any, lost: str
) -> None:
    out = killed(0)
    (out / ".thoar-1234" / "new" / lost).unlink()
    segment_case(segmenter(), patient, out, resume=True)
    assert names(out) == {"segmentation.nii.gz", "overview.png", "run.json"}


def test_what_a_killed_run_left_goes_without_resuming_too(
    patient: InputCase, segmenter: Load, killed: Any, names: Any
) -> None:
    out = killed(0)
    segment_case(segmenter(), patient, out)
    assert names(out) == {"segmentation.nii.gz", "overview.png", "run.json"}


def test_what_changes_no_result_does_not_change_the_digest_of_a_request() -> None:
    plain = request_digest(Request(), ("heart",))
    other = Request(device="cuda", overwrite=True, model="other", max_ram_bytes=1, max_vram_bytes=1)
    assert request_digest(other, ("heart",)) == plain


@pytest.mark.parametrize(
    "other",
    [
        Request(deterministic=True),
        Request(reading=ReadOptions(rectify=True)),
        Request(writing=WriteOptions(holes="xor")),
        Request(writing=WriteOptions(names={"heart": "Heart AI"})),
    ],
)
def test_what_changes_results_changes_the_digest_of_a_request(other: Request) -> None:
    assert request_digest(other, ("heart",)) != request_digest(Request(), ("heart",))
    assert request_digest(other, ("heart", "aorta")) != request_digest(other, ("heart",))


def test_every_field_of_a_request_that_is_said_to_have_no_effect_is_one() -> None:
    known = {field.name for field in dataclasses.fields(Request)}
    assert known.issuperset(finished_module._WITHOUT_EFFECT)


def test_of_an_rtstruct_to_append_to_the_content_counts(tmp_path: Path) -> None:
    digests = set()
    for name, content in (("a.dcm", b"one"), ("b.dcm", b"one"), ("c.dcm", b"two")):
        (tmp_path / name).write_bytes(content)
        writing = WriteOptions(formats=("rtstruct",), append_to=tmp_path / name)
        digests.add(request_digest(Request(writing=writing), ("heart",)))
    assert len(digests) == 2
