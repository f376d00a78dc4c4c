import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.core.box import Box
from thoar.core.errors import GeometryError, IncompleteSeriesError, InputError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.datasets.scans import Scan, is_series, organ_on_series, read_scan
from thoar.io.dicom.records import ReadOptions
from thoar.io.formats import write_volume

WriteSeries = Callable[..., Path]
HEART = SEGTHOR.organ("heart")
RECTIFY = ReadOptions(rectify=True)
SHIFT_MM = 3.0 * float(np.tan(np.radians(15)))


@pytest.fixture
def volume() -> Volume:
    shape = (12, 30, 40)
    geometry = Geometry.axial(shape, (3.0, 0.9, 1.1), origin_xyz_mm=(-20.0, 10.0, 50.0))
    voxels = np.random.default_rng(4).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(voxels=voxels, geometry=geometry)


def tilted(ds: pydicom.Dataset, k: int) -> None:
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, round(y + k * SHIFT_MM, 6), z]


def test_a_volume_file_has_no_series(tmp_path: Path, volume: Volume) -> None:
    write_volume(tmp_path / "scan.nii.gz", volume)
    scan = read_scan(tmp_path / "scan.nii.gz")
    assert (scan.series, scan.rectified) == (None, False)
    np.testing.assert_array_equal(scan.volume.voxels, volume.voxels)


@pytest.mark.parametrize("packed", [False, True])
def test_a_regular_series_keeps_its_own_grid(
    tmp_path: Path, volume: Volume, write_series: WriteSeries, packed: bool
) -> None:
    path = write_series(volume)
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "series"), "zip", path))
    scan = read_scan(path)
    assert scan.series is not None
    assert not scan.rectified
    assert len(scan.series.references) == 12
    assert scan.volume.geometry.same_grid(volume.geometry)
    np.testing.assert_array_equal(scan.volume.voxels, volume.voxels)


def test_tilted_slices_are_refused_unless_asked_for(volume: Volume, write_series: WriteSeries) -> None:
    path = write_series(volume, edit=tilted)
    with pytest.raises(GeometryError, match="--rectify"):
        read_scan(path)


def test_tilted_slices_become_a_regular_grid_and_that_is_said(
    volume: Volume, write_series: WriteSeries, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_series(volume, edit=tilted)
    with caplog.at_level(logging.WARNING, "thoar"):
        scan = read_scan(path, RECTIFY)
    assert scan.rectified
    assert scan.series is not None
    assert len(scan.series.references) == 12
    assert scan.volume.geometry.spacing_zyx_mm == pytest.approx((3.0, 0.9, 1.1))
    assert scan.volume.geometry.shape_zyx == (12, 30 + round(11 * SHIFT_MM / 0.9), 40)
    assert f"{path}: rectified to 12 × 40 × 40 voxels, planes 3 mm apart" in caplog.messages
    assert any("15.0°" in line for line in caplog.messages)


def test_a_gap_is_filled_only_where_that_is_asked_for(volume: Volume, write_series: WriteSeries) -> None:
    path = write_series(volume)
    (path / "94").unlink()
    with pytest.raises(IncompleteSeriesError, match="--fill-gaps"):
        read_scan(path)
    scan = read_scan(path, ReadOptions(fill_gaps=1))
    assert scan.rectified
    assert scan.volume.geometry.same_grid(volume.geometry)
    np.testing.assert_array_equal(
        np.delete(scan.volume.voxels, 5, axis=0), np.delete(volume.voxels, 5, axis=0)
    )
    between = (volume.voxels[4].astype(float) + volume.voxels[6]) / 2
    np.testing.assert_allclose(scan.volume.voxels[5], between, rtol=0, atol=0.5)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("scan.nii.gz", "series.zip", "series"):
        with pytest.raises(InputError, match=str(tmp_path / name)):
            read_scan(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "dicom"),
    [
        ("a.nii.gz", False),
        ("a.MHA", False),
        ("a.zip", True),
        ("a.dcm", True),
        ("IM0001", True),
        ("1.2.3", True),
    ],
)
def test_whatever_is_not_named_like_a_volume_is_dicom(tmp_path: Path, name: str, dicom: bool) -> None:
    assert is_series(tmp_path / name) is dicom
    assert is_series(tmp_path)


def test_an_organ_on_a_regular_series_stays_as_it_is(volume: Volume, write_series: WriteSeries) -> None:
    scan = read_scan(write_series(volume))
    box = Box(start_zyx=(2, 3, 4), stop_zyx=(5, 9, 9))
    values = np.random.default_rng(1).random(box.shape_zyx).astype(np.float16)
    found = organ_on_series(scan, HEART, box_zyx=box, probability=values)
    assert (found.organ, found.box_zyx) == (HEART, box)
    assert found.probability.dtype == np.float32
    np.testing.assert_array_equal(found.probability, values)


def test_an_organ_found_on_the_rectified_grid_lies_on_the_slices(
    volume: Volume, write_series: WriteSeries
) -> None:
    scan = read_scan(write_series(volume, edit=tilted), RECTIFY)
    assert scan.series is not None
    grid, planes = scan.volume.geometry, scan.series.stack.planes
    index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)], axis=-1)
    places = (index @ grid.lps_from_index.T)[..., :3]
    center = np.array([1.3, 28.4, 66.5])
    inside = np.exp(-((places - center) ** 2).sum(axis=-1) / 50)
    found = organ_on_series(scan, HEART, box_zyx=Box.of_shape(grid.shape_zyx), probability=inside)
    total, weighted = 0.0, np.zeros(3)
    for offset, plane in enumerate(found.probability):
        points = np.argwhere(plane > 0) + found.box_zyx.start_zyx[1:]
        weights = plane[plane > 0]
        at = planes.position_xyz_mm(found.box_zyx.start_zyx[0] + offset, points.astype(float))
        total, weighted = total + weights.sum(), weighted + (at * weights[:, None]).sum(axis=0)
    np.testing.assert_allclose(weighted / total, center, rtol=0, atol=0.1)


def test_an_organ_not_found_is_one_empty_voxel(volume: Volume) -> None:
    found = organ_on_series(Scan(volume=volume), HEART, box_zyx=None, probability=None)
    assert found.probability.shape == (1, 1, 1)
    assert not found.mask.any()
