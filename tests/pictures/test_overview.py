import numpy as np
import pytest
from PIL import Image, ImageFilter

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, Organ
from thoar.core.volume import Volume
from thoar.pictures.overview import OUTLINE_PIXELS, _shrunk, overview

HEART = SEGTHOR.organ("heart")
AORTA = SEGTHOR.organ("aorta")
GRID = Geometry.axial((24, 60, 80), (5.0, 2.0, 2.0))


def ellipsoid(centre_zyx: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    apart = [
        (i - c) * s
        for i, c, s in zip(np.indices(GRID.shape_zyx), centre_zyx, GRID.spacing_zyx_mm, strict=True)
    ]
    return sum(a * a for a in apart) < radius_mm**2


def scan() -> Volume:
    return Volume(voxels=np.where(ellipsoid((12, 30, 40), 55), 0, -1000).astype(np.int16), geometry=GRID)


def pixels_of(rgb: np.ndarray, organ: Organ) -> np.ndarray:
    """Return rows and columns of an organ's colour, legend excepted."""
    places = np.argwhere((rgb == organ.color_rgb).all(axis=-1))
    return places[places[:, 0] < rgb.shape[0] - 60]


def test_organs_are_outlined_in_their_colours_though_they_overlap() -> None:
    heart, aorta = ellipsoid((12, 30, 44), 25), ellipsoid((14, 36, 40), 12)
    rgb = overview(scan(), {HEART: heart, AORTA: aorta}, title="case_1")
    assert rgb.dtype == np.uint8
    assert len(pixels_of(rgb, HEART)) > 500
    assert len(pixels_of(rgb, AORTA)) > 200


def test_a_mask_in_its_box_gives_the_same_picture_as_the_whole_mask() -> None:
    heart = ellipsoid((12, 30, 44), 25)
    box = Box.of_mask(heart)
    assert box is not None
    np.testing.assert_array_equal(
        overview(scan(), {HEART: heart}, title="a"),
        overview(scan(), {HEART: (box, heart[box.slices])}, title="a"),
    )


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_picture_does_not_depend_on_the_volumes_axis_order(axes) -> None:
    heart = ellipsoid((10, 30, 44), 25)
    turned = Volume(
        voxels=np.flip(scan().voxels.transpose(axes), (0, 2)),
        geometry=GRID.reordered(axes, flipped=(True, False, True)),
    )
    np.testing.assert_array_equal(
        overview(turned, {HEART: np.flip(heart.transpose(axes), (0, 2))}, title="a"),
        overview(scan(), {HEART: heart}, title="a"),
    )


def test_a_ball_is_drawn_round_whatever_the_spacing() -> None:
    rgb = overview(scan(), {HEART: ellipsoid((12, 30, 40), 40)}, title="a")
    rows, columns = (pixels_of(rgb, HEART)[:, a] for a in (0, 1))
    coronal = (rows > rgb.shape[0] / 2) & (abs(columns - rgb.shape[1] / 2) < rgb.shape[1] / 6)
    height, width = (np.ptp(places[coronal]) for places in (rows, columns))
    assert height == pytest.approx(width, rel=0.1)


def test_an_organ_not_found_is_named_and_not_drawn() -> None:
    rgb = overview(scan(), {HEART: np.zeros(GRID.shape_zyx, dtype=bool)}, title="a")
    assert len(pixels_of(rgb, HEART)) == 0
    assert (rgb == HEART.color_rgb).all(axis=-1).sum() > 100  # its square in the legend


def test_many_names_take_several_lines() -> None:
    organs = [Organ(name=f"structure_number_{i}", id=i, color_rgb=(i, 200, 255)) for i in range(1, 41)]
    empty = np.zeros(GRID.shape_zyx, dtype=bool)
    rgb = overview(scan(), dict.fromkeys(organs, empty), title="a")
    assert all((rgb == organ.color_rgb).all(axis=-1).any() for organ in organs)


def test_a_scan_without_masks_is_drawn() -> None:
    assert overview(scan(), {}, title="").max() > 100


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_an_outlines_inner_edge_is_that_of_a_minimum_filter(share: float) -> None:
    mask = np.random.default_rng(0).random((40, 33)) < share
    mask[5:30, :20] = True  # reaches the picture's edge
    smallest = ImageFilter.MinFilter(2 * OUTLINE_PIXELS + 1)
    np.testing.assert_array_equal(
        _shrunk(mask), np.asarray(Image.fromarray(mask * np.uint8(255)).filter(smallest)) > 0
    )
