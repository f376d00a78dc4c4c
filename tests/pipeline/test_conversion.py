"""``convert`` from each kind of input to each kind of output."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from thoar.core.box import Box
from thoar.core.errors import (
    ConfigError,
    GeometryError,
    InputError,
    LabelError,
    UnsupportedFormatError,
    UsageError,
)
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets import scans
from thoar.datasets.scans import read_scan
from thoar.datasets.structure_table import read_structure_table
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series
from thoar.io.formats import read_integers, read_volume, write_labels, write_volume
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_reader import read_segmentation
from thoar.pipeline.conversion import Conversion, Converted, convert
from thoar.pipeline.structures import on_grid, on_series
from thoar.pipeline.volume_structures import structures_of_label_map

SHAPE = (16, 40, 52)
GRID = Geometry.axial(SHAPE, (3.0, 1.1, 0.9), origin_xyz_mm=(-22.0, -13.0, 40.0))
CENTERS = {1: (-10.2, 8.1, 61.3), 2: (9.4, 5.3, 66.2), 3: (1.3, 22.4, 58.7), 4: (14.1, 21.5, 70.6)}
RADIUS_MM = {1: 6.0, 2: 8.0, 3: 5.0, 4: 7.0}
TAN = float(np.tan(np.radians(12)))


def labels_on(grid: Geometry) -> np.ndarray:
    """Four balls, each at its own place in the patient, that no flip leaves as they are."""
    index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)], axis=-1)
    places = (index @ grid.lps_from_index.T)[..., :3]
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    for number, center in CENTERS.items():
        labels[np.linalg.norm(places - center, axis=-1) < RADIUS_MM[number]] = number
    return labels


def tilted(ds: pydicom.Dataset, k: int) -> None:
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, round(y + k * 3.0 * TAN, 6), z]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read series without a process of its own for each, which tests of its own are about."""
    monkeypatch.setattr(scans, "read_series", read_series)


@pytest.fixture
def ct() -> Volume:
    voxels = np.random.default_rng(8).integers(-1000, 1000, SHAPE).astype(np.int16)
    return Volume(voxels=voxels, geometry=GRID)


@pytest.fixture
def series(ct: Volume, write_series: Callable[..., Path]) -> Path:
    return write_series(ct)


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    path = tmp_path / "map.nii.gz"
    write_labels(path, LabelVolume(voxels=labels_on(GRID), geometry=GRID, label_set=SEGTHOR))
    return path


@pytest.fixture
def into(tmp_path: Path, series: Path) -> Callable[..., Path]:
    """Convert to a file or folder of that name, with whatever else is wanted, and return its path."""

    def into(name: str, source: Path, *, like: Path | None = series, **wanted: Any) -> Path:
        convert(Conversion(source=source, out=tmp_path / name, like=like, **wanted))
        return tmp_path / name

    return into


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    return {path.name.split(".")[0]: read_volume(path).voxels > 0 for path in sorted(folder.iterdir())}


def assert_same(found: np.ndarray, expected: np.ndarray, *, least: float = 1.0) -> None:
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) >= least


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".safetensors"])
def test_a_series_becomes_a_volume(tmp_path: Path, series: Path, ct: Volume, suffix: str) -> None:
    done = convert(Conversion(source=series, out=tmp_path / f"ct{suffix}"))
    assert done == Converted(to="volume", files=(f"ct{suffix}",))
    volume = read_volume(tmp_path / f"ct{suffix}")
    assert volume.geometry.same_grid(ct.geometry)
    np.testing.assert_array_equal(volume.voxels, ct.voxels)


def test_a_tilted_series_becomes_a_volume_where_that_is_asked_for(
    tmp_path: Path, ct: Volume, write_series
) -> None:
    folder, out = write_series(ct, name="tilted", edit=tilted), tmp_path / "ct.nii.gz"
    with pytest.raises(GeometryError, match="--rectify"):
        convert(Conversion(source=folder, out=out))
    assert not out.exists()
    convert(Conversion(source=folder, out=out, reading=ReadOptions(rectify=True)))
    assert read_volume(out).geometry.same_grid(read_scan(folder, ReadOptions(rectify=True)).volume.geometry)


def test_a_volume_changes_its_format(tmp_path: Path, ct: Volume) -> None:
    write_volume(tmp_path / "ct.nrrd", ct)
    convert(Conversion(source=tmp_path / "ct.nrrd", out=tmp_path / "ct.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.mha").voxels, ct.voxels)


def test_a_label_map_goes_to_dicom_and_back(label_map: Path, into) -> None:
    expected = labels_on(GRID)
    for to, least in (("rtstruct", 0.995), ("dicom-seg", 1.0)):
        written = into(f"{to}.dcm", label_map, to=to)
        for number, name in enumerate(("Esophagus", "Heart", "Trachea", "A_Aorta"), start=1):
            found = masks_in(into(f"{to}-{name}", written, organs=(name,)))
            assert set(found) == {name}
            assert_same(found[name], expected == number, least=least)


def test_rtstruct_and_segmentation_become_each_other(label_map: Path, into) -> None:
    expected = labels_on(GRID)
    first = into("first.dcm", label_map, to="rtstruct")
    second = into("second.dcm", first, to="dicom-seg")
    third = into("third.dcm", second, to="rtstruct")
    found = masks_in(into("masks", third))
    assert set(found) == {"Esophagus", "Heart", "Trachea", "A_Aorta"}
    assert_same(found["Heart"], expected == 2, least=0.99)
    colors = {structure.name: structure.color_rgb for structure in read_rtstruct(third).structures}
    assert colors["Heart"] == SEGTHOR.organ("heart").color_rgb


def test_a_label_map_is_taken_apart_and_put_together_again(label_map: Path, into) -> None:
    folder = into("masks", label_map, like=None)
    assert {name: mask.sum() for name, mask in masks_in(folder).items()} == {
        name: (labels_on(GRID) == number).sum() for number, name in enumerate(SEGTHOR.names, start=1)
    }
    again = into("again.nii.gz", folder, like=None)
    np.testing.assert_array_equal(read_integers(again).voxels, labels_on(GRID))
    assert read_structure_table(again.with_name("again.csv")) == {
        organ.name: organ.id for organ in SEGTHOR.organs
    }


def test_a_segmentation_needs_no_series_to_become_masks(label_map: Path, into) -> None:
    written = into("seg.dcm", label_map, to="dicom-seg", organs=("trachea", "aorta"))
    folder = into("masks", written, like=None)
    sums = {name: int(mask.sum()) for name, mask in masks_in(folder).items()}
    assert sums == {"Trachea": (labels_on(GRID) == 3).sum(), "A_Aorta": (labels_on(GRID) == 4).sum()}


def test_a_segmentation_lies_on_the_volume_that_it_shall_be_like(
    label_map: Path, finer: Path, tmp_path: Path, ct: Volume, into
) -> None:
    written = into("seg.dcm", label_map, to="dicom-seg")
    with pytest.raises(GeometryError, match=r"seg\.dcm.*--resample"):
        into("masks", written, like=finer)
    onto = into("finer.mha", written, like=finer, resample=True)
    assert read_volume(onto).geometry.same_grid(read_volume(finer).geometry)
    assert_same(read_integers(onto).voxels == 2, read_integers(finer).voxels == 2, least=0.9)
    larger = GRID.cropped(Box(start_zyx=(0, 0, 0), stop_zyx=(20, 44, 60)))
    write_volume(tmp_path / "larger.mha", Volume(voxels=np.zeros((20, 44, 60), np.int16), geometry=larger))
    again = read_integers(into("again.mha", written, like=tmp_path / "larger.mha", resample=True))
    np.testing.assert_array_equal(again.voxels[:16, :40, :52], labels_on(GRID))


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path, series: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"ct\.nii\.gz: results cannot be written"):
        convert(Conversion(source=series, out=tmp_path / "file" / "ct.nii.gz"))


def test_nothing_is_made_for_what_cannot_be_read(tmp_path: Path, series: Path) -> None:
    (series / "95").write_bytes(bytes(9))
    with pytest.raises(InputError):
        convert(Conversion(source=series, out=tmp_path / "new" / "ct.nii.gz"))
    assert not (tmp_path / "new").exists()


def test_slices_that_a_segmentation_leaves_out_hold_nothing(tmp_path: Path, into) -> None:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2:4, 10:20, 10:20], labels[11:14, 20:30, 20:30] = 1, 2
    path = tmp_path / "apart.nii.gz"
    write_labels(path, LabelVolume(voxels=labels, geometry=GRID, label_set=SEGTHOR))
    folder = into("masks", into("seg.dcm", path, to="dicom-seg"), like=None)
    found = {file.name.split(".")[0]: read_volume(file) for file in folder.iterdir()}
    assert {name: int(volume.voxels.sum()) for name, volume in found.items()} == {
        "Esophagus": 200, "Heart": 300,
    }  # fmt: skip
    grid = found["Heart"].geometry
    assert grid.shape_zyx == (12, 40, 52)
    assert grid.spacing_zyx_mm == pytest.approx(GRID.spacing_zyx_mm)
    assert grid.position_xyz_mm((0, 0, 0)) == pytest.approx(GRID.position_xyz_mm((2, 0, 0)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_label_map_in_any_order_of_axes_lies_in_the_right_place(
    tmp_path: Path, series: Path, order: tuple[int, ...]
) -> None:
    scan = read_scan(series)
    for flipped in itertools.product((False, True), repeat=3):
        turned = GRID.reordered(order, flipped=flipped)
        path = tmp_path / f"{''.join('01'[f] for f in flipped)}.safetensors"
        write_volume(path, Volume(voxels=labels_on(turned), geometry=turned))
        found = on_series(structures_of_label_map(path, table=None), scan, resample=False)
        whole = np.zeros(SHAPE, dtype=np.uint8)
        for organ in found:
            whole[organ.box_zyx.slices][organ.mask] = organ.organ.id
        np.testing.assert_array_equal(whole, labels_on(GRID))


@pytest.fixture
def finer(tmp_path: Path) -> Path:
    grid = Geometry.axial((40, 60, 90), (1.5, 0.8, 0.6), origin_xyz_mm=(-25.0, -14.0, 35.0))
    path = tmp_path / "finer.nii.gz"
    write_labels(path, LabelVolume(voxels=labels_on(grid), geometry=grid, label_set=SEGTHOR))
    return path


def test_a_label_map_on_another_grid_is_refused_unless_resampling_is_asked_for(finer: Path, into) -> None:
    with pytest.raises(GeometryError, match=r"finer\.nii\.gz.*--resample"):
        into("seg.dcm", finer, to="dicom-seg")
    found = masks_in(into("masks", into("seg.dcm", finer, to="dicom-seg", resample=True)))
    assert_same(found["Heart"], labels_on(GRID) == 2, least=0.95)
    same = masks_in(into("direct", finer, resample=True))
    np.testing.assert_array_equal(same["heart"], found["Heart"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape_zyx": (15, 40, 52)}, "15 × 40 × 52 voxels"),
        ({"spacing_zyx_mm": (3.0, 1.1, 0.91)}, "0.91 × 1.1 × 3 mm"),
        ({"origin_xyz_mm": (-22.0, -12.0, 40.0)}, "1.00 mm off"),
    ],
)
def test_how_a_grid_differs_is_said(tmp_path: Path, into, change: dict[str, Any], said: str) -> None:
    grid = {
        "shape_zyx": SHAPE,
        "spacing_zyx_mm": (3.0, 1.1, 0.9),
        "origin_xyz_mm": (-22.0, -13.0, 40.0),
    } | change
    geometry = Geometry.axial(grid["shape_zyx"], grid["spacing_zyx_mm"], origin_xyz_mm=grid["origin_xyz_mm"])
    path = tmp_path / "other.nii.gz"
    write_labels(path, LabelVolume(voxels=labels_on(geometry), geometry=geometry, label_set=SEGTHOR))
    with pytest.raises(GeometryError, match=said):
        into("seg.dcm", path, to="dicom-seg")
    assert not (tmp_path / "seg.dcm").exists()


def test_masks_of_tilted_slices_go_to_the_rectified_grid_and_back(
    tmp_path: Path, ct: Volume, write_series
) -> None:
    folder, reading = write_series(ct, name="tilted", edit=tilted), ReadOptions(rectify=True)
    scan = read_scan(folder, reading)
    path = tmp_path / "map.nii.gz"
    labels = LabelVolume(
        voxels=labels_on(scan.volume.geometry), geometry=scan.volume.geometry, label_set=SEGTHOR
    )
    write_labels(path, labels)
    told = {"like": folder, "reading": reading}
    for to in ("rtstruct", "dicom-seg"):
        written = tmp_path / f"{to}.dcm"
        convert(Conversion(source=path, out=written, to=to, **told))
        convert(Conversion(source=written, out=tmp_path / to, **told))
        for organ in SEGTHOR.organs:
            back = read_volume(tmp_path / to / f"{organ.tg263}.nii.gz")
            assert back.geometry.same_grid(scan.volume.geometry)
            assert_same(back.voxels > 0, labels.voxels == organ.id, least=0.93)


def test_probabilities_are_contoured_at_one_half(tmp_path: Path, into) -> None:
    folder = tmp_path / "probabilities"
    folder.mkdir()
    index = np.stack([*np.indices(SHAPE), np.ones(SHAPE)], axis=-1)
    places = (index @ GRID.lps_from_index.T)[..., :3]
    for number, name in ((2, "heart"), (4, "aorta")):
        away = np.linalg.norm(places - CENTERS[number], axis=-1)
        ball = np.clip(0.5 + (RADIUS_MM[number] - away) / 6, 0, 1).astype(np.float32)
        write_volume(folder / f"probability_{name}.nii.gz", Volume(voxels=ball, geometry=GRID))
    written = into("rt.dcm", folder, to="rtstruct", probability=True)
    assert [structure.name for structure in read_rtstruct(written).structures] == ["A_Aorta", "Heart"]
    assert_same(masks_in(into("masks", written))["Heart"], labels_on(GRID) == 2, least=0.97)
    one = into("seg.dcm", folder / "probability_heart.nii.gz", to="fractional-dicom-seg", probability=True)
    assert read_segmentation(one).kind == "FRACTIONAL"


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_has_two_values(tmp_path: Path, into, value: int) -> None:
    (tmp_path / "masks").mkdir()
    mask = (labels_on(GRID) == 2).astype(np.uint8) * np.uint8(value)
    write_volume(tmp_path / "masks" / "heart.nii.gz", Volume(voxels=mask, geometry=GRID))
    into("seg.dcm", tmp_path / "masks", to="dicom-seg")
    mask[0, 0, 0] = 7
    write_volume(tmp_path / "masks" / "heart.nii.gz", Volume(voxels=mask, geometry=GRID))
    with pytest.raises(LabelError, match=r"heart\.nii\.gz: is no mask"):
        into("seg2.dcm", tmp_path / "masks", to="dicom-seg")


def test_masks_of_different_grids_are_refused(tmp_path: Path, into) -> None:
    (tmp_path / "masks").mkdir()
    write_volume(tmp_path / "masks" / "a.nii.gz", Volume(voxels=np.ones(SHAPE, np.uint8), geometry=GRID))
    other = Geometry.axial(SHAPE, (3.0, 1.1, 0.9))
    write_volume(tmp_path / "masks" / "b.nii.gz", Volume(voxels=np.ones(SHAPE, np.uint8), geometry=other))
    with pytest.raises(GeometryError, match=r"b\.nii\.gz: lies on another grid"):
        into("map.nii.gz", tmp_path / "masks", like=None)


def test_values_beyond_0_to_1_are_no_probabilities(tmp_path: Path, ct: Volume, into) -> None:
    write_volume(tmp_path / "ct.nii.gz", ct)
    with pytest.raises(LabelError, match=r"0\.\.1"):
        into("seg.dcm", tmp_path / "ct.nii.gz", to="dicom-seg", probability=True)


def names_of(path: Path) -> list[str]:
    return [structure.name for structure in read_rtstruct(path).structures]


def test_labels_are_called_as_their_table_says(tmp_path: Path, label_map: Path, into, caplog) -> None:
    (tmp_path / "table.csv").write_text("structure,id\nbronchus,1\nheart,2\nliver,3\n")
    written = into("rt.dcm", label_map, to="rtstruct", table=tmp_path / "table.csv")
    assert names_of(written) == ["bronchus", "Heart", "liver", "label_4"]
    assert "does not name the ids [4]" in caplog.text


def test_labels_are_called_as_asked(label_map: Path, into) -> None:
    assert names_of(into("rt.dcm", label_map, to="rtstruct", names={"aorta": "Ao"})) == [
        "Esophagus", "Heart", "Trachea", "Ao",
    ]  # fmt: skip
    assert set(masks_in(into("masks", label_map, like=None, names={"aorta": "Ao/1"}))) == {
        "esophagus", "heart", "trachea", "Ao_1",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="there is no liver"):
        into("other", label_map, names={"liver": "L"})


def test_ids_of_another_vocabulary_are_not_taken_for_ours(tmp_path: Path, into) -> None:
    labels = labels_on(GRID)
    labels[labels == 4] = 51
    write_volume(tmp_path / "theirs.nii.gz", Volume(voxels=labels, geometry=GRID))
    assert set(masks_in(into("masks", tmp_path / "theirs.nii.gz", like=None))) == {
        "label_1", "label_2", "label_3", "label_51",
    }  # fmt: skip


def test_ids_taken_for_ours_are_said(label_map: Path, into, caplog) -> None:
    into("masks", label_map, like=None)
    assert "1 esophagus, 2 heart, 3 trachea, 4 aorta" in caplog.text


def test_structures_that_are_not_there_cannot_be_picked(label_map: Path, into) -> None:
    with pytest.raises(LabelError, match="has no liver"):
        into("masks", label_map, organs=("liver", "heart"))


def test_overlapping_structures_make_no_label_map(tmp_path: Path, into) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        write_volume(
            tmp_path / "masks" / f"{name}.nii.gz", Volume(voxels=np.ones(SHAPE, np.uint8), geometry=GRID)
        )
    with pytest.raises(LabelError, match=r"b and a share .* voxels.*--to masks"):
        into("map.nii.gz", tmp_path / "masks", like=None)
    assert not (tmp_path / "map.nii.gz").exists()


def test_empty_structures_are_left_out_and_named(tmp_path: Path, series: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name, number in (("heart", 2), ("liver", 9)):
        mask = (labels_on(GRID) == number).astype(np.uint8)
        write_volume(tmp_path / "masks" / f"{name}.nii.gz", Volume(voxels=mask, geometry=GRID))
    for to, name in (
        ("rtstruct", "a.dcm"),
        ("dicom-seg", "b.dcm"),
        ("masks", "c"),
        ("label-map", "d.nii.gz"),
    ):
        done = convert(Conversion(source=tmp_path / "masks", out=tmp_path / "out" / name, to=to, like=series))
        assert (done.structures, done.empty) == (("heart",), ("liver",))
    with pytest.raises(LabelError, match="no structure has a voxel"):
        convert(
            Conversion(
                source=tmp_path / "masks",
                out=tmp_path / "e.dcm",
                to="rtstruct",
                like=series,
                organs=("liver",),
            )
        )
    assert not (tmp_path / "e.dcm").exists()


def test_faults_of_structures_are_warnings(label_map: Path, into, caplog) -> None:
    written = into("rt.dcm", label_map, to="rtstruct")
    ds = pydicom.dcmread(written)
    ds.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = "OPEN_PLANAR"
    ds.save_as(written)
    into("masks", written)
    assert any("rt.dcm: Heart: " in line for line in caplog.messages)


def test_an_rtstruct_takes_in_another_s_structures(label_map: Path, into) -> None:
    first = into("first.dcm", label_map, to="rtstruct", organs=("heart",), names={"heart": "By hand"})
    both = into("both.dcm", label_map, to="rtstruct", organs=("aorta",), append_to=first)
    assert names_of(both) == ["By hand", "A_Aorta"]


def test_the_same_inputs_give_the_same_bytes_where_that_is_asked_for(label_map: Path, into) -> None:
    for to in ("rtstruct", "dicom-seg"):
        one, two = (into(f"{k}{to}.dcm", label_map, to=to, deterministic=True) for k in range(2))
        assert one.read_bytes() == two.read_bytes()
        assert into(f"other{to}.dcm", label_map, to=to).read_bytes() != one.read_bytes()


def test_a_packed_series_and_a_packed_like_do(tmp_path: Path, series: Path, label_map: Path, into) -> None:

    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", series))
    assert read_volume(into("ct.nii.gz", packed, like=None)).voxels.shape == SHAPE
    into("rt.dcm", label_map, like=packed, to="rtstruct")


REFUSED = [
    ("series", "x.dcm", {}, "--to rtstruct"),
    ("series", "x", {}, "nii.gz"),
    ("series", "x", {"to": "masks"}, "holds no structures"),
    ("map", "x.dcm", {}, "--to rtstruct"),
    ("map", "x.dcm", {"to": "rtstruct"}, "--like SERIES"),
    ("map", "x.dcm", {"to": "rtstruct", "like": "map"}, "is no DICOM series"),
    ("map", "x.nrrd", {"like": "series"}, "--like has no meaning"),
    ("map", "x", {"append_to": "map"}, "--append-to"),
    ("masks", "x.nii.gz", {"to": "volume"}, "becomes no image"),
    ("masks", "x", {"table": "map"}, "--structures"),
    ("map", "x.nii.gz", {"to": "rtstruct", "like": "series"}, "is a volume's name"),
    ("map", "x.nii.gz", {"to": "masks"}, "is a volume's name"),
    ("map", "x.dcm", {"to": "label-map"}, "end it in"),
    ("map", "x.nrrd", {"organs": ("heart",)}, "--organs"),
    ("map", "x", {"resample": True}, "--resample"),
    ("rtstruct", "x", {"like": "map"}, "is no DICOM series"),
    ("rtstruct", "x", {}, "--like SERIES"),
    ("rtstruct", "x", {"like": "series", "probability": True}, "--probability"),
]


def test_what_cannot_be_meant_is_refused_before_anything_is_read(
    tmp_path: Path, series: Path, label_map: Path, into
) -> None:
    rtstruct, masks = into("rt.dcm", label_map, to="rtstruct"), into("folder", label_map)
    paths = {"series": series, "map": label_map, "rtstruct": rtstruct, "masks": masks}
    for source, out, wanted, said in REFUSED:
        given = {name: value if name == "to" else paths.get(value, value) for name, value in wanted.items()}
        with pytest.raises(UsageError, match=said):
            convert(Conversion(source=paths[source], out=tmp_path / out, **given))
        assert not (tmp_path / out).exists()


def test_a_missing_or_empty_input_is_named(tmp_path: Path, ct: Volume) -> None:
    with pytest.raises(InputError, match="no such file"):
        convert(Conversion(source=tmp_path / "none", out=tmp_path / "x.nii.gz"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither DICOM nor a volume"):
        convert(Conversion(source=tmp_path / "empty", out=tmp_path / "x.nii.gz"))
    (tmp_path / "text.dcm").write_text("no DICOM at all")
    with pytest.raises((InputError, UnsupportedFormatError), match=r"text\.dcm"):
        convert(Conversion(source=tmp_path / "text.dcm", out=tmp_path / "x.nii.gz"))
    write_volume(tmp_path / "ct.nii.gz", ct)
    with pytest.raises(UsageError, match="end it in what the volume shall be"):
        convert(Conversion(source=tmp_path / "ct.nii.gz", out=tmp_path / "x.nhdr"))


def test_the_grid_of_an_even_stack_is_the_series_own(label_map: Path) -> None:
    found = structures_of_label_map(label_map, table=None)
    geometry, organs = on_grid(found, None, resample=False)
    assert geometry.same_grid(GRID)
    assert len(organs) == 4
