import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.lungs import lung_masks
from thoar.phantoms.structures import IDS

SPACING_MM = 3.0
LEFT, RIGHT = "lung_upper_lobe_left", "lung_lower_lobe_right"


def chest(**boxes: tuple[slice, slice, slice]) -> BodyMap:
    """Return two lungs, 60 mm wide, with 30 mm of fat and a spine between them, and boxes of more in it."""
    structure = torch.full((30, 40, 60), IDS["muscle"], dtype=torch.uint8)
    structure[2:28, 5:35, 5:25] = IDS[RIGHT]
    structure[2:28, 5:35, 35:55] = IDS[LEFT]
    structure[2:28, 5:35, 25:35] = IDS["mediastinal_fat"]
    structure[:, 33:37, 28:32] = IDS["dural_sac"]
    for name, box in boxes.items():
        structure[box] = IDS[name]
    return BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM,) * 3)


INSIDE_LEFT = (slice(10, 13), slice(10, 13), slice(44, 47))


@pytest.mark.parametrize("name", ["fissure", "atelectasis", "emphysema", "lung_artery", "lung_airway_wall"])
def test_airless_and_holed_lung_and_the_vessels_in_it_are_lung_of_their_side(name: str) -> None:
    masks = lung_masks(chest(**{name: INSIDE_LEFT}))
    assert masks["left"][INSIDE_LEFT].all()
    assert not masks["right"][INSIDE_LEFT].any()
    assert masks["left"].sum() == masks["right"].sum() == 26 * 30 * 20


@pytest.mark.parametrize("name", ["tumour", "tumour_cavity", "effusion", "pleural_air", "lymph_node"])
def test_tumours_with_their_cavities_fluid_and_free_air_are_no_lung(name: str) -> None:
    masks = lung_masks(chest(**{name: INSIDE_LEFT}))
    assert not (masks["left"] | masks["right"])[INSIDE_LEFT].any()


def test_large_vessels_of_the_hilum_are_no_lung() -> None:
    hilum = (slice(10, 14), slice(15, 19), slice(27, 33))
    masks = lung_masks(chest(lung_artery=hilum))
    assert not (masks["left"] | masks["right"])[hilum].any()


def test_no_voxel_belongs_to_both_lungs() -> None:
    masks = lung_masks(chest(atelectasis=(slice(5, 20), slice(10, 20), slice(10, 50))))
    assert not (masks["left"] & masks["right"]).any()
    assert (masks["left"] | masks["right"])[10, 15, 10:50].all()


def test_a_piece_beyond_the_sheet_between_both_lungs_belongs_to_the_lung_it_hangs_together_with() -> None:
    stray = (slice(10, 20), slice(5, 10), slice(20, 25))
    masks = lung_masks(chest(**{LEFT: stray}))
    assert masks["right"][stray].all()
    assert not masks["left"][stray].any()


def test_an_island_that_touches_neither_lung_keeps_its_side() -> None:
    island = (slice(10, 12), slice(10, 12), slice(32, 34))
    assert lung_masks(chest(atelectasis=island))["left"][island].all()


def test_lung_far_from_any_lobe_goes_by_the_spine() -> None:
    structure = torch.full((8, 40, 60), IDS["atelectasis"], dtype=torch.uint8)
    structure[:, 33:37, 28:32] = IDS["spinal_cord"]
    masks = lung_masks(BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM,) * 3))
    assert masks["left"][:, :, 32:].float().mean() > 0.9
    assert not masks["left"][:, :, :28].any()


def test_a_body_without_lungs_has_none() -> None:
    structure = torch.full((6, 8, 8), IDS["liver"], dtype=torch.uint8)
    masks = lung_masks(BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM,) * 3))
    assert not (masks["left"] | masks["right"]).any()
