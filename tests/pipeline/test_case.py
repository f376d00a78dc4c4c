import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)
from PIL import Image

from thoar.core.box import Box
from thoar.core.errors import (
    ConfigError,
    InputError,
    LabelError,
    ModelError,
    ResourceError,
    UsageError,
)
from thoar.core.labels import SEGTHOR
from thoar.datasets.scans import Scan
from thoar.inference.manifest import MANIFEST
from thoar.io.formats import read_labels, read_volume
from thoar.pictures import png as png_module
from thoar.pipeline import case as case_module
from thoar.pipeline import outputs as outputs_module
from thoar.pipeline import reading as reading_module
from thoar.pipeline import workplace as workplace_module
from thoar.pipeline.case import segment_case
from thoar.pipeline.inputs import InputCase, find_cases
from thoar.pipeline.outputs import WriteOptions
from thoar.pipeline.record import RunRecord
from thoar.pipeline.request import Request, load_segmenter

Load = Callable[..., Any]


@pytest.fixture
def patient(tmp_path: Path, write_scan) -> InputCase:
    path = write_scan(tmp_path / "in" / "patient.nii.gz")
    return InputCase(id="patient", path=path)


def test_a_case_becomes_a_label_map_a_picture_and_a_record(
    tmp_path: Path, patient: InputCase, segmenter: Load, names: Any
) -> None:
    load = segmenter()
    record = segment_case(load, patient, tmp_path / "out")
    assert names(tmp_path / "out") == {"segmentation.nii.gz", "overview.png", "run.json"}
    volume = read_volume(patient.path)
    labels = read_labels(tmp_path / "out" / "segmentation.nii.gz", SEGTHOR)
    assert labels.geometry.same_grid(volume.geometry)
    expected = load.predictor.predict(volume)
    assert np.array_equal(labels.voxels, expected.label_volume().voxels)
    assert labels.voxels.any()
    with Image.open(tmp_path / "out" / "overview.png") as picture:
        assert picture.mode == "RGB"
        assert min(picture.size) > 300
    assert {name: organ.box_zyx for name, organ in record.organs.items()} == {
        organ.organ.name: organ.box_zyx for organ in expected.organs
    }


def test_the_record_on_disk_is_the_record(tmp_path: Path, patient: InputCase, segmenter: Load) -> None:
    record = segment_case(segmenter(), patient, tmp_path / "out")
    content = (tmp_path / "out" / "run.json").read_bytes()
    read = msgspec.json.decode(content, type=RunRecord)
    assert read == record
    assert all(isinstance(organ.box_zyx, Box) for organ in read.organs.values())


def test_the_record_holds_all_that_a_result_depends_on(
    tmp_path: Path, patient: InputCase, segmenter: Load, model: Path
) -> None:
    load = segmenter(organs=("aorta", "heart"))
    segment_case(load, patient, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert set(record) == {
        "schema", "case_id", "versions", "device", "precision", "threads", "input", "model",
        "organs_requested", "request_sha256", "organs", "overlaps_ml", "short_scan", "seems_mirrored",
        "preparation", "seconds", "memory", "structures", "outputs", "warnings",
    }  # fmt: skip
    assert record["schema"] == "thoar.run/3"
    assert record["case_id"] == "patient"
    assert record["device"] == "cpu"
    assert record["precision"] == load.predictor.precision.name
    assert record["threads"] == 1
    assert record["input"] == {
        "name": "patient.nii.gz",
        "sha256": hashlib.sha256(patient.path.read_bytes()).hexdigest(),
        "shape_zyx": [20, 44, 56],
        "spacing_zyx_mm": pytest.approx([3.0, 2.0, 2.0]),
        "slices": None,
        "rectified": False,
    }
    assert record["model"]["manifest_sha256"] == hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest()
    assert record["model"]["configuration"]["network"]["stem_channels"] == 2
    assert record["organs_requested"] == ["heart", "aorta"]
    assert set(record["organs"]) == {"heart", "aorta"}
    for name, organ in record["organs"].items():
        assert set(organ) == {"id", "volume_ml", "box_zyx", "flags"}
        assert organ["id"] == SEGTHOR.organ(name).id
        assert set(organ["flags"]) == {
            "not_found", "cut_by_scan", "regrown", "touches_box", "several_components", "removed_components",
            "coarse_fine_disagree", "coarse_fine_dice", "unusual_volume",
        }  # fmt: skip
    assert set(record["seconds"]) == {"read", "prepare", "encode", "locate", "draw", "paste", "write"}
    assert record["short_scan"] is True
    assert "the scan is short" in record["warnings"][0]
    assert record["outputs"] == {
        name: hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()
        for name in ("overview.png", "segmentation.nii.gz")
    }
    assert str(tmp_path) not in json.dumps(record)


def test_volumes_of_the_record_are_those_of_each_organ_s_own_mask(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    load = segmenter(probabilities=True)
    record = segment_case(load, patient, tmp_path / "out")
    assert record.overlaps_ml
    much = {
        pair
        for pair, shared_ml in record.overlaps_ml.items()
        if shared_ml > 0.05 * min(record.organs[name].volume_ml for name in pair.split("+"))
    }
    assert much
    said = {" ".join(line.split(" ")[:3]) for line in record.warnings if " share " in line}
    assert said == {" and ".join(pair.split("+")) for pair in much}
    for name, organ in record.organs.items():
        probability = read_volume(tmp_path / "out" / f"probability_{name}.nii.gz").voxels
        assert organ.volume_ml == pytest.approx((probability >= 0.5).sum() * 0.012, abs=1e-3)
        assert organ.box_zyx is not None
        outside = probability.copy()
        outside[organ.box_zyx.slices] = 0
        assert not outside.any()


@pytest.mark.parametrize(("name", "suffix"), [("nifti", ".nii.gz"), ("nrrd", ".nrrd"), ("mha", ".mha")])
def test_every_format_holds_the_same_on_the_same_grid(
    tmp_path: Path, patient: InputCase, segmenter: Load, name: str, suffix: str, names: Any
) -> None:
    load = segmenter(formats=(name,), coarse=True, probabilities=True)
    segment_case(load, patient, tmp_path / "out")
    stems = ["segmentation", "coarse", *(f"probability_{organ}" for organ in SEGTHOR.names)]
    assert names(tmp_path / "out") == {"run.json", *(stem + suffix for stem in stems)}
    expected = load.predictor.predict(read_volume(patient.path))
    labels = read_labels(tmp_path / "out" / f"segmentation{suffix}", SEGTHOR)
    assert np.array_equal(labels.voxels, expected.label_volume().voxels)
    assert labels.geometry.same_grid(expected.geometry)
    probability = read_volume(tmp_path / "out" / f"probability_heart{suffix}")
    assert np.array_equal(probability.voxels, expected.probability("heart").voxels)
    coarse = read_labels(tmp_path / "out" / f"coarse{suffix}", SEGTHOR)
    assert coarse.geometry.same_grid(expected.coarse.geometry)
    assert coarse.voxels.any()


def test_several_formats_at_once(tmp_path: Path, patient: InputCase, segmenter: Load, names: Any) -> None:
    segment_case(segmenter(formats=("mha", "png", "nrrd")), patient, tmp_path / "out")
    assert names(tmp_path / "out") == {"segmentation.mha", "segmentation.nrrd", "overview.png", "run.json"}


def test_a_picture_alone(tmp_path: Path, patient: InputCase, segmenter: Load, names: Any) -> None:
    segment_case(segmenter(formats=("png",)), patient, tmp_path / "out")
    assert names(tmp_path / "out") == {"overview.png", "run.json"}


def test_the_same_command_gives_the_same_bytes(
    tmp_path: Path, patient: InputCase, segmenter: Load, snapshot: Any
) -> None:
    for name in ("one", "two"):
        segment_case(segmenter(coarse=True, probabilities=True), patient, tmp_path / name)
    one, two = snapshot(tmp_path / "one"), snapshot(tmp_path / "two")
    records = [json.loads(files.pop("run.json")) for files in (one, two)]
    assert one == two
    for record in records:
        assert all(record.pop(name) for name in ("seconds", "memory"))
    assert records[0] == records[1]


def test_a_dicom_folder_is_segmented_and_left_as_it_was(
    tmp_path: Path, write_scan_series, segmenter: Load, scan, snapshot: Any
) -> None:
    folder = write_scan_series(tmp_path / "series")
    before = snapshot(folder)
    (case,) = find_cases(folder)
    record = segment_case(segmenter(), case, tmp_path / "out")
    assert snapshot(folder) == before
    labels = read_labels(tmp_path / "out" / "segmentation.nii.gz", SEGTHOR)
    assert labels.geometry.same_grid(scan.geometry)
    assert record.case_id == record.input.name == "series"
    assert (record.input.slices, record.input.rectified) == (20, False)
    for text in ("Nobody", "At all"):
        assert text not in (tmp_path / "out" / "run.json").read_text()


def test_results_do_not_go_into_a_dicom_folder(
    tmp_path: Path, write_scan_series, segmenter: Load, snapshot: Any
) -> None:
    folder = write_scan_series(tmp_path / "series")
    before = snapshot(folder)
    (case,) = find_cases(folder)
    for out in (folder, folder / "out", folder / ".." / "series" / "a" / "b"):
        with pytest.raises(UsageError, match="lies in the input"):
            segment_case(segmenter(overwrite=True), case, out)
    assert snapshot(folder) == before


def test_results_are_not_replaced_unasked(
    tmp_path: Path, patient: InputCase, segmenter: Load, snapshot: Any
) -> None:
    out = tmp_path / "out"
    segment_case(segmenter(), patient, out)
    before = snapshot(out)
    with pytest.raises(UsageError, match="--overwrite"):
        segment_case(segmenter(organs=("heart",)), patient, out)
    assert snapshot(out) == before


def test_results_are_replaced_when_asked_and_older_ones_leave(
    tmp_path: Path, patient: InputCase, segmenter: Load, names: Any
) -> None:
    out = tmp_path / "out"
    segment_case(segmenter(formats=("nrrd", "png"), coarse=True), patient, out)
    (out / "notes.txt").write_text("mine")
    (out / "probability_lung.nii.gz").write_bytes(b"mine too: no record lists it")
    record = segment_case(segmenter(overwrite=True, organs=("heart",)), patient, out)
    assert names(out) == {
        "segmentation.nii.gz", "overview.png", "run.json", "notes.txt", "probability_lung.nii.gz",
    }  # fmt: skip
    assert msgspec.json.decode((out / "run.json").read_bytes(), type=RunRecord) == record


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"outputs": {"../in/patient.nii.gz": ""}}'])
def test_an_older_record_of_any_content_can_be_replaced(
    tmp_path: Path, patient: InputCase, segmenter: Load, content: bytes, names: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_bytes(content)
    segment_case(segmenter(overwrite=True), patient, out)
    assert patient.path.is_file()
    assert names(out) == {"segmentation.nii.gz", "overview.png", "run.json"}


def test_a_label_map_of_somebody_else_is_not_replaced_unasked(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    theirs = tmp_path / "out" / "segmentation.nii.gz"
    theirs.parent.mkdir()
    theirs.write_bytes(b"drawn by hand")
    with pytest.raises(UsageError, match=r"segmentation\.nii\.gz"):
        segment_case(segmenter(), patient, theirs.parent)
    assert theirs.read_bytes() == b"drawn by hand"


def test_the_input_is_not_replaced_even_when_asked(
    tmp_path: Path, write_scan, segmenter: Load, snapshot: Any
) -> None:
    path = write_scan(tmp_path / "out" / "segmentation.nii.gz")
    before = snapshot(tmp_path)
    link = tmp_path / "patient.nii.gz"
    link.symlink_to(path)
    for given in (path, link):
        with pytest.raises(UsageError, match="inputs are never touched"):
            segment_case(segmenter(overwrite=True), InputCase(id="a", path=given), tmp_path / "out")
    link.unlink()
    assert snapshot(tmp_path) == before


def test_results_may_lie_beside_the_input(
    tmp_path: Path, patient: InputCase, segmenter: Load, names: Any
) -> None:
    before = patient.path.read_bytes()
    segment_case(segmenter(), patient, patient.path.parent)
    assert names(patient.path.parent) == {
        "patient.nii.gz", "segmentation.nii.gz", "overview.png", "run.json",
    }  # fmt: skip
    assert patient.path.read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        segment_case(segmenter(), patient, tmp_path / "out")


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (outputs_module, "write_labels"),
        (outputs_module, "write_volume"),
        (png_module, "write_png"),
        (case_module, "write_json"),
        (case_module, "digest_of"),
        (workplace_module.tempfile, "mkdtemp"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_all_older_results_or_none(
    tmp_path: Path,
    patient: InputCase,
    segmenter: Load,
    monkeypatch,
    place: Any,
    name: str,
    overwrite: bool,
    snapshot: Any,
) -> None:
    out = tmp_path / "out"
    if overwrite:
        segment_case(segmenter(), patient, out)
    before = snapshot(out)
    load = segmenter(probabilities=True, coarse=True, overwrite=overwrite)
    monkeypatch.setattr(place, name, full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        segment_case(load, patient, out)
    assert snapshot(out) == before
    assert not list(out.glob(".*"))
    monkeypatch.undo()
    segment_case(load, patient, out)


def test_a_folder_that_cannot_be_written_is_a_typed_error(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match="file: is a file; give a folder"):
        segment_case(segmenter(), patient, tmp_path / "file" / "out")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_no_matter_of_room(
    tmp_path: Path, patient: InputCase, segmenter: Load, monkeypatch, number: int
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workplace_module.tempfile, "mkdtemp", forbidden)
    with pytest.raises(InputError, match=f"{tmp_path / 'out'}: {os.strerror(number)}; check the path"):
        segment_case(segmenter(), patient, tmp_path / "out")


def test_a_folder_in_the_place_of_a_result_is_a_typed_error(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    (tmp_path / "out" / "segmentation.nii.gz" / "precious").mkdir(parents=True)
    with pytest.raises(UsageError):
        segment_case(segmenter(), patient, tmp_path / "out")
    with pytest.raises(InputError):
        segment_case(segmenter(overwrite=True), patient, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()
    assert (tmp_path / "out" / "segmentation.nii.gz" / "precious").is_dir()


def test_an_interruption_while_writing_leaves_nothing(
    tmp_path: Path, patient: InputCase, segmenter: Load, monkeypatch, names: Any
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(png_module, "write_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_case(segmenter(), patient, tmp_path / "out")
    assert names(tmp_path / "out") == set()


def test_the_record_comes_last(
    tmp_path: Path, patient: InputCase, segmenter: Load, monkeypatch, names: Any
) -> None:
    """Where a run record stands, all it lists stands beside it: a kill between renames shows."""
    seen: list[set[str]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target.parent == tmp_path / "out":
            seen.append({name for name in names(target.parent) if not name.startswith(".")})
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    segment_case(segmenter(), patient, tmp_path / "out")
    segment_case(segmenter(overwrite=True), patient, tmp_path / "out")
    assert len(seen) == 6
    assert all("run.json" not in present for present in seen)
    assert seen[2] == seen[5] == {"overview.png", "segmentation.nii.gz"}


def test_an_unreadable_scan_is_named_and_leaves_nothing(tmp_path: Path, segmenter: Load) -> None:
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"no scan")
    with pytest.raises(InputError, match=str(path)):
        segment_case(segmenter(), InputCase(id="broken", path=path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_without_a_patient_is_named_and_leaves_nothing(
    tmp_path: Path, write_scan, segmenter: Load, monkeypatch
) -> None:
    path = write_scan(tmp_path / "air.nii.gz")
    volume = read_volume(path)
    volume.voxels[:] = -1000
    monkeypatch.setattr(reading_module, "read_scan", lambda *_: Scan(volume=volume))
    with pytest.raises(InputError, match=f"{path}: no body found"):
        segment_case(segmenter(), InputCase(id="air", path=path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_too_large_to_read_is_a_matter_of_memory(
    tmp_path: Path, patient: InputCase, segmenter: Load, monkeypatch
) -> None:
    def too_large(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(reading_module, "read_scan", too_large)
    with pytest.raises(ResourceError, match=str(patient.path)):
        segment_case(segmenter(), patient, tmp_path / "out")


def test_organs_not_found_are_reported_and_not_drawn(
    tmp_path: Path, patient: InputCase, segmenter: Load, caplog
) -> None:
    load = segmenter(probabilities=True, coarse=True)
    certain = {
        name: msgspec.structs.replace(where, threshold=1.0) if name != "heart" else where
        for name, where in load.predictor.localisation.items()
    }
    load.predictor.localisation.update(certain)
    with caplog.at_level(logging.WARNING, "thoar"):
        record = segment_case(load, patient, tmp_path / "out")
    assert [name for name, organ in record.organs.items() if organ.flags.not_found] == [
        "esophagus", "trachea", "aorta",
    ]  # fmt: skip
    assert record.organs["aorta"].box_zyx is None
    assert record.organs["aorta"].volume_ml == 0
    assert "aorta: not found" in record.warnings
    assert "patient: aorta: not found" in caplog.text
    labels = read_labels(tmp_path / "out" / "segmentation.nii.gz", SEGTHOR)
    assert set(np.unique(labels.voxels)) == {0, 2}
    assert not read_volume(tmp_path / "out" / "probability_aorta.nii.gz").voxels.any()


def test_what_the_reader_warns_of_stands_in_the_record(
    tmp_path: Path, patient: InputCase, segmenter: Load, monkeypatch
) -> None:
    def doubtful(path: Path, _: Any) -> Any:
        logging.getLogger("thoar.io.somewhere").warning("%s: its header is dubious", path.name)
        logging.getLogger("elsewhere").warning("nothing of ours")
        return Scan(volume=read_volume(path))

    monkeypatch.setattr(reading_module, "read_scan", doubtful)
    record = segment_case(segmenter(), patient, tmp_path / "out")
    assert [line for line in record.warnings if "dubious" in line] == [
        "patient.nii.gz: its header is dubious"
    ]
    assert not any("nothing of ours" in line for line in record.warnings)
    monkeypatch.undo()
    again = segment_case(segmenter(overwrite=True), patient, tmp_path / "out")
    assert not any("dubious" in line for line in again.warnings)


def test_the_digest_of_a_detached_scan_covers_its_voxels(
    tmp_path: Path, patient: InputCase, segmenter: Load
) -> None:
    image = sitk.ReadImage(str(patient.path))
    case = InputCase(id="detached", path=tmp_path / "scan.mhd")
    digests = set()
    for name, added in (("one", 0), ("two", 1)):
        sitk.WriteImage(image + added, str(case.path))
        digests.add(segment_case(segmenter(), case, tmp_path / name).input.sha256)
    assert len(digests) == 2


def test_a_scan_without_any_organ_still_gives_all_files(
    tmp_path: Path, patient: InputCase, segmenter: Load, names: Any
) -> None:
    load = segmenter()
    for name, where in load.predictor.localisation.items():
        load.predictor.localisation[name] = msgspec.structs.replace(where, threshold=1.0)
    record = segment_case(load, patient, tmp_path / "out")
    assert all(organ.flags.not_found for organ in record.organs.values())
    assert names(tmp_path / "out") == {"segmentation.nii.gz", "overview.png", "run.json"}
    assert not read_labels(tmp_path / "out" / "segmentation.nii.gz", SEGTHOR).voxels.any()


def test_what_can_be_checked_is_checked_before_any_scan_is_read(model: Path, tmp_path: Path) -> None:
    for error, request in (
        (ConfigError, Request(model=model, writing=WriteOptions(names={"hart": "Heart"}))),
        (UsageError, Request(model=model, device="abacus")),
        (LabelError, Request(model=model, organs=("liver",))),
        (LabelError, Request(model=model, organs=())),
        (ModelError, Request(model=tmp_path)),
    ):
        with pytest.raises(error):
            load_segmenter(request)
