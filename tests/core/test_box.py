import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoar.core.box import Box

corners = st.tuples(*[st.integers(-40, 40)] * 3)
sizes = st.tuples(*[st.integers(1, 30)] * 3)
strides = st.tuples(*[st.integers(1, 9)] * 3)
boxes = st.builds(
    lambda start, size: Box(
        start_zyx=start, stop_zyx=(start[0] + size[0], start[1] + size[1], start[2] + size[2])
    ),
    corners,
    sizes,
)


@settings(deadline=None)
@given(boxes, strides)
def test_snapping_keeps_the_box_inside_and_adds_less_than_one_stride(
    box: Box, stride: tuple[int, int, int]
) -> None:
    snapped = box.snapped_outward(stride)
    assert snapped.contains(box)
    for axis in range(3):
        assert snapped.start_zyx[axis] % stride[axis] == 0
        assert snapped.stop_zyx[axis] % stride[axis] == 0
        assert box.start_zyx[axis] - snapped.start_zyx[axis] < stride[axis]
        assert snapped.stop_zyx[axis] - box.stop_zyx[axis] < stride[axis]
    assert snapped.scaled_down(stride).scaled_up(stride) == snapped


@settings(deadline=None)
@given(boxes, boxes)
def test_intersection_holds_what_both_hold(one: Box, other: Box) -> None:
    common = one.intersection(other)
    both = {*_points(one)} & {*_points(other)} if one.voxels < 3000 and other.voxels < 3000 else None
    if common is None:
        assert not both
    else:
        assert one.contains(common)
        assert other.contains(common)
        assert both is None or len(both) == common.voxels


def _points(box: Box) -> list[tuple[int, ...]]:
    (a, b, c), (d, e, f) = box.start_zyx, box.stop_zyx
    return [(z, y, x) for z in range(a, d) for y in range(b, e) for x in range(c, f)]


@settings(deadline=None)
@given(boxes, boxes)
def test_union_contains_both(one: Box, other: Box) -> None:
    assert one.union(other).contains(one)
    assert one.union(other).contains(other)


def test_box_of_a_mask_is_its_bounding_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 6] = mask[3, 4, 0] = True
    box = Box.of_mask(mask)
    assert box == Box(start_zyx=(1, 2, 0), stop_zyx=(4, 5, 7))
    assert mask[box.slices].sum() == 2
    assert Box.of_mask(np.zeros((2, 2, 2), bool)) is None
    assert Box.of_mask(np.ones((2, 3, 4), bool)) == Box.of_shape((2, 3, 4))


def test_expanding_and_shifting_are_face_by_face() -> None:
    box = Box(start_zyx=(1, 2, 3), stop_zyx=(4, 5, 6))
    assert box.expanded((1, 0, 2), (0, 3, 1)) == Box(start_zyx=(0, 2, 1), stop_zyx=(4, 8, 7))
    assert box.shifted((-1, 0, 5)) == Box(start_zyx=(0, 2, 8), stop_zyx=(3, 5, 11))


def test_an_empty_box_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="empty box"):
        Box(start_zyx=(0, 3, 0), stop_zyx=(1, 3, 1))


def test_a_box_off_the_coarse_grid_cannot_be_scaled_down() -> None:
    with pytest.raises(ValueError, match="multiples"):
        Box(start_zyx=(0, 8, 8), stop_zyx=(2, 17, 16)).scaled_down((2, 8, 8))
