import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.imaging.prepare import PreparationReport
from thoar.inference.segmentation import CoarseResult, OrganFlags, OrganSegmentation, Segmentation

GRID = Geometry.axial((6, 8, 10), (5.0, 2.0, 1.0), origin_xyz_mm=(7.0, 8.0, 9.0))
VOXEL_ML = 0.01


def result(
    name: str, number: int, box: Box | None = None, values: float | np.ndarray = 1.0
) -> OrganSegmentation:
    probability = None if box is None else np.broadcast_to(np.float16(values), box.shape_zyx).copy()
    return OrganSegmentation(
        organ=Organ(name=name, id=number),
        box_zyx=box,
        probability=probability,
        voxel_volume_ml=VOXEL_ML,
        flags=OrganFlags(not_found=box is None),
    )


def segmentation(*organs: OrganSegmentation) -> Segmentation:
    return Segmentation(
        geometry=GRID,
        label_set=LabelSet(organs=tuple(organ.organ for organ in organs)),
        organs=organs,
        coarse=CoarseResult(geometry=GRID, probability={}, mask={}),
        preparation=PreparationReport(
            threshold_hu=-400.0,
            threshold_method="fixed",
            body_ml=1.0,
            source_shape_zyx=GRID.shape_zyx,
            source_spacing_zyx_mm=GRID.spacing_zyx_mm,
            resampled_shape_zyx=GRID.shape_zyx,
            prepared_shape_zyx=GRID.shape_zyx,
            prepared_spacing_zyx_mm=GRID.spacing_zyx_mm,
            padding_zyx=(0, 0, 0),
            outside_voxels=0,
            reduction=1.0,
        ),
        short_scan=False,
        seconds={},
    )


def box(*corners: int) -> Box:
    (a, b, c), (d, e, f) = corners[:3], corners[3:]
    return Box(start_zyx=(a, b, c), stop_zyx=(d, e, f))


LEFT, RIGHT = box(1, 1, 1, 4, 4, 6), box(2, 2, 4, 6, 6, 9)
COMMON = box(2, 2, 4, 4, 4, 6)


def test_an_organ_is_pasted_where_its_box_lies() -> None:
    found = segmentation(result("a", 1, LEFT, 0.75), result("b", 2))
    expected = np.zeros(GRID.shape_zyx)
    expected[LEFT.slices] = 1
    assert np.array_equal(found.mask("a"), expected > 0)
    assert np.array_equal(found.probability("a").voxels, expected * 0.75)
    assert found.probability("a").geometry is GRID
    assert found.organ("a").volume_ml == pytest.approx(LEFT.voxels * VOXEL_ML)


def test_an_organ_not_found_is_empty_everywhere() -> None:
    found = segmentation(result("a", 1))
    assert not found.mask("a").any()
    assert not found.probability("a").voxels.any()
    assert not found.label_volume().voxels.any()
    assert found.organ("a").volume_ml == 0.0
    organ, (place, mask) = next(iter(found.masks_in_boxes().items()))
    assert organ.name == "a"
    assert mask.shape == place.shape_zyx
    assert not mask.any()


def test_a_mask_begins_at_one_half() -> None:
    values = np.full(LEFT.shape_zyx, 0.499)
    values[0, 0, 0] = 0.5
    assert segmentation(result("a", 1, LEFT, values)).mask("a").sum() == 1


def test_the_higher_probability_wins_where_organs_overlap() -> None:
    for first, second, winner in ((0.9, 0.6, 1), (0.6, 0.9, 2), (0.6, 0.6, 1)):
        found = segmentation(result("a", 1, LEFT, first), result("b", 2, RIGHT, second))
        labels = found.label_volume().voxels
        assert set(np.unique(labels[COMMON.slices])) == {winner}
        assert (labels == 1).sum() == LEFT.voxels - (winner == 2) * COMMON.voxels
        assert (labels == 2).sum() == RIGHT.voxels - (winner == 1) * COMMON.voxels
        assert found.mask("a").sum() == LEFT.voxels
        assert found.overlaps_ml() == {("a", "b"): pytest.approx(COMMON.voxels * VOXEL_ML)}


def test_the_highest_of_three_wins_in_any_order() -> None:
    for values in ((0.5, 0.7, 0.9), (0.9, 0.7, 0.5), (0.7, 0.9, 0.5), (0.7, 0.5, 0.9)):
        organs = [result(name, 1 + i, LEFT, values[i]) for i, name in enumerate("abc")]
        assert set(np.unique(segmentation(*organs).label_volume().voxels)) == {0, 1 + np.argmax(values)}


def test_a_voxel_below_one_half_takes_nothing_from_another_organ() -> None:
    values = np.full(RIGHT.shape_zyx, 0.45)
    values[-1] = 0.9
    found = segmentation(result("a", 1, LEFT, 0.5), result("b", 2, RIGHT, values))
    assert (found.label_volume().voxels == 1).sum() == LEFT.voxels
    assert found.overlaps_ml() == {}


def test_boxes_that_only_touch_share_nothing() -> None:
    found = segmentation(
        result("a", 1, box(0, 0, 0, 2, 2, 2)), result("b", 2, box(2, 0, 0, 4, 2, 2)), result("c", 3)
    )
    assert found.overlaps_ml() == {}


def test_ids_beyond_a_byte_are_kept() -> None:
    labels = segmentation(result("a", 300, LEFT), result("b", 2, RIGHT, 0.6)).label_volume()
    assert labels.voxels.dtype == np.uint16
    assert set(np.unique(labels.voxels)) == {0, 2, 300}


def test_an_organ_that_was_not_asked_for_is_refused_by_name() -> None:
    with pytest.raises(LabelError, match="'liver' was not segmented here; there are a"):
        segmentation(result("a", 1)).organ("liver")


def test_a_heart_to_the_right_of_the_trachea_seems_mirrored() -> None:
    on_the_left, on_the_right = box(1, 1, 6, 4, 4, 9), box(1, 1, 1, 4, 4, 4)
    assert segmentation(result("heart", 1, on_the_right), result("trachea", 2, on_the_left)).seems_mirrored
    assert not segmentation(
        result("heart", 1, on_the_left), result("trachea", 2, on_the_right)
    ).seems_mirrored


def test_nothing_seems_mirrored_where_heart_or_trachea_is_not_found() -> None:
    assert not segmentation(result("heart", 1, LEFT), result("trachea", 2)).seems_mirrored
    assert not segmentation(result("heart", 1, LEFT)).seems_mirrored
