"""A DICOM series to RTSTRUCT and DICOM-SEG, through ``segment_case``."""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pydicom
import pytest

from thoar.core.box import Box
from thoar.core.errors import InputError, LabelError, PartialFailureError, UsageError
from thoar.core.labels import SEGTHOR
from thoar.core.slices import SlicePlanes
from thoar.core.volume import Volume
from thoar.datasets.scans import read_scan
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.io.dicom.records import ReadOptions
from thoar.io.formats import read_labels, read_volume
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.structure_mask import StructureMask
from thoar.pipeline.batch import segment_cases
from thoar.pipeline.case import segment_case
from thoar.pipeline.inputs import InputCase, find_cases
from thoar.pipeline.record import RunRecord

Load = Callable[..., Any]
DICOM = ("rtstruct", "dicom-seg")
RECTIFY = ReadOptions(rectify=True)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def tilted(ds: pydicom.Dataset, k: int) -> None:
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, round(y + k * 3.0 * np.tan(np.radians(15)), 6), z]


def whole(mask: StructureMask, shape_zyx: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape_zyx, dtype=bool)
    if mask.box_zyx is not None:
        array[mask.box_zyx.slices] = mask.mask
    return array


@pytest.fixture
def smooth(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[float, float, float]]:
    """Have every organ found as a ball about its own place in the patient; return the places (mm)."""
    centers = {
        "esophagus": (3.3, 50.1, -282.7), "heart": (-8.2, 47.6, -270.4), "trachea": (7.1, 66.5, -265.2),
        "aorta": (-4.4, 63.7, -261.9),
    }  # fmt: skip
    predict = Predictor.predict

    def drawn(self: Predictor, volume: Volume, **wanted: Any) -> Segmentation:
        found, grid = predict(self, volume, **wanted), volume.geometry
        index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)], axis=-1)
        places = (index @ grid.lps_from_index.T)[..., :3]
        box = Box.of_shape(grid.shape_zyx)
        organs = []
        for organ in found.organs:
            depth_mm = 11 - np.linalg.norm(places - centers[organ.organ.name], axis=-1)
            ball = np.clip(0.5 + depth_mm / 8, 0, 1).astype(np.float16)
            organs.append(dataclasses.replace(organ, box_zyx=box, probability=ball))
        return dataclasses.replace(found, organs=tuple(organs))

    monkeypatch.setattr(Predictor, "predict", drawn)
    return centers


def centroid_xyz_mm(mask: StructureMask, planes: SlicePlanes) -> np.ndarray:
    assert mask.box_zyx is not None
    assert mask.mask is not None
    points = np.argwhere(mask.mask) + mask.box_zyx.start_zyx
    places = [planes.position_xyz_mm(int(k), np.array([[y, x]], dtype=float))[0] for k, y, x in points]
    return np.mean(places, axis=0)


@pytest.fixture
def series(tmp_path: Path, write_scan_series) -> Path:
    return write_scan_series(tmp_path / "series")


@pytest.fixture
def case(series: Path) -> InputCase:
    return InputCase(id="patient", path=series)


def test_rtstruct_and_segmentation_hold_each_organ_s_own_mask(
    tmp_path: Path, case: InputCase, segmenter: Load, smooth
) -> None:
    load = segmenter(formats=("nifti", *DICOM))
    record = segment_case(load, case, tmp_path / "out")
    assert names(tmp_path / "out") == {"segmentation.nii.gz", "rtstruct.dcm", "segmentation.dcm", "run.json"}
    assert record.overlaps_ml
    scan = read_scan(case.path)
    assert scan.series is not None
    expected = load.predictor.predict(scan.volume, organs=None)
    drawn = rtstruct_masks(read_rtstruct(tmp_path / "out" / "rtstruct.dcm"), scan.series)
    segments = segment_masks(read_segmentation(tmp_path / "out" / "segmentation.dcm"), scan.series)
    for name, contours, segment in zip(SEGTHOR.names, drawn, segments, strict=True):
        mask = expected.mask(name)
        assert contours.name == segment.name == SEGTHOR.organ(name).tg263
        np.testing.assert_array_equal(whole(segment, mask.shape), mask)
        both = whole(contours, mask.shape) & mask
        assert 2 * both.sum() / (whole(contours, mask.shape).sum() + mask.sum()) > 0.97


def test_the_record_says_what_the_dicom_files_hold(tmp_path: Path, case: InputCase, segmenter: Load) -> None:
    load = segmenter(formats=DICOM, organs=("heart", "aorta"))
    load.predictor.localisation["aorta"] = msgspec.structs.replace(
        load.predictor.localisation["aorta"], threshold=1.0
    )
    record = segment_case(load, case, tmp_path / "out")
    assert set(record.structures) == {"rtstruct.dcm", "segmentation.dcm"}
    for held in record.structures.values():
        assert held.empty == ("aorta",)
        assert set(held.pieces) == {"heart"}
        assert held.self_check == "passed"
    assert set(record.outputs) == {"rtstruct.dcm", "segmentation.dcm"}
    assert msgspec.json.decode((tmp_path / "out" / "run.json").read_bytes(), type=RunRecord) == record


def test_a_scan_without_any_organ_gives_no_dicom_and_says_so(
    tmp_path: Path, case: InputCase, segmenter: Load
) -> None:
    load = segmenter(formats=("nifti", *DICOM))
    for name, where in load.predictor.localisation.items():
        load.predictor.localisation[name] = msgspec.structs.replace(where, threshold=1.0)
    record = segment_case(load, case, tmp_path / "out")
    assert {held.empty for held in record.structures.values()} == {SEGTHOR.names}
    assert names(tmp_path / "out") == {"segmentation.nii.gz", "run.json"}
    assert "patient/rtstruct.dcm: not written, since no organ has a voxel" in record.warnings


def test_probabilities_become_a_fractional_segmentation(
    tmp_path: Path, case: InputCase, segmenter: Load, smooth
) -> None:
    segment_case(segmenter(formats=("dicom-seg",), probabilities=True), case, tmp_path / "out")
    assert names(tmp_path / "out") == {"segmentation.dcm", "probabilities.dcm", "run.json"}
    assert read_segmentation(tmp_path / "out" / "probabilities.dcm").kind == "FRACTIONAL"


def test_tilted_slices_are_contoured_where_they_lie_and_volumes_on_the_rectified_grid(
    tmp_path: Path, write_scan_series, segmenter: Load, smooth
) -> None:
    folder = write_scan_series(tmp_path / "tilted", edit=tilted)
    load = segmenter(formats=("nifti", *DICOM), reading=RECTIFY)
    record = segment_case(load, InputCase(id="a", path=folder), tmp_path / "out")
    scan = read_scan(folder, RECTIFY)
    assert scan.series is not None
    assert (record.input.rectified, record.input.slices) == (True, 20)
    assert record.input.shape_zyx == scan.volume.geometry.shape_zyx == (20, 52, 56)
    assert any("rectified to 20 × 52 × 56 voxels" in line for line in record.warnings)
    labels = read_labels(tmp_path / "out" / "segmentation.nii.gz", SEGTHOR)
    assert labels.geometry.same_grid(scan.volume.geometry)
    drawn = rtstruct_masks(read_rtstruct(tmp_path / "out" / "rtstruct.dcm"), scan.series)
    segments = segment_masks(read_segmentation(tmp_path / "out" / "segmentation.dcm"), scan.series)
    for name, *written in zip(SEGTHOR.names, drawn, segments, strict=True):
        for mask in written:
            off_mm = centroid_xyz_mm(mask, scan.series.stack.planes) - smooth[name]
            assert np.linalg.norm(off_mm) < 0.15  # of a ball of 22 mm in voxels of 3 × 2 × 2


def test_tilted_slices_are_refused_unless_asked_for(
    tmp_path: Path, write_scan_series, segmenter: Load
) -> None:
    folder = write_scan_series(tmp_path / "tilted", edit=tilted)
    with pytest.raises(InputError, match="--rectify"):
        segment_case(segmenter(), InputCase(id="a", path=folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_is_segmented_like_its_folder(tmp_path: Path, series: Path, segmenter: Load) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "packed.v2"), "zip", series))
    (case,) = find_cases(packed)
    assert case.id == "packed.v2"
    record = segment_case(segmenter(formats=("nifti",)), case, tmp_path / "one")
    segment_case(segmenter(formats=("nifti",)), InputCase(id="b", path=series), tmp_path / "two")
    assert record.input.name == "packed.v2.zip"
    assert record.input.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
    one, two = (read_volume(tmp_path / name / "segmentation.nii.gz").voxels for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_a_damaged_slice_in_a_zip_is_named_without_a_temporary_path(
    tmp_path: Path, series: Path, segmenter: Load
) -> None:
    damaged = sorted(series.iterdir())[3]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", series))
    with pytest.raises(InputError, match=damaged.name) as caught:
        segment_case(segmenter(), InputCase(id="a", path=packed), tmp_path / "out")
    assert "thoar-" not in str(caught.value)
    assert str(packed) in str(caught.value)


def test_the_same_command_gives_the_same_bytes_where_that_is_asked_for(
    tmp_path: Path, case: InputCase, segmenter: Load, smooth
) -> None:
    for name, deterministic in (("one", True), ("two", True), ("three", False)):
        load = segmenter(formats=DICOM, probabilities=True, deterministic=deterministic)
        segment_case(load, case, tmp_path / name)
    for file in ("rtstruct.dcm", "segmentation.dcm", "probabilities.dcm"):
        one, two, three = ((tmp_path / name / file).read_bytes() for name in ("one", "two", "three"))
        assert one == two
        assert one != three


def test_organs_are_called_as_asked(tmp_path: Path, case: InputCase, segmenter: Load, smooth) -> None:
    load = segmenter(formats=DICOM, names={"heart": "Heart AI"})
    segment_case(load, case, tmp_path / "out")
    drawn = read_rtstruct(tmp_path / "out" / "rtstruct.dcm").structures
    segments = read_segmentation(tmp_path / "out" / "segmentation.dcm").segments
    wanted = ["Esophagus", "Heart AI", "Trachea", "A_Aorta"]
    assert [structure.name for structure in drawn] == wanted
    assert [segment.label for segment in segments] == wanted


def test_an_rtstruct_takes_in_another_s_structures(
    tmp_path: Path, case: InputCase, segmenter: Load, smooth
) -> None:
    theirs = segmenter(formats=("rtstruct",), organs=("heart",), names={"heart": "Drawn by hand"})
    segment_case(theirs, case, tmp_path / "first")
    append_to = tmp_path / "first" / "rtstruct.dcm"
    ds = pydicom.dcmread(append_to)
    ds.ApprovalStatus = "REJECTED"
    ds.save_as(append_to)
    before = append_to.read_bytes()
    load = segmenter(formats=("rtstruct",), append_to=append_to, overwrite=True)
    with pytest.raises(UsageError, match=r"rtstruct\.dcm: is the input, and results would replace it"):
        segment_case(load, case, tmp_path / "first")
    record = segment_case(load, case, tmp_path / "out")
    assert "rtstruct.dcm: was REJECTED; with structures added it is UNAPPROVED" in record.warnings
    drawn = read_rtstruct(tmp_path / "out" / "rtstruct.dcm").structures
    assert [structure.name for structure in drawn] == [
        "Drawn by hand", "Esophagus", "Heart", "Trachea", "A_Aorta",
    ]  # fmt: skip
    assert append_to.read_bytes() == before


def test_an_rtstruct_that_cannot_be_added_to_is_refused_before_anything_is_drawn(
    tmp_path: Path, case: InputCase, segmenter: Load, smooth, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_case(segmenter(formats=("rtstruct",), organs=("heart",)), case, tmp_path / "first")
    load = segmenter(formats=("rtstruct",), append_to=tmp_path / "first" / "rtstruct.dcm")
    monkeypatch.setattr(load.predictor, "predict", lambda *_, **__: pytest.fail("drawn in vain"))
    with pytest.raises(LabelError, match=r"rtstruct\.dcm: has a structure 'Heart' already"):
        segment_case(load, case, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_rtstruct_cannot_take_in_several_scans(tmp_path: Path, series: Path, segmenter: Load) -> None:
    load = segmenter(formats=("rtstruct",), append_to=tmp_path / "rtstruct.dcm")
    with pytest.raises(UsageError, match="--append-to"):
        segment_cases(load, [InputCase(id=name, path=series) for name in "ab"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wanted", DICOM)
def test_what_is_no_dicom_is_refused_before_it_is_read(tmp_path: Path, segmenter: Load, wanted: str) -> None:
    path = tmp_path / "patient.nii.gz"
    path.write_bytes(b"never opened")
    cases = [InputCase(id="a", path=path)]
    for attempt in (
        lambda load: segment_case(load, cases[0], tmp_path / "out"),
        lambda load: segment_cases(load, cases, tmp_path / "out"),
    ):
        with pytest.raises(UsageError, match=r"patient\.nii\.gz.*thoar convert --like"):
            attempt(segmenter(formats=("nifti", wanted)))
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_writer_names_the_result_s_own_place_and_leaves_nothing(
    tmp_path: Path, case: InputCase, segmenter: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *_: Any, **__: Any) -> None:
        raise InputError(f"{path}: the self-check failed")

    monkeypatch.setattr("thoar.io.structures.rtstruct_writer.write_rtstruct", failing)
    with pytest.raises(InputError) as caught:
        segment_case(segmenter(formats=("nifti", "rtstruct")), case, tmp_path / "out")
    assert str(caught.value) == f"{tmp_path / 'out' / 'rtstruct.dcm'}: the self-check failed"
    assert names(tmp_path / "out") == set()


def test_results_do_not_replace_a_series_of_their_names(
    tmp_path: Path, series: Path, segmenter: Load
) -> None:
    with pytest.raises(UsageError, match="lies in the input"):
        segment_case(segmenter(formats=DICOM), InputCase(id="a", path=series), series)
    single = tmp_path / "single" / "segmentation.dcm"
    single.parent.mkdir()
    shutil.copy(min(series.iterdir()), single)
    with pytest.raises(UsageError, match="inputs are never touched"):
        segment_case(segmenter(overwrite=True), InputCase(id="a", path=single), single.parent)


def test_a_batch_of_series_in_a_data_set_gives_dicom_for_each(
    tmp_path: Path, write_scan_series, segmenter: Load, smooth
) -> None:
    series = ("one", "two", "three", "four")
    for name in series:
        write_scan_series(tmp_path / "data" / name)
    entries = [f'[[cases]]\nid = "{name}"\nimage = "{name}"\n' for name in series]
    (tmp_path / "data" / "dataset.toml").write_text("".join(entries))
    cases = find_cases(tmp_path / "data")
    min((tmp_path / "data" / "two").iterdir()).write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(PartialFailureError, match="3 done, 1 failed"):
        segment_cases(segmenter(formats=DICOM), cases, tmp_path / "out")
    for name in ("one", "three", "four"):
        assert names(tmp_path / "out" / name) == {"rtstruct.dcm", "segmentation.dcm", "run.json"}
