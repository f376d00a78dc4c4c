import numpy as np

from thoar.imaging.components import component_sizes, components_of_at_least, largest_component


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
