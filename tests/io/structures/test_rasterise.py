"""Contours become the masks that they were drawn around; what is odd about them is said, with counts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from skimage.draw import polygon2mask
from skimage.measure import find_contours

from thoar.core.errors import InputError
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.io.dicom.identity import identity_of
from thoar.io.dicom.records import Series, SliceReference
from thoar.io.structures.polygon_area import patch_of
from thoar.io.structures.rasterise import rtstruct_masks, structure_mask
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.structure_mask import StructureMask
from thoar.io.structures.structure_set import Contour, Structure, StructureSet

SHAPE = (40, 50)
DIAMOND = [(9.5, 20), (10, 20.5), (10.5, 20), (10, 19.5)]


def planes(
    depths_mm: Sequence[float] = (0, 3, 6, 9),
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    shift_mm: float = 0.0,
    turn_degrees: float = 0.0,
) -> SlicePlanes:
    """Return slices turned about x, each shifted along its columns against the one before."""
    a = math.radians(turn_degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, math.cos(a), math.sin(a)])
    normal = np.cross(row, column)
    origins = [
        np.array([5.0, -7.0, 2.0]) + d * normal + k * shift_mm * column for k, d in enumerate(depths_mm)
    ]
    return SlicePlanes(
        origins_xyz_mm=np.array(origins),
        along_row_xyz=row,
        along_column_xyz=column,
        spacing_yx_mm=spacing,
        shape_yx=SHAPE,
    )


def contour(
    points_yx: object,
    k: int,
    on: SlicePlanes,
    *,
    kind: str = "CLOSED_PLANAR",
    off_mm: float = 0,
    uid: str = "",
) -> Contour:
    points = on.position_xyz_mm(k, np.array(points_yx, dtype=float)) + off_mm * on.normal_xyz
    return Contour(points_xyz_mm=points, geometric_type=kind, sop_instance_uid=uid)


def structure(*contours: Contour, name: str = "Heart", number: int = 1, frame: str = "1.2") -> Structure:
    return Structure(
        name=name,
        number=number,
        color_rgb=None,
        interpreted_type="",
        frame_of_reference_uid=frame,
        contours=contours,
    )


def square(y: float, x: float, half: float) -> list[tuple[float, float]]:
    return [(y - half, x - half), (y - half, x + half), (y + half, x + half), (y + half, x - half)]


def circle(y: float, x: float, radius: float, count: int = 400) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([y + radius * np.sin(t), x + radius * np.cos(t)], axis=1)


def whole(mask: StructureMask, on: SlicePlanes) -> np.ndarray:
    full = np.zeros((len(on), *on.shape_yx), dtype=bool)
    if mask.box_zyx is not None:
        full[mask.box_zyx.slices] = mask.mask
    return full


def drawn(*contours: Contour, on: SlicePlanes) -> np.ndarray:
    return whole(structure_mask(structure(*contours), on), on)


def sole_fault(*contours: Contour, on: SlicePlanes, **options: object) -> str:
    (fault,) = structure_mask(structure(*contours), on, **options).faults
    return fault


# Area


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("radius", [2.3, 9.7, 17.2])
def test_share_of_pixels_adds_up_to_the_circles_area_about_its_centre(radius: float, shift: float) -> None:
    patch = patch_of(circle(19 + shift, 22 - shift, radius, count=4000), SHAPE)
    assert patch is not None
    assert not patch.cut
    assert not patch.crossing
    assert patch.share.sum() == pytest.approx(np.pi * radius**2, rel=1e-5)
    y, x = np.mgrid[patch.start_yx[0] : patch.stop_yx[0], patch.start_yx[1] : patch.stop_yx[1]]
    centre = [(axis * patch.share).sum() / patch.share.sum() for axis in (y, x)]
    assert centre == pytest.approx([19 + shift, 22 - shift], abs=0.01)


def test_mask_of_a_circle_has_its_area_within_half_a_percent() -> None:
    on = planes(spacing=(0.5, 0.5))
    shifts = [(0.0, 0.0), (0.25, 0.1), (0.5, 0.5), (0.3, 0.8)]
    contours = [contour(circle(19 + y, 24 + x, 17.2), k, on) for k, (y, x) in enumerate(shifts)]
    areas = drawn(*contours, on=on).sum(axis=(1, 2)) / (np.pi * 17.2**2)
    assert np.abs(areas - 1).max() < 0.005
    assert abs(areas.mean() - 1) < 0.002  # no bias


def test_square_on_pixel_borders_is_exact_and_pixel_centres_have_no_pull() -> None:
    on = planes()
    assert drawn(contour(square(10, 20, 2.5), 1, on), on=on)[1].sum() == 25
    assert drawn(contour(square(10, 20, 2.45), 1, on), on=on)[1].sum() == 25
    assert drawn(contour(square(10, 20, 2.05), 1, on), on=on)[1, 8:13, 18:23].sum() == 25 - 4  # corners 0.3
    assert drawn(contour(square(10, 20, 1.95), 1, on), on=on)[1].sum() == 9


def test_diamond_around_one_pixel_is_that_pixel_even_when_rounded() -> None:
    on = planes()
    smaller = [(9.502, 20.0), (10.0, 20.498), (10.498, 20.0), (10.0, 19.502)]
    for points in (DIAMOND, smaller):
        mask = structure_mask(structure(contour(points, 1, on)), on)
        assert mask.box_zyx is not None
        assert mask.box_zyx.start_zyx == (1, 10, 20)
        assert whole(mask, on).sum() == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 9).flatmap(
        lambda n: st.lists(
            st.tuples(st.floats(-20, 60, width=32), st.floats(-20, 60, width=32)), min_size=n, max_size=n
        )
    )
)
def test_any_polygon_agrees_with_an_eight_by_eight_sub_grid(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points, dtype=float)
    patch = patch_of(polygon, SHAPE)
    share = np.zeros(SHAPE)
    if patch is not None:
        assert np.isfinite(patch.share).all()
        assert patch.share.min() >= 0
        assert patch.share.max() <= 1
        (y0, x0), (y1, x1) = patch.start_yx, patch.stop_yx
        share[y0:y1, x0:x1] = patch.share
    fine = _even_odd_sub_grid(polygon)
    assert patch is None or patch.crossing or np.abs(share - fine).mean() < 0.02
    assert patch is not None or fine.sum() == 0


def _even_odd_sub_grid(polygon: np.ndarray) -> np.ndarray:
    y = ((np.arange(SHAPE[0] * 8) + 0.5) / 8 - 0.5)[:, None]
    x = ((np.arange(SHAPE[1] * 8) + 0.5) / 8 - 0.5)[None, :]
    inside = np.zeros((SHAPE[0] * 8, SHAPE[1] * 8), dtype=bool)
    for (ay, ax), (by, bx) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ((bx - ax) / (by - ay)))
    return inside.reshape(SHAPE[0], 8, SHAPE[1], 8).mean(axis=(1, 3))


def test_masks_drawn_by_marching_squares_come_back_voxel_for_voxel() -> None:
    on = planes()
    random = np.random.default_rng(7)
    truth = np.zeros((4, *SHAPE), dtype=bool)
    truth[:, 2:-2, 2:-2] = random.random((4, 36, 46)) > 0.45
    contours = [
        contour(line[:-1], k, on)
        for k in range(4)
        for line in find_contours(truth[k].astype(float), 0.5, fully_connected="low")
    ]
    assert np.array_equal(drawn(*contours, on=on), truth)


# Holes


def test_ring_by_keyhole_by_two_polygons_and_by_xor_is_the_same() -> None:
    on = planes()
    outer, inner = square(20, 25, 8.5), square(20, 25, 3.5)
    keyhole = [*outer, outer[0], inner[0], *inner[::-1], inner[0], outer[0]]
    same_way_round = [*outer, outer[0], inner[0], *inner[1:], inner[0], outer[0]]
    for ways in ([keyhole], [same_way_round], [outer, inner], [inner, outer[::-1]]):
        assert drawn(*(contour(w, 1, on) for w in ways), on=on)[1].sum() == 17**2 - 7**2
    xor = [contour(w, 1, on, kind="CLOSEDPLANAR_XOR") for w in (outer, inner)]
    mask = structure_mask(structure(*xor), on)
    assert whole(mask, on).sum() == 17**2 - 7**2
    assert not mask.faults


def test_island_in_a_hole_is_there_again() -> None:
    on = planes()
    rings = [contour(square(20, 25, half), 1, on) for half in (3.5, 10.5, 6.5)]
    assert drawn(*rings, on=on)[1].sum() == 21**2 - 13**2 + 7**2


def test_thin_wall_within_pixels_is_not_lost() -> None:
    on = planes()
    wall = drawn(contour(circle(20, 25, 10.4), 1, on), contour(circle(20, 25, 9.6), 1, on), on=on)
    expected = np.pi * (10.4**2 - 9.6**2)
    assert wall.sum() == pytest.approx(expected, rel=0.35)  # most pixels of so thin a wall are near one half
    assert not wall[1, 15:26, 20:31].any()


def test_apart_contours_add_and_touching_ones_leave_no_seam() -> None:
    on = planes()
    halves = [
        contour([(10, 10), (10, 20.25), (20, 20.25), (20, 10)], 1, on),
        contour([(10, 20.25), (10, 30), (20, 30), (20, 20.25)], 1, on),
    ]
    mask = structure_mask(structure(*halves), on)
    one = contour([(10, 10), (10, 30), (20, 30), (20, 10)], 1, on)
    assert np.array_equal(whole(mask, on), drawn(one, on=on))
    assert not mask.faults


def test_overlapping_contours_are_joined_and_told() -> None:
    on = planes()
    two = [contour(square(20, 20, 5.5), 1, on), contour(square(20, 26, 4.5), 1, on)]
    mask = structure_mask(structure(*two), on)
    assert whole(mask, on).sum() == 121 + 81 - 4 * 9
    assert mask.faults == ("contours overlapping others without lying in them are joined: 1",)


def test_overlapping_xor_contours_leave_out_what_both_cover() -> None:
    on = planes()
    two = [contour(square(20, x, 4.5), 1, on, kind="CLOSEDPLANAR_XOR") for x in (20, 26)]
    assert drawn(*two, on=on).sum() == 2 * (81 - 27)


def test_contour_stored_twice_counts_once_and_does_not_cancel() -> None:
    on = planes()
    twice = [contour(square(20, 20, 5.5), 1, on)] * 2
    assert drawn(*twice, on=on).sum() == 121
    assert sole_fault(*twice, on=on) == "contours that repeat others count once: 1"


def test_hole_stored_twice_stays_one_hole_with_its_island() -> None:
    on = planes()
    rings = [contour(square(20, 25, half), 1, on) for half in (10.5, 6.3, 6.3, 2.5)]
    mask = structure_mask(structure(*rings), on)
    assert whole(mask, on)[1].sum() == 21**2 - 13**2 + 5**2
    assert mask.faults == ("contours that repeat others count once: 1",)


def test_bow_tie_is_filled_on_both_sides_and_told() -> None:
    on = planes()
    bow = contour([(9.5, 9.5), (20.5, 30.5), (20.5, 9.5), (9.5, 30.5)], 1, on)
    assert drawn(bow, on=on).sum() == pytest.approx(11 * 21 / 2, abs=6)
    assert sole_fault(bow, on=on) == "contours crossing themselves are taken even-odd: 1"


# Slices


@pytest.mark.parametrize("turn", [0.0, 10.0, 90.0, 180.0])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_contours_find_their_slices_in_turned_and_tilted_stacks(turn: float, shift: float) -> None:
    on = planes((0, 2, 4, 8.5, 13), turn_degrees=turn, shift_mm=shift, spacing=(0.7, 1.1))
    mask = structure_mask(structure(*(contour(square(10 + k, 20, 3.5), k, on) for k in range(5))), on)
    assert not mask.faults
    for k, plane in enumerate(whole(mask, on)):
        assert plane.sum() == 49
        assert plane[7 + k : 14 + k, 17:24].all()


def test_contour_off_its_plane_is_moved_there_and_told() -> None:
    on = planes()
    assert not structure_mask(structure(contour(DIAMOND, 1, on, off_mm=0.09)), on).faults
    fault = sole_fault(contour(square(9, 9, 3), 1, on, off_mm=-1.2), on=on)
    assert fault == "contours off their slice's plane are moved there: 1, by up to 1.20 mm"


def test_contours_between_slices_or_beyond_them_are_left_out_by_position() -> None:
    on = planes((0, 1, 3, 4))
    stray = [contour(square(9, 9, 3), k, on, off_mm=off) for k, off in ((1, 1.0), (0, -0.8), (3, 20.0))]
    mask = structure_mask(structure(contour(square(9, 9, 3), 3, on), *stray), on)
    assert mask.faults == ("contours between slices or beyond them are left out: 3, at 1.20, 4.00, 26.00 mm",)
    assert whole(mask, on).any(axis=(1, 2)).tolist() == [False, False, False, True]


def test_contours_of_a_finer_series_do_not_become_holes() -> None:
    on = planes((0, 3, 6, 9))
    fine = [contour(square(20, 20, 8.5 - abs(off)), 1, on, off_mm=off) for off in (-1, 0, 1)]
    mask = structure_mask(structure(*fine), on)
    assert whole(mask, on).sum() == 289
    assert mask.faults == ("contours beside nearer ones of the same slice are left out: 2, at 4.00, 6.00 mm",)


def test_contour_across_the_slices_is_left_out_and_a_bent_one_flattened() -> None:
    on = planes()
    sagittal = Contour(
        points_xyz_mm=np.array([[9.0, 0, 2], [9, 9, 2], [9, 9, 11], [9, 0, 11]]),
        geometric_type="CLOSED_PLANAR",
        sop_instance_uid="",
    )
    assert "lie across the slices are left out: 1" in structure_mask(structure(sagittal), on).faults[0]
    bent = contour(square(9, 9, 3.5), 1, on)
    bent.points_xyz_mm[0, 2] += 0.5
    faults = structure_mask(structure(bent), on).faults
    assert faults[0] == "contours that are not planar are flattened: 1, by up to 0.50 mm"


def test_slices_without_a_contour_inside_the_structure_are_named() -> None:
    on = planes((0, 3, 6, 9, 12))
    fault = sole_fault(*(contour(square(9, 9, 3), k, on) for k in (0, 2, 4)), on=on)
    assert fault == "slices between its first and its last without a contour: 2, at 5.00, 11.00 mm"


# What is left out


def test_open_contours_and_points_are_left_out_and_counted_by_kind() -> None:
    on = planes()
    kinds = ["OPEN_PLANAR", "POINT", "OPEN_NONPLANAR", "OPEN_PLANAR", "PHI^SECRETNAME"]
    others = [contour(square(9, 9, 3), 1, on, kind=kind) for kind in kinds]
    mask = structure_mask(structure(*others), on)
    assert mask.box_zyx is None
    assert mask.mask is None
    text = " ".join(mask.faults)
    assert "OPEN_PLANAR contours are left out, since they are not closed: 2" in text
    assert "unknown contours" in text
    assert "nothing of it covers" in text
    assert "SECRET" not in text


def test_contours_of_one_or_two_points_are_left_out() -> None:
    on = planes()
    short = [[(9, 9)], [(9, 9), (10, 10)], [(9, 9), (10, 10), (9, 9), (10, 10)]]
    mask = structure_mask(structure(*(contour(p, 1, on) for p in short), contour(DIAMOND, 1, on)), on)
    assert mask.faults == ("contours of fewer than 3 distinct points are left out: 3",)


def test_contours_beyond_the_image_are_cut_or_left_out() -> None:
    on = planes()
    edge, outside = contour(square(0, 20, 3.5), 1, on), contour(square(9, 99, 3), 1, on)
    mask = structure_mask(structure(edge, outside), on)
    assert whole(mask, on)[1].sum() == 4 * 7
    assert mask.faults == (
        "contours outside the image are left out: 1",
        "contours reaching beyond the image are cut off: 1",
    )


def test_structure_without_contours_says_so() -> None:
    assert sole_fault(on=planes()) == "has no contours"


def test_references_to_other_slices_and_strange_images_are_counted_and_not_followed() -> None:
    on = planes()
    uids = ["a", "b", "c", "d"]
    contours = [contour(square(9, 9, 3), k, on, uid=u) for k, u in enumerate(["a", "c", "zz", ""])]
    mask = structure_mask(structure(*contours), on, slice_uids=uids)
    assert whole(mask, on).any(axis=(1, 2)).all()
    assert mask.faults == (
        "contours that refer to another slice than they lie on stay where they lie: 1",
        "contours that refer to images which are not in the series: 1",
    )


# A whole file on a series


def series(on: SlicePlanes, frame: str = "1.2") -> Series:
    header = Dataset()
    header.FrameOfReferenceUID = frame
    return Series(
        stack=SliceStack(voxels=np.zeros((len(on), *on.shape_yx), np.int16), planes=on),
        references=tuple(
            SliceReference(file=f"{k}", sop_class_uid="1.2", sop_instance_uid=f"1.{k}")
            for k in range(len(on))
        ),
        identity=identity_of(header),
    )


def structure_set(*structures: Structure) -> StructureSet:
    return StructureSet(
        file="rs.dcm",
        frame_of_reference_uids=("1.2",),
        series_uids=(),
        sop_instance_uids=frozenset(),
        structures=structures,
    )


def test_another_frame_of_reference_is_refused_naming_both() -> None:
    on = planes()
    with pytest.raises(InputError, match=r"rs\.dcm: ROINumber 1 .*FrameOfReferenceUID 1\.9.*1\.2") as caught:
        rtstruct_masks(
            structure_set(structure(contour(DIAMOND, 1, on), name="J. Doe", frame="1.9")), series(on)
        )
    assert "Doe" not in str(caught.value)
    rtstruct_masks(structure_set(structure(frame="1.9")), series(on))  # an empty one harms nobody


def test_frame_of_reference_is_the_files_where_a_structure_names_none() -> None:
    on = planes()
    unnamed = structure_set(structure(contour(DIAMOND, 1, on), frame=""))
    assert rtstruct_masks(unnamed, series(on))[0].mask is not None
    with pytest.raises(InputError, match=r"ROINumber 1 .*FrameOfReferenceUID 1\.9.*1\.2"):
        rtstruct_masks(replace(unnamed, frame_of_reference_uids=("1.9",)), series(on))


@pytest.mark.parametrize("frames", [(), ("1.2", "1.9")])
def test_structure_of_no_known_frame_of_reference_is_told_of(
    caplog: pytest.LogCaptureFixture, frames: tuple[str, ...]
) -> None:
    on = planes()
    unnamed = structure_set(structure(contour(DIAMOND, 1, on), frame=""))
    assert rtstruct_masks(replace(unnamed, frame_of_reference_uids=frames), series(on))[0].mask is not None
    assert "rs.dcm: ROINumber 1 has no ReferencedFrameOfReferenceUID to compare" in caplog.text


def test_structures_of_one_name_are_told_of_each_other() -> None:
    on = planes()
    twins = [
        structure(contour(DIAMOND, 1, on), name=name, number=k) for k, name in enumerate(("Heart", "HEART"))
    ]
    masks = rtstruct_masks(structure_set(*twins, structure(name="Aorta", number=5)), series(on))
    assert [m.faults for m in masks[:2]] == [("structures of this name: 2",)] * 2
    assert [m.number for m in masks] == [0, 1, 5]


def test_contour_made_to_exhaust_memory_is_refused() -> None:
    on = planes()
    zigzag = np.stack([np.tile([-1.0, 50.0], 100_000), np.linspace(0, 40, 200_000)], axis=1)
    with pytest.raises(InputError, match=r"rs\.dcm: ROINumber 1: a contour of 200000 points crosses"):
        rtstruct_masks(structure_set(structure(contour(zigzag, 1, on))), series(on))
    piled = [contour(square(20, 25, 60), 1, on)] * 70
    with pytest.raises(InputError, match="70 contours of one structure on one slice"):
        rtstruct_masks(structure_set(structure(*piled)), series(on))


def test_far_coordinates_cost_no_memory() -> None:
    on = planes()
    assert drawn(contour(square(20, 25, 1e12), 1, on), on=on)[1].all()


# Real files


def test_clinical_structures_have_the_volume_of_their_contours(shared_data: Path) -> None:
    """Every third slice is compared: skimage's polygons take long."""
    found = read_rtstruct(shared_data / "dicompyler_rtss" / "rtss.dcm")
    image = dcmread(shared_data / "dicompyler_rtss" / "ct.0.dcm", stop_before_pixels=True)
    depths = sorted({c.points_xyz_mm[0, 2] for s in found.structures for c in s.contours})
    origin = np.array(image.ImagePositionPatient, dtype=float)
    on = SlicePlanes(
        origins_xyz_mm=np.array([[*origin[:2], z] for z in depths]),
        along_row_xyz=np.array([1.0, 0, 0]),
        along_column_xyz=np.array([0, 1.0, 0]),
        spacing_yx_mm=tuple(float(v) for v in image.PixelSpacing),
        shape_yx=(image.Rows, image.Columns),
    )
    for item in found.structures:
        mask = structure_mask(item, on)
        assert mask.faults == (() if item.contours else ("has no contours",))
        expected = np.zeros((len(on), *on.shape_yx), dtype=bool)
        for line in item.contours:
            k = depths.index(line.points_xyz_mm[0, 2])
            if k % 3:
                continue
            corners = on.points_yx(k, line.points_xyz_mm)
            y, x = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
            stop = np.minimum(np.ceil(corners.max(axis=0)) + 1, on.shape_yx).astype(int)
            part = expected[k, y : stop[0], x : stop[1]]
            part ^= polygon2mask(part.shape, corners - (y, x))
        ours, expected = whole(mask, on)[::3], expected[::3]
        both, here, there = map(np.count_nonzero, (ours & expected, ours, expected))
        total = max(here + there, 1)
        assert 2 * both / total > 0.97 or not there or item.name in ("Borders", "Scar")
        assert abs(here - there) <= max(0.02 * total, 5)
