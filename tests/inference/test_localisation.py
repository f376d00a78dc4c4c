import msgspec
import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.configuration import Localisation
from thoar.inference.localisation import (
    OrganLocalisation,
    at_least,
    box_of_cells,
    coarse_mask,
    connected_to,
    grown_box,
    touched_faces,
    uncalibrated,
)

GRID = Box.of_shape((20, 30, 40))


def located(before: tuple[int, int, int] = (2, 2, 2), after: tuple[int, int, int] = (2, 2, 2)):
    return OrganLocalisation(threshold=0.3, margin_before_zyx=before, margin_after_zyx=after)


def cells_in(*boxes: Box, grid: Box = GRID) -> np.ndarray:
    cells = np.zeros(grid.shape_zyx, dtype=bool)
    for box in boxes:
        cells[box.slices] = True
    return cells


def box(*corners: int) -> Box:
    (a, b, c), (d, e, f) = corners[:3], corners[3:]
    return Box(start_zyx=(a, b, c), stop_zyx=(d, e, f))


def test_a_map_below_the_threshold_holds_nothing_however_much_its_values_differ() -> None:
    probability = np.linspace(0, 0.299, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert not coarse_mask(probability, 0.3, least_cells=5).any()


def test_a_probability_equal_to_the_threshold_counts() -> None:
    probability = np.zeros((4, 4, 4), dtype=np.float32)
    probability[1, 2, 3] = 0.5
    assert coarse_mask(probability, 0.5, least_cells=5).sum() == 1


def test_values_that_are_no_numbers_hold_nothing() -> None:
    assert not coarse_mask(np.full((4, 4, 4), np.nan, dtype=np.float32), 0.3, least_cells=1).any()


def test_every_component_of_enough_cells_is_kept_and_smaller_ones_go() -> None:
    arch, descending, speck = box(1, 1, 1, 2, 2, 6), box(10, 10, 10, 20, 12, 12), box(5, 20, 20, 6, 21, 24)
    cells = coarse_mask(cells_in(arch, descending, speck).astype(np.float32), 0.3, least_cells=5)
    assert np.array_equal(cells, cells_in(arch, descending))


def test_the_largest_component_is_kept_where_none_has_enough_cells() -> None:
    larger, smaller = box(1, 1, 1, 2, 2, 4), box(5, 5, 5, 6, 6, 7)
    cells = coarse_mask(cells_in(larger, smaller).astype(np.float32), 0.3, least_cells=5)
    assert np.array_equal(cells, cells_in(larger))


def test_no_cell_gives_no_box() -> None:
    assert box_of_cells(cells_in(), located(), least_cells_per_axis=4) is None


def test_each_face_gets_its_own_margin() -> None:
    found = box_of_cells(
        cells_in(box(8, 10, 12, 12, 15, 18)), located((1, 2, 3), (4, 5, 6)), least_cells_per_axis=4
    )
    assert found == box(7, 8, 9, 16, 20, 24)


def test_boxes_end_at_the_grid() -> None:
    whole = box_of_cells(cells_in(GRID), located(), least_cells_per_axis=4)
    assert whole == GRID
    corner = box_of_cells(cells_in(box(19, 29, 39, 20, 30, 40)), located(), least_cells_per_axis=4)
    assert corner == box(16, 26, 36, 20, 30, 40)
    first = box_of_cells(cells_in(box(0, 0, 0, 1, 1, 1)), located(), least_cells_per_axis=4)
    assert first == box(0, 0, 0, 4, 4, 4)


def test_a_box_has_at_least_four_cells_per_axis() -> None:
    found = box_of_cells(
        cells_in(box(9, 9, 9, 10, 10, 10)), located((0, 0, 0), (0, 0, 0)), least_cells_per_axis=4
    )
    assert found is not None
    assert found.shape_zyx == (4, 4, 4)
    assert found.contains(box(9, 9, 9, 10, 10, 10))


@pytest.mark.parametrize("cells", [(1, 2, 3), (3, 30, 1), (1, 1, 1)])
def test_a_grid_smaller_than_that_is_taken_whole(cells: tuple[int, int, int]) -> None:
    grid = Box.of_shape(cells)
    found = box_of_cells(cells_in(box(0, 0, 0, 1, 1, 1), grid=grid), located(), least_cells_per_axis=4)
    assert found is not None
    assert grid.contains(found)
    assert found.shape_zyx == tuple(min(4, n) for n in cells)


def test_growing_to_a_least_size_keeps_every_box_inside_its_grid() -> None:
    grid = Box.of_shape((7, 7, 7))
    for a in range(7):
        for b in range(a + 1, 8):
            grown = at_least(box(a, a, a, b, b, b), 4, grid)
            assert grid.contains(grown)
            assert grown.contains(box(a, a, a, b, b, b))
            assert min(grown.shape_zyx) == max(4, b - a)


def test_margins_come_from_the_configuration() -> None:
    settings = Localisation(threshold=0.3, organ_threshold={"heart": 0.5}, organ_margin_cells={"heart": 1})
    assert uncalibrated(settings, "heart") == OrganLocalisation(
        threshold=0.5, margin_before_zyx=(1, 1, 1), margin_after_zyx=(1, 1, 1)
    )
    assert uncalibrated(settings, "aorta") == located()


def test_a_single_voxel_touches_the_faces_it_lies_on() -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[0, 2, 5] = True
    assert touched_faces(mask) == ((1, 0, 0), (0, 0, 1))


def test_only_touched_faces_grow_and_by_their_own_margin() -> None:
    mask = np.zeros((8, 32, 32), dtype=bool)
    mask[0, 5, 31] = True
    grown = grown_box(
        box(6, 6, 6, 10, 10, 10), mask, located((3, 1, 1), (1, 1, 2)), grid=GRID, most_cells=1e6
    )
    assert grown == box(3, 6, 6, 10, 10, 12)


def test_a_margin_of_nothing_still_grows_by_a_cell() -> None:
    mask = np.ones((8, 32, 32), dtype=bool)
    grown = grown_box(
        box(6, 6, 6, 10, 10, 10), mask, located((0, 0, 0), (0, 0, 0)), grid=GRID, most_cells=1e6
    )
    assert grown == box(5, 5, 5, 11, 11, 11)


def test_faces_of_the_grid_do_not_grow() -> None:
    mask = np.ones((40, 240, 320), dtype=bool)
    assert grown_box(GRID, mask, located(), grid=GRID, most_cells=1e6) == GRID


def test_box_that_may_not_grow_by_its_margin_grows_by_a_cell_or_not_at_all() -> None:
    mask = np.ones((8, 16, 16), dtype=bool)
    start = box(6, 6, 6, 10, 10, 10)
    by_margin, by_cell = 8**3, 6**3
    grown = [
        grown_box(start, mask, located((2, 2, 2), (2, 2, 2)), grid=GRID, most_cells=most)
        for most in (by_margin, by_margin - 1, by_cell - 1)
    ]
    assert [g.voxels for g in grown] == [by_margin, by_cell, start.voxels]


def test_only_components_that_share_a_voxel_with_the_seed_are_connected() -> None:
    near, far, beside = box(0, 0, 0, 4, 4, 4), box(10, 10, 10, 12, 12, 12), box(4, 4, 4, 5, 5, 5)
    seed = cells_in(box(1, 1, 1, 2, 2, 2), box(15, 15, 15, 16, 16, 16))
    connected = connected_to(cells_in(near, far, beside), seed)
    assert np.array_equal(connected, cells_in(near, beside))
    assert not connected_to(cells_in(far), seed).any()


@pytest.mark.parametrize(
    "impossible",
    [{"threshold": 0.0}, {"threshold": -1.0}, {"threshold": 1.5}, {"margin_before_zyx": (2, -3, 2)}],
)
def test_an_impossible_localisation_is_refused(impossible: dict[str, object]) -> None:
    plain = msgspec.to_builtins(located()) | impossible
    with pytest.raises(msgspec.ValidationError, match=r"threshold|margins"):
        msgspec.convert(plain, OrganLocalisation)


def test_more_least_cells_than_there_are_give_the_whole_volume():
    cells = cells_in(Box(start_zyx=(3, 4, 5), stop_zyx=(6, 7, 8)))
    assert box_of_cells(cells, located(), least_cells_per_axis=1000) == GRID
