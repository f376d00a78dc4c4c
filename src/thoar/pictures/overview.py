"""One picture of a case: slices through its organs, outlined and named."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num, UInt8
from PIL import Image, ImageDraw, ImageFont

from thoar.core.box import Box
from thoar.core.labels import Organ
from thoar.core.volume import Volume
from thoar.pictures.planes import (
    MaskInBox,
    Scene,
    View,
    mask_plane,
    pixel_size_mm,
    position_mm,
    scan_plane,
    scene_of,
    telling_index,
)

WINDOW_HU = (-160.0, 240.0)
"""The mediastinal window: width 400, level 40."""

MARGIN_MM = 45.0
PANE_PIXELS = 420
AXIAL_PARTS = (0.88, 0.65, 0.42, 0.15)
"""Where the axial slices lie between the organs' lower and upper end."""

COLUMNS = 3
GAP = 4
LEAST_WIDTH = 480
OUTLINE_PIXELS = 2
GREY = (190, 190, 190)
LETTERS: Mapping[View, tuple[str, str, str, str]] = {
    "axial": ("A", "P", "R", "L"),
    "coronal": ("H", "F", "R", "L"),
    "sagittal": ("H", "F", "A", "P"),
}
"""Which end of the patient lies at the top, bottom, left and right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pane:
    view: View
    index: int


def overview(
    volume: Volume,
    masks: Mapping[Organ, Bool[np.ndarray, "z y x"] | MaskInBox],
    *,
    title: str,
) -> UInt8[np.ndarray, "row column 3"]:
    """Draw axial, coronal and sagittal slices through the organs, each organ outlined in its colour.

    Radiological convention, true proportions, mediastinal window; whatever the volume's axis order.

    Args:
        volume: CT in Hounsfield units.
        masks: per organ the mask on the volume's grid, whole or as ``(box, mask in the box)``. They may
            overlap. Organs with an empty mask are named as not found.
        title: written at the top; case ids only, never a patient's name.
    """
    in_boxes = {organ: _in_box(mask) for organ, mask in masks.items()}
    scene = scene_of(volume, in_boxes, margin_mm=MARGIN_MM)
    panes = [_drawn(scene, pane, _pixels_per_mm(scene)) for pane in _panes(scene)]
    rows = [_beside(panes[i : i + COLUMNS]) for i in range(0, len(panes), COLUMNS)]
    width = max(LEAST_WIDTH, *(row.width for row in rows))
    legend = _legend(in_boxes, volume.geometry.voxel_volume_ml, width=width)
    return np.array(_stacked([_title(title, width), *rows, legend]))


def _in_box(mask: Bool[np.ndarray, "z y x"] | MaskInBox) -> MaskInBox:
    return mask if isinstance(mask, tuple) else (Box.of_shape(mask.shape), mask)


def _panes(scene: Scene) -> list[_Pane]:
    boxes = [box for box, _ in scene.masks.values()] or [scene.view_box]
    low, high = min(b.start_zyx[0] for b in boxes), max(b.stop_zyx[0] for b in boxes) - 1
    axial = [_Pane(view="axial", index=round(low + part * (high - low))) for part in AXIAL_PARTS]
    across: tuple[View, View] = ("coronal", "sagittal")
    return axial + [_Pane(view=view, index=telling_index(scene, view)) for view in across]


def _pixels_per_mm(scene: Scene) -> float:
    sides = zip(scene.view_box.shape_zyx, scene.scan.geometry.spacing_zyx_mm, strict=True)
    return PANE_PIXELS / max(n * s for n, s in sides)


def _drawn(scene: Scene, pane: _Pane, pixels_per_mm: float) -> Image.Image:
    plane = scan_plane(scene, pane.view, pane.index)
    height, width = (
        max(1, round(n * s * pixels_per_mm))
        for n, s in zip(plane.shape, pixel_size_mm(scene, pane.view), strict=True)
    )
    size = (width, height)
    picture = _grey(plane).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    for organ in scene.masks:
        outline = _outline(mask_plane(scene, pane.view, pane.index, organ), size)
        picture.paste(organ.color_rgb, mask=outline)
    _write_letters(picture, pane.view, f"{pane.view} {position_mm(scene, pane.view, pane.index):.0f} mm")
    return picture


def _grey(plane_hu: Num[np.ndarray, "row column"]) -> Image.Image:
    low, high = WINDOW_HU
    scaled = (np.clip(plane_hu.astype(np.float32), low, high) - low) * (255 / (high - low))
    return Image.fromarray(scaled.astype(np.uint8))


def _outline(mask: Bool[np.ndarray, "row column"], size: tuple[int, int]) -> Image.Image:
    """Return the inner rim of a mask drawn at another size, as a Pillow mask."""
    smooth = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    whole = np.asarray(smooth) > 127  # noqa: PLR2004 (half)
    return Image.fromarray((whole & ~_shrunk(whole)).astype(np.uint8) * 255)


def _shrunk(mask: Bool[np.ndarray, "row column"]) -> Bool[np.ndarray, "row column"]:
    """Return a mask without its outermost pixels; beyond the picture it goes on."""
    height, width = mask.shape
    steps = range(2 * OUTLINE_PIXELS + 1)
    padded = np.pad(mask, OUTLINE_PIXELS, mode="edge")
    upright = np.logical_and.reduce([padded[step : step + height] for step in steps])
    return np.logical_and.reduce([upright[:, step : step + width] for step in steps])


def _write_letters(picture: Image.Image, view: View, name: str) -> None:
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    width, height = picture.size
    top, bottom, left, right = LETTERS[view]
    for letter, place, anchor in (
        (top, (width // 2, 3), "mt"),
        (bottom, (width // 2, height - 3), "mb"),
        (left, (4, height // 2), "lm"),
        (right, (width - 4, height // 2), "rm"),
    ):
        draw.text(place, letter, fill="white", font=font, anchor=anchor, stroke_width=1, stroke_fill="black")
    draw.text((4, 3), name, fill=GREY, font=ImageFont.load_default(12), stroke_width=1, stroke_fill="black")


def _beside(pictures: list[Image.Image]) -> Image.Image:
    cell, height = max(p.width for p in pictures) + GAP, max(p.height for p in pictures) + GAP
    row = Image.new("RGB", (cell * len(pictures), height))
    for number, picture in enumerate(pictures):
        row.paste(picture, (number * cell + (cell - picture.width) // 2, (height - picture.height) // 2))
    return row


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)))
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((sheet.width - picture.width) // 2, top))
        top += picture.height
    return sheet


def _title(text: str, width: int) -> Image.Image:
    bar = Image.new("RGB", (width, 34))
    ImageDraw.Draw(bar).text((10, 7), text, fill="white", font=ImageFont.load_default(18))
    return bar


def _legend(masks: Mapping[Organ, MaskInBox], voxel_ml: float, *, width: int) -> Image.Image:
    """Name the organs beside their colours, in as many lines as it takes."""
    font, line, left, top = ImageFont.load_default(16), 26, 10, 4
    legend = Image.new("RGB", (width, line * (len(masks) + 1)))
    draw = ImageDraw.Draw(legend)
    for organ, (_, mask) in masks.items():
        voxels = int(np.count_nonzero(mask))
        text = f"{organ.name} {voxels * voxel_ml:.0f} mL" if voxels else f"{organ.name} not found"
        right = left + 21 + round(font.getlength(text))
        if right > width and left > 10:  # noqa: PLR2004 (not the line's first)
            left, right, top = 10, right - left + 10, top + line
        draw.rectangle((left, top + 4, left + 14, top + 18), fill=organ.color_rgb)
        draw.text((left + 21, top + 2), text, fill="white", font=font)
        left = right + 26
    return legend.crop((0, 0, width, top + line))
