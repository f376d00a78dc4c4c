import itertools
import math

import numpy as np
import pytest

from thoar.core import configuration
from thoar.core.box import Box
from thoar.core.errors import GeometryError, InputError, LabelError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.imaging.body import find_body
from thoar.imaging.prepare import Prepared, prepare, prepare_labels, restore
from thoar.imaging.resample import grid_of_spacing, resample_linear

ORIENTATIONS = [
    (axes, flipped)
    for axes in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
PREPARATION = configuration.Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0))
MULTIPLE_ZYX = (2, 8, 8)
CENTRE_XYZ_MM = np.array([21.3, -14.2, 63.7])
RADIUS_MM = 22.0


def scan_grid() -> Geometry:
    """Return a tilted grid of odd sizes and spacings whose middle lies near the organ."""
    a = math.radians(8)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]
    shape = (41, 95, 111)
    matrix = tilt @ Geometry.axial(shape, (2.7, 1.37, 1.19)).lps_from_index
    middle = (matrix @ [*(np.array(shape) - 1) / 2, 1])[:3]
    matrix[:3, 3] += CENTRE_XYZ_MM - middle + np.array((3.1, -2.3, 1.7))
    return Geometry(shape_zyx=shape, lps_from_index=matrix)


def distance_mm(grid: Geometry, centre_xyz_mm: np.ndarray = CENTRE_XYZ_MM) -> np.ndarray:
    index = np.stack([*np.indices(grid.shape_zyx), np.ones(grid.shape_zyx)])
    xyz = np.einsum("ij,jzyx->izyx", grid.lps_from_index, index)[:3]
    return np.linalg.norm(xyz - centre_xyz_mm[:, None, None, None], axis=0)


def organ_probability(grid: Geometry) -> np.ndarray:
    return (1 / (1 + np.exp((distance_mm(grid) - RADIUS_MM) / 2))).astype(np.float32)


def scan(grid: Geometry) -> Volume:
    """Return a ball of water round the organ, in air."""
    voxels = np.where(distance_mm(grid) < 50, 0, -1000).astype(np.int16)
    return Volume(voxels=voxels, geometry=grid)


def prepared_scan(grid: Geometry, body: configuration.Body | None = None) -> Prepared:
    return prepare(
        scan(grid),
        preparation=PREPARATION,
        body=body or configuration.Body(),
        multiple_zyx=MULTIPLE_ZYX,
    )


def labels_on(grid: Geometry, mask: np.ndarray) -> LabelVolume:
    return LabelVolume(voxels=mask.astype(np.uint8) * 2, geometry=grid, label_set=SEGTHOR)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def centroid_mm(weights: np.ndarray, grid: Geometry) -> np.ndarray:
    index = [float((weights * i).sum() / weights.sum()) for i in np.indices(grid.shape_zyx)]
    return np.array(grid.position_xyz_mm(index))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_organ_comes_back_to_its_place_in_every_orientation(orientation) -> None:
    axes, flipped = orientation
    grid = scan_grid().reordered(axes, flipped=flipped)
    prepared = prepared_scan(grid)
    truth = organ_probability(grid)
    seen = organ_probability(prepared.geometry)
    box = Box.of_mask(seen > 0.01)
    assert box is not None
    source_box, probability = restore(seen[box.slices], box, prepared)
    back = np.zeros_like(truth)
    back[source_box.slices] = probability
    assert dice(back >= 0.5, truth >= 0.5) > 0.99
    assert np.abs(back - truth).max() < 0.1
    assert np.linalg.norm(centroid_mm(back, grid) - centroid_mm(truth, grid)) < 0.05


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_prepared_labels_lie_where_the_scan_shows_the_organ(orientation) -> None:
    axes, flipped = orientation
    grid = scan_grid().reordered(axes, flipped=flipped)
    prepared = prepared_scan(grid)
    labels = prepare_labels(labels_on(grid, distance_mm(grid) < RADIUS_MM), prepared)
    assert dice(labels == 2, distance_mm(prepared.geometry) < RADIUS_MM) > 0.97
    offset = centroid_mm((labels == 2).astype(float), prepared.geometry) - CENTRE_XYZ_MM
    assert np.linalg.norm(offset) < 0.1


def test_a_marked_point_is_where_the_prepared_geometry_says() -> None:
    grid = scan_grid().reordered((2, 0, 1), flipped=(True, False, True))
    volume = scan(grid)
    voxels = volume.voxels.copy()
    marked = tuple(round(i) for i in grid.index_zyx(CENTRE_XYZ_MM.tolist()))
    voxels[marked] = 900
    prepared = prepare(
        Volume(voxels=voxels, geometry=grid),
        preparation=PREPARATION,
        body=configuration.Body(),
        multiple_zyx=MULTIPLE_ZYX,
    )
    brightest = np.unravel_index(prepared.voxels.argmax(), prepared.voxels.shape)
    apart_mm = np.subtract(
        prepared.geometry.position_xyz_mm([int(i) for i in brightest]), grid.position_xyz_mm(marked)
    )
    assert (np.abs(apart_mm) < (1.0, 1.2, 1.7)).all()  # half a voxel, and the tilt


def test_the_prepared_scan_is_scaled_cropped_padded_and_says_so() -> None:
    prepared = prepared_scan(scan_grid())
    report, content = prepared.report, prepared.content_box
    assert prepared.voxels.shape == prepared.geometry.shape_zyx == report.prepared_shape_zyx
    assert all(n % m == 0 for n, m in zip(prepared.voxels.shape, MULTIPLE_ZYX, strict=True))
    assert content.start_zyx == (0, 0, 0)
    assert tuple(a + b for a, b in zip(content.shape_zyx, report.padding_zyx, strict=True)) == (
        prepared.voxels.shape
    )
    inside = distance_mm(prepared.geometry)
    np.testing.assert_allclose(prepared.voxels[inside < 46], 0.5)  # water, halfway from -1000 to 1000
    assert not prepared.voxels[inside > 54].any()
    assert report.threshold_method == "otsu_middle_slice"
    assert report.body_ml == pytest.approx(4 / 3 * math.pi * 5**3, rel=0.05)
    assert report.source_shape_zyx == (41, 95, 111)
    assert report.resampled_shape_zyx == (37, 66, 67)
    assert report.reduction == pytest.approx(math.prod((37, 66, 67)) / content.voxels)
    assert report.reduction > 1.2


def test_without_crop_the_whole_field_of_view_stays() -> None:
    prepared = prepared_scan(scan_grid(), configuration.Body(crop=False, mask_outside=False))
    assert prepared.content_box.shape_zyx == prepared.report.resampled_shape_zyx
    assert prepared.report.reduction == 1


def test_what_lies_outside_the_body_becomes_air_only_if_asked() -> None:
    volume = scan(scan_grid())
    blanket = np.where(volume.voxels < -500, -700, 0).astype(np.int16)
    blanket[:, :3] = -1000
    for masked, least in ((True, 0.0), (False, 0.15)):
        prepared = prepare(
            Volume(voxels=blanket, geometry=volume.geometry),
            preparation=PREPARATION,
            body=configuration.Body(mask_outside=masked),
            multiple_zyx=(1, 1, 1),
        )
        assert prepared.voxels[0, 0, 0] == pytest.approx(least)


def test_an_organ_at_the_scans_face_is_not_thinned_there() -> None:
    grid = Geometry.axial((33, 60, 60), (0.8, 1.9, 1.9))
    volume = Volume(voxels=np.full(grid.shape_zyx, -1000, dtype=np.int16), geometry=grid)
    volume.voxels[:, 10:50, 10:50] = 0
    prepared = prepare(volume, preparation=PREPARATION, body=configuration.Body(), multiple_zyx=MULTIPLE_ZYX)
    seen = np.zeros(prepared.voxels.shape, dtype=np.float32)
    seen[prepared.content_box.slices] = 1.0
    source_box, probability = restore(seen, Box.of_shape(seen.shape), prepared)
    assert source_box.shape_zyx[0] == 33
    assert probability.min() == 1


def test_beyond_a_face_of_the_box_probability_ends_with_the_voxels() -> None:
    prepared = prepared_scan(scan_grid())
    box = Box(start_zyx=(4, 8, 8), stop_zyx=(8, 24, 24))
    source_box, probability = restore(np.ones(box.shape_zyx, dtype=np.float32), box, prepared)
    assert probability.shape == source_box.shape_zyx
    assert (probability == 1).all()
    volume_ml = probability.size * prepared.source_geometry.voxel_volume_ml
    assert volume_ml == pytest.approx(box.voxels * prepared.geometry.voxel_volume_ml, rel=0.2)


def test_a_box_too_thin_for_any_voxel_of_the_scan_gives_one_voxel() -> None:
    grid = Geometry.axial((12, 40, 40), (10.0, 4.0, 4.0))
    volume = Volume(voxels=np.full(grid.shape_zyx, -1000, dtype=np.int16), geometry=grid)
    volume.voxels[:, 10:30, 10:30] = 0
    prepared = prepare(volume, preparation=PREPARATION, body=configuration.Body(), multiple_zyx=MULTIPLE_ZYX)
    for start in range(6):
        box = Box(start_zyx=(start, 5, 5), stop_zyx=(start + 1, 6, 6))
        source_box, probability = restore(np.ones((1, 1, 1), dtype=np.float32), box, prepared)
        assert source_box.voxels == probability.size == 1


def test_a_box_in_the_padding_alone_is_a_mistake() -> None:
    prepared = prepared_scan(scan_grid())
    end = prepared.content_box.stop_zyx
    box = Box(start_zyx=end, stop_zyx=tuple(e + 1 for e in end))
    with pytest.raises(ValueError, match="no part of"):
        restore(np.ones((1, 1, 1), dtype=np.float32), box, prepared)


@pytest.mark.parametrize("shape_zyx", [(2, 60, 60), (60, 60, 1)])
def test_fewer_than_three_slices_along_any_axis_are_refused(shape_zyx) -> None:
    volume = Volume(
        voxels=np.zeros(shape_zyx, dtype=np.int16), geometry=Geometry.axial(shape_zyx, (3.0, 1.0, 1.0))
    )
    with pytest.raises(GeometryError, match=f"only {min(shape_zyx)} along one axis"):
        prepare(volume, preparation=PREPARATION, body=configuration.Body(), multiple_zyx=MULTIPLE_ZYX)


def test_a_volume_of_air_is_refused() -> None:
    grid = scan_grid()
    air = Volume(voxels=np.full(grid.shape_zyx, -1000, dtype=np.int16), geometry=grid)
    with pytest.raises(InputError, match="no body found"):
        prepare(air, preparation=PREPARATION, body=configuration.Body(), multiple_zyx=MULTIPLE_ZYX)


def test_labels_that_the_crop_would_lose_are_refused() -> None:
    grid = scan_grid()
    mask = distance_mm(grid) < RADIUS_MM
    mask[:, :3, :3] = True
    with pytest.raises(LabelError, match=f"{41 * 9} labelled voxels lie outside"):
        prepare_labels(labels_on(grid, mask), prepared_scan(grid))
    whole = prepared_scan(grid, configuration.Body(crop=False))
    assert (prepare_labels(labels_on(grid, mask), whole) == 2).any()


def test_labels_over_the_whole_body_are_kept() -> None:
    grid = scan_grid()
    labels = prepare_labels(labels_on(grid, distance_mm(grid) < 50), prepared_scan(grid))
    assert labels.dtype == np.uint8


def test_labels_on_another_grid_than_the_scans_are_refused() -> None:
    grid = scan_grid()
    shifted = grid.cropped(Box.of_shape(grid.shape_zyx).shifted((1, 0, 0)))
    labels = labels_on(shifted, np.zeros(grid.shape_zyx, dtype=bool))
    with pytest.raises(GeometryError, match=r"2\.7 mm apart"):
        prepare_labels(labels, prepared_scan(grid))


def test_labels_in_another_axis_order_than_the_scan_are_the_same_labels() -> None:
    grid = scan_grid()
    mask = distance_mm(grid) < RADIUS_MM
    turned = grid.reordered((2, 1, 0), flipped=(True, False, True))
    prepared = prepared_scan(grid)
    np.testing.assert_array_equal(
        prepare_labels(labels_on(turned, distance_mm(turned) < RADIUS_MM), prepared),
        prepare_labels(labels_on(grid, mask), prepared),
    )


def test_labels_whose_header_is_turned_by_rounding_lie_on_the_scans_grid() -> None:
    grid = scan_grid()
    angle = 0.05 / np.linalg.norm(np.array(grid.shape_zyx[1:]) * grid.spacing_zyx_mm[1:])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = Geometry(shape_zyx=grid.shape_zyx, lps_from_index=turn @ grid.lps_from_index)
    assert 0.01 < grid.difference_mm(turned) < 0.1
    prepared, mask = prepared_scan(grid), distance_mm(grid) < RADIUS_MM
    np.testing.assert_array_equal(
        prepare_labels(labels_on(turned, mask), prepared), prepare_labels(labels_on(grid, mask), prepared)
    )


def test_label_ids_above_255_are_refused() -> None:
    grid = scan_grid()
    labels = LabelVolume(
        voxels=np.zeros(grid.shape_zyx, dtype=np.uint16),
        geometry=grid,
        label_set=LabelSet(organs=(Organ(name="heart", id=300),)),
    )
    with pytest.raises(LabelError, match="up to 300"):
        prepare_labels(labels, prepared_scan(grid))


@pytest.mark.parametrize("body", [configuration.Body(), configuration.Body(crop=False, mask_outside=False)])
def test_the_crop_holds_what_the_whole_field_of_view_resampled_holds_there(body: configuration.Body) -> None:
    volume = scan(scan_grid().reordered((2, 0, 1), flipped=(True, False, True)))
    prepared = prepare(volume, preparation=PREPARATION, body=body, multiple_zyx=MULTIPLE_ZYX)
    turned = to_canonical(volume)
    grid = grid_of_spacing(turned.geometry, PREPARATION.spacing_zyx_mm)
    values_hu = resample_linear(turned.voxels, turned.geometry, grid, outside=-1000.0)
    found = find_body(Volume(voxels=values_hu, geometry=grid), clip_hu=body.clip_hu)
    crop = Box.of_mask(found.mask) if body.crop else Box.of_shape(grid.shape_zyx)
    assert crop is not None
    low, high = PREPARATION.window_hu
    expected = (np.clip(values_hu, low, high) - low) / np.float32(high - low)
    expected[~found.mask & body.mask_outside] = 0
    np.testing.assert_array_equal(prepared.voxels[prepared.content_box.slices], expected[crop.slices])


@pytest.mark.parametrize("threads", [2, 7])
def test_the_number_of_threads_changes_no_bit_there_and_back(threads: int) -> None:
    one, several = (
        prepare(
            scan(scan_grid()),
            preparation=PREPARATION,
            body=configuration.Body(),
            multiple_zyx=MULTIPLE_ZYX,
            threads=n,
        )
        for n in (1, threads)
    )
    np.testing.assert_array_equal(one.voxels, several.voxels)
    assert one.report == several.report
    box = Box(start_zyx=(2, 5, 4), stop_zyx=(12, 24, 30))
    boxes = [restore(one.voxels[box.slices], box, one, threads=n) for n in (1, threads)]
    assert boxes[0][0] == boxes[1][0]
    np.testing.assert_array_equal(boxes[0][1], boxes[1][1])
