"""Gaps, uneven steps, tilt and shifts: what is refused by name, and what the options allow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.core.errors import GeometryError, IncompleteSeriesError, InputError
from thoar.core.volume import Volume
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series
from thoar.io.dicom.steps import missing_slices

Write = Callable[..., Path]
RECTIFY = ReadOptions(rectify=True)


def at_depths(depths_mm: list[float]) -> Callable[[pydicom.Dataset, int], None]:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        x, y, _ = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{depths_mm[k]:.6f}"]

    return edit


def shifted(y_mm: Callable[[int], float]) -> Callable[[pydicom.Dataset, int], None]:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, f"{float(y) + y_mm(k):.6f}", z]

    return edit


def without(folder: Path, *slices: int) -> Path:
    for k in slices:
        (folder / f"{99 - k}").unlink()
    return folder


@pytest.mark.parametrize(
    ("distances_mm", "missing"),
    [
        ([3, 3, 3, 6, 3, 3, 3], [0, 0, 0, 1, 0, 0, 0]),
        ([6, 3, 3, 3], [1, 0, 0, 0]),
        ([3, 3, 3, 6], [0, 0, 0, 1]),
        ([3, 6], [0, 1]),
        ([3, 3, 6, 6, 3, 3, 3], [0, 0, 1, 1, 0, 0, 0]),
        ([3, 6, 3, 6, 3, 6, 3], [0, 1, 0, 1, 0, 1, 0]),
        ([3, 3, 3, 12, 3, 3, 3, 9, 3], [0, 0, 0, 3, 0, 0, 0, 2, 0]),
        ([3, 3, 3, 50, 3, 3, 3], [0, 0, 0, 16, 0, 0, 0]),
        ([6, 6, 6, 3, 3, 3], [0] * 6),
        ([3, 3, 3, 6, 6, 6], [0] * 6),
        ([6, 6, 12, 6, 6, 6, 3, 3, 3, 3], [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ([6, 6, 6, 3, 3, 3, 6, 3, 3, 3], [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ([6, 6, 6, 12, 3, 3, 3], [0, 0, 0, 1, 0, 0, 0]),
        ([3, 3.2, 3.4, 3.6, 3.8], [0] * 5),
        ([2.9, 3.1, 3.05, 5.95, 3, 3], [0, 0, 0, 1, 0, 0]),
        ([3, 3, 4, 3, 3], [0] * 5),
        ([3], [0]),
    ],
)
def test_gaps_are_told_from_changes_of_spacing(distances_mm: list[float], missing: list[int]) -> None:
    assert missing_slices(np.array(distances_mm, dtype=float)).tolist() == missing


@pytest.mark.parametrize(("absent", "count"), [((5,), 1), ((5, 6, 7), 3), ((1,), 1), ((3, 8, 9), 2)])
def test_missing_slices_are_refused_unless_so_many_may_be_filled(
    absent: tuple[int, ...],
    count: int,
    tall: Volume,
    write_series: Write,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = without(write_series(tall), *absent)
    for allowed in (ReadOptions(), RECTIFY, ReadOptions(fill_gaps=count - 1)):
        with pytest.raises(IncompleteSeriesError, match=rf"missing; .*\(--fill-gaps {count}\)"):
            read_series(folder, allowed)
    series = read_series(folder, ReadOptions(fill_gaps=count))
    kept = [k for k in range(12) if k not in absent]
    assert series.volume is None
    assert np.array_equal(series.stack.voxels, tall.voxels[kept])
    assert series.stack.planes.depths_mm == pytest.approx([3.0 * (k - kept[0]) for k in kept])
    assert [reference.file for reference in series.references] == [f"{99 - k}" for k in kept]
    assert "missing, to be interpolated" in caplog.text


def test_a_gap_is_named_between_its_neighbours(tall: Volume, write_series: Write) -> None:
    folder = without(write_series(tall), 5)
    found = (
        r"95 and 93 lie 6\.000 mm apart \(at 12\.000 and 18\.000 mm\) .* 3\.000 mm apart: 1 slice is missing"
    )
    with pytest.raises(IncompleteSeriesError, match=found):
        read_series(folder)


def test_slices_missing_at_either_end_cannot_be_known(tall: Volume, write_series: Write) -> None:
    found = read_series(without(write_series(tall), 0, 11)).volume
    assert found is not None
    assert np.array_equal(found.voxels, tall.voxels[1:11])


UNEVEN = {
    "spacing changes": [0, 6, 12, 18, 24, 27, 30, 33, 36, 39, 42, 45],
    "steps grow": np.cumsum(np.linspace(3, 4, 12)).tolist(),
    "half a millimetre off": [0, 3, 6, 9.5, 12, 15, 18, 21, 24, 27, 30, 33],
    "a quarter of small steps off": [0, 0.3, 0.6, 1.0, 1.4, 1.7, 2.0, 2.4, 2.8, 3.1, 3.4, 3.8],
}


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_steps_are_refused_unless_they_may_be_resampled(
    name: str, tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    depths = UNEVEN[name]
    folder = write_series(tall, edit=at_depths(depths))
    with pytest.raises(IncompleteSeriesError, match=r"apart .*uneven .*\(--rectify\)"):
        read_series(folder, ReadOptions(fill_gaps=9))
    series = read_series(folder, RECTIFY)
    assert series.volume is None
    assert series.stack.planes.depths_mm == pytest.approx(np.array(depths) - depths[0])
    assert "resampled by their true geometry" in caplog.text


def test_positions_a_hair_off_are_a_grid(tall: Volume, write_series: Write) -> None:
    depths = np.arange(12) * 3 + np.random.default_rng(0).uniform(-0.01, 0.01, 12)
    found = read_series(write_series(tall, edit=at_depths(depths.tolist()))).volume
    assert found is not None
    assert found.geometry.spacing_zyx_mm[0] == pytest.approx(3, abs=0.002)


def test_a_gap_of_no_whole_number_of_steps_needs_both(tall: Volume, write_series: Write) -> None:
    depths = [0, 3, 6, 9, 12, 20, 23, 26, 29, 32, 35, 38]
    folder = write_series(tall, edit=at_depths(depths))
    with pytest.raises(IncompleteSeriesError, match=r"8\.000 mm apart .*--fill-gaps 2"):
        read_series(folder, RECTIFY)
    with pytest.raises(IncompleteSeriesError, match=r"--rectify"):
        read_series(folder, ReadOptions(fill_gaps=2))
    assert read_series(folder, ReadOptions(fill_gaps=2, rectify=True)).volume is None


@pytest.mark.parametrize("degrees", [-22.5, 0.2, 15])
def test_tilt_is_refused_unless_it_may_be_resampled(
    degrees: float, tall: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    slope = 3 * np.tan(np.radians(degrees))
    folder = write_series(tall, edit=shifted(lambda k: slope * k))
    with pytest.raises(
        GeometryError, match=rf"ImagePositionPatient runs {abs(degrees):.1f}° off .*--rectify"
    ):
        read_series(folder, ReadOptions(fill_gaps=9))
    series = read_series(folder, RECTIFY)
    assert series.volume is None
    assert series.stack.planes.tilt_degrees() == pytest.approx(abs(degrees), abs=1e-4)
    assert series.stack.planes.shifts_yx_mm[:, 0] == pytest.approx(slope * np.arange(12), abs=1e-5)
    assert "gantry tilt" in caplog.text


def test_tilt_with_a_gap_and_uneven_steps_needs_what_each_needs(tall: Volume, write_series: Write) -> None:
    depths = [0, 6, 12, 18, 24, 27, 30, 33, 36, 39, 42, 45]

    def edit(ds: pydicom.Dataset, k: int) -> None:
        at_depths(depths)(ds, k)
        shifted(lambda k: 0.2 * depths[k])(ds, k)

    folder = without(write_series(tall, edit=edit), 9)
    for allowed in (RECTIFY, ReadOptions(fill_gaps=1)):
        with pytest.raises(InputError, match=r"--fill-gaps|--rectify"):
            read_series(folder, allowed)
    series = read_series(folder, ReadOptions(rectify=True, fill_gaps=1))
    assert series.stack.planes.tilt_degrees() == pytest.approx(np.degrees(np.arctan(0.2)))


@pytest.mark.parametrize(
    ("y_mm", "found"),
    [
        (lambda k: 10.0 * (k > 5), "93: by ImagePositionPatient it lies 10.00 mm sideways of where 94"),
        (lambda k: 1.0 * (k == 5), "94: .* lies 1.00 mm sideways"),
        (lambda k: 0.3 * np.sin(k), "sideways"),
        (lambda k: 0.01 * k**2, "sideways"),
    ],
)
def test_slices_shifted_against_one_another_are_refused_always(
    y_mm: Callable[[int], float], found: str, tall: Volume, write_series: Write
) -> None:
    folder = write_series(tall, edit=shifted(y_mm))
    for allowed in (ReadOptions(), ReadOptions(rectify=True, fill_gaps=99)):
        with pytest.raises(GeometryError, match=found):
            read_series(folder, allowed)
