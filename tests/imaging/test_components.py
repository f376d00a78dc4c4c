import numpy as np

from thoar.core.box import Box
from thoar.imaging.components import (
    component_sizes,
    components_of_at_least,
    kept_components,
    largest_component,
    pieces_of,
)


def three_pieces() -> np.ndarray:
    mask = np.zeros((6, 10, 10), dtype=bool)
    mask[0:2, 0:2, 0:2] = True  # 8 voxels
    mask[2, 2, 2] = True  # joined to them by a corner
    mask[4, 5:9, 5] = True  # 4 voxels
    mask[0, 9, 9] = True
    return mask


def test_voxels_that_share_a_corner_belong_together() -> None:
    assert component_sizes(three_pieces()).tolist() == [9, 4, 1]


def test_largest_component_is_the_one_with_most_voxels() -> None:
    largest = largest_component(three_pieces())
    assert largest.sum() == 9
    assert largest[2, 2, 2]


def test_components_of_at_least_keeps_every_large_piece() -> None:
    kept = components_of_at_least(three_pieces(), 4)
    assert kept.sum() == 13
    assert not kept[0, 9, 9]


def test_an_empty_mask_has_no_components() -> None:
    empty = np.zeros((3, 3, 3), dtype=bool)
    assert not largest_component(empty).any()
    assert not components_of_at_least(empty, 1).any()
    assert component_sizes(empty).size == 0


def test_small_pieces_go_and_are_counted() -> None:
    kept, stayed, went = kept_components(three_pieces(), 0.4)
    assert (stayed, went) == (2, 1)
    np.testing.assert_array_equal(kept, components_of_at_least(three_pieces(), 4))


def test_a_piece_of_just_the_least_share_stays() -> None:
    assert kept_components(three_pieces(), 4 / 9)[1:] == (2, 1)
    assert kept_components(three_pieces(), 0.45)[1:] == (1, 2)


def test_a_mask_that_loses_nothing_is_not_copied() -> None:
    mask = three_pieces()
    kept, stayed, went = kept_components(mask, 0.1)
    assert kept is mask
    assert (stayed, went) == (3, 0)


def test_an_empty_mask_keeps_nothing_and_loses_nothing() -> None:
    kept, stayed, went = kept_components(np.zeros((3, 3, 3), dtype=bool), 0.1)
    assert (kept.any(), stayed, went) == (False, 0, 0)


def test_pieces_lie_where_they_are_in_the_whole_array_and_apart_in_millimetres() -> None:
    mask = np.zeros((8, 9, 10), dtype=bool)
    mask[2:4, 3:6, 4:7] = True
    mask[7, 4, 5] = True
    first, second = pieces_of(mask, (3.0, 1.0, 1.0))
    assert first.box_zyx == Box(start_zyx=(2, 3, 4), stop_zyx=(4, 6, 7))
    assert (second.voxels, second.apart_mm) == (1, 12.0)
    assert second.box_zyx == Box(start_zyx=(7, 4, 5), stop_zyx=(8, 5, 6))
