"""The catalogues of `make proof-dicom` as tests: all refused, all read, a part of the orientations."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from proofs.dicom import round_trips as trips
from proofs.dicom.cases import SMALL, Outcome, Readable, Refused, Taken, at, refusal, series
from proofs.dicom.orientations import MATRIX, Arrangement
from proofs.dicom.page import Measured, page
from proofs.dicom.phantom import ORGANS, hounsfield, sampled, truth
from proofs.dicom.read import READ
from proofs.dicom.readable import difference, holding, reading
from proofs.dicom.refused import REFUSED
from proofs.dicom.round_trips import STEPS, Found, round_trips
from proofs.dicom.volumes import agreements

from thoar.core.errors import IncompleteSeriesError
from thoar.core.slices import SliceStack
from thoar.io.dicom import process
from thoar.io.dicom.records import ReadOptions, Series
from thoar.io.dicom.series import read_series

PART = 9
"""Of the orientations, one in so many is run by default; the others are slow."""


def by_id(case: Readable | Refused) -> str:
    return case.id


@pytest.mark.parametrize("case", [case for case in REFUSED if not case.hostile], ids=by_id)
def test_series_is_refused_by_name(case: Refused, tmp_path: Path) -> None:
    outcome = refusal(case, tmp_path, read_series)
    assert not outcome.fault, outcome.message


@pytest.mark.parametrize("case", [case for case in REFUSED if case.hostile], ids=by_id)
def test_hostile_file_is_refused_by_name(case: Refused, tmp_path: Path) -> None:
    outcome = refusal(case, tmp_path, process.read_series)
    assert not outcome.fault, outcome.message


@pytest.mark.parametrize("case", READ, ids=by_id)
def test_odd_but_sure_series_is_read_exactly(case: Readable, tmp_path: Path) -> None:
    outcome = reading(case, tmp_path, read_series)
    assert not outcome.fault, outcome.message


@pytest.mark.parametrize(
    "arrangement",
    [
        pytest.param(a, id=f"{a.group} {a.name}", marks=[] if k % PART == 0 else [pytest.mark.slow])
        for k, a in enumerate(MATRIX)
    ],
)
def test_organs_lie_where_the_formula_says(arrangement: Arrangement, tmp_path: Path) -> None:
    found = round_trips(arrangement, tmp_path, read_series)
    assert not {step: result for step, result in found.items() if not result.right}


@pytest.mark.slow
def test_volumes_return_from_rtstruct_and_segmentation(tmp_path: Path) -> None:
    assert not [found for found in agreements(tmp_path) if not found.good]


def test_the_catalogues_are_as_long_as_promised() -> None:
    sizes = {"refused": len(REFUSED), "read": len(READ), "orientations": len(MATRIX)}
    assert sizes["refused"] >= 60
    assert sizes["read"] >= 40
    assert sizes["orientations"] >= 48 + 10
    assert len({case.id for case in REFUSED}) == len(REFUSED)
    assert len({case.id for case in READ}) == len(READ)


def test_no_two_directions_of_the_phantom_look_alike() -> None:
    points = sampled(spacing_zyx_mm=(4.0, 4.0, 4.0)).points_xyz_mm
    size = min(points.shape[:3])
    cube = hounsfield(points[:size, :size, :size]).astype(int)
    for axes in ((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)):
        assert np.abs(cube - cube.transpose(axes)).mean() > 50
    for axis in range(3):
        assert np.abs(cube - np.flip(cube, axis)).mean() > 50


def changed_reader(change: Callable[[Series], Series]) -> Callable[[Path, ReadOptions], Series]:
    return lambda path, options: change(read_series(path, options))


def with_stack(series_: Series, voxels: np.ndarray | None = None, **planes: object) -> Series:
    stack = series_.stack
    moved = dataclasses.replace(stack.planes, **planes)
    return dataclasses.replace(
        series_, stack=SliceStack(voxels=stack.voxels if voxels is None else voxels, planes=moved)
    )


WRONG_READERS = {
    "mirrored": lambda s: with_stack(s, s.stack.voxels[:, :, ::-1]),
    "upside down": lambda s: with_stack(s, s.stack.voxels[::-1]),
    "0.3 mm aside along every axis": lambda s: with_stack(
        s, origins_xyz_mm=s.stack.planes.origins_xyz_mm + np.array((0.3, 0, 0))
    ),
    "spacings swapped": lambda s: with_stack(s, spacing_yx_mm=s.stack.planes.spacing_yx_mm[::-1]),
    "one HU off in one voxel": lambda s: with_stack(
        s, s.stack.voxels + (np.indices(s.stack.voxels.shape).sum(0) == 0)
    ),
    "references reversed": lambda s: dataclasses.replace(s, references=s.references[::-1]),
}


@pytest.mark.parametrize("name", WRONG_READERS)
def test_a_wrong_reader_is_a_silent_error(name: str, tmp_path: Path) -> None:
    case = Readable(id="A0", what="nothing odd", make=holding())
    outcome = reading(case, tmp_path, changed_reader(WRONG_READERS[name]))
    assert outcome.silent


def test_a_reader_that_takes_everything_is_a_silent_error(tmp_path: Path) -> None:
    case = next(case for case in REFUSED if case.id == "A1a")
    lenient = ReadOptions(fill_gaps=9)
    assert refusal(case, tmp_path, lambda path, _: read_series(path, lenient)).silent


def test_a_refusal_must_say_what_to_do(tmp_path: Path) -> None:
    def curt(path: Path, options: ReadOptions) -> Series:
        raise IncompleteSeriesError(f"{path}: bad")

    case = next(case for case in REFUSED if case.id == "A1a")
    assert refusal(case, tmp_path, curt).fault == "does not say the file, finding, fix"


def test_results_that_lie_elsewhere_are_silent_errors(tmp_path: Path) -> None:
    shifted = changed_reader(lambda s: with_stack(s, origins_xyz_mm=s.stack.planes.origins_xyz_mm + 3))
    found = round_trips(MATRIX[0], tmp_path, shifted)
    assert [step for step in STEPS if not found[step].silent] == []


def test_tilted_slices_resampled_as_if_straight_are_found_out(tmp_path: Path) -> None:
    arrangement = next(a for a in MATRIX if a.name.startswith("tilted +15"))
    path = arrangement.write(tmp_path)
    found = read_series(path, arrangement.options)
    planes = found.stack.planes
    straight = planes.origins_xyz_mm[0] + np.outer(planes.depths_mm, planes.normal_xyz)
    wrong = with_stack(found, origins_xyz_mm=straight)
    assert trips.input_as_taken(wrong, trips.in_order(arrangement.sampling)).silent


def test_a_mask_one_voxel_off_is_found_out() -> None:
    masks = {name: truth(name, SMALL.points_xyz_mm) for name in ORGANS}
    assert trips.compared(masks, SMALL).voxels == 0
    masks["heart"] = np.roll(masks["heart"], 1, axis=2)
    assert not trips.compared(masks, SMALL).right


def test_differences_are_told_apart(tmp_path: Path) -> None:
    path = series()(tmp_path)
    found = read_series(path)
    hu = hounsfield(SMALL.points_xyz_mm)
    assert not difference(found, Taken(path=path, sampling=SMALL, hu=hu))
    assert "HU" in difference(found, Taken(path=path, sampling=SMALL, hu=hu + 1))
    aside = at(SMALL, np.full((len(hu), 3), 0.2))
    assert "off" in difference(found, Taken(path=path, sampling=aside, hu=hu))


def test_the_page_counts_what_was_measured(tmp_path: Path) -> None:
    good, bad = Outcome(id="A1", what="a gap"), Outcome(id="A2", what="gaps", fault="was read", silent=True)
    rows = (("24 directions × 2 orders", "+x +y", dict.fromkeys(STEPS, Found(farthest_mm=0.01))),)
    measured = Measured(refused=(good, bad), read=(good,), matrix=rows, volumes=(), seconds=1.0)
    assert (measured.failures, measured.silent) == (1, 1)
    assert "| series that must be refused | 1 | 2 |" in page(measured)
    assert str(tmp_path.parent) not in page(measured)


@pytest.mark.peer
@pytest.mark.slow
def test_plastimatch_takes_part(peer: Callable[[str], str], tmp_path: Path) -> None:
    assert shutil.which(peer("plastimatch"))
    assert {found.reader for found in agreements(tmp_path)} >= {"RTSTRUCT by plastimatch"}
