"""Planes through a scan and its masks, lying as a radiologist expects them.

The patient's right is on the picture's left, the head or the front at its top.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np
from jaxtyping import Bool, Num, Shaped

from thoar.core.box import Box, Index3
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.core.volume import Volume, to_canonical

View = Literal["axial", "coronal", "sagittal"]

AXIS_OF_VIEW: Mapping[View, int] = {"axial": 0, "coronal": 1, "sagittal": 2}

MaskInBox = tuple[Box, Bool[np.ndarray, "_ _ _"]]
"""A mask given inside one box of a grid; nothing of it lies outside."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A scan and its organs, axes in canonical order: z to the head, y to the back, x to the left.

    Attributes:
        scan: in Hounsfield units.
        masks: every organ's mask in its own box; organs may overlap.
        view_box: the part that is looked at.
    """

    scan: Volume
    masks: Mapping[Organ, MaskInBox]
    view_box: Box


def scene_of(volume: Volume, masks: Mapping[Organ, MaskInBox], *, margin_mm: float) -> Scene:
    """Bring a scan and its masks into canonical order, looked at in a box around all organs.

    Organs whose masks are empty are left out; without any organ the whole scan is looked at.

    Args:
        volume: in any axis order.
        masks: on the volume's grid.
        margin_mm: how far the view reaches beyond the organs.
    """
    scan = to_canonical(volume)
    tight = {organ: _tightened(*mask) for organ, mask in masks.items() if mask[1].any()}
    turned = {organ: _canonical(*mask, volume.geometry) for organ, mask in tight.items()}
    whole = Box.of_shape(scan.voxels.shape)
    if not turned:
        return Scene(scan=scan, masks=turned, view_box=whole)
    margin = [round(margin_mm / s) for s in scan.geometry.spacing_zyx_mm]
    organs = reduce(Box.union, (box for box, _ in turned.values()))
    return Scene(
        scan=scan, masks=turned, view_box=organs.expanded(margin, margin).intersection(whole) or whole
    )


def telling_index(scene: Scene, view: View) -> int:
    """Return the plane that shows the organs best: each counts by its area over its largest area."""
    axis = AXIS_OF_VIEW[view]
    score = np.zeros(scene.scan.voxels.shape[axis])
    for box, mask in scene.masks.values():
        area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        score[box.start_zyx[axis] : box.stop_zyx[axis]] += area / area.max()
    if not score.any():
        return len(score) // 2
    return int(score.argmax())


def scan_plane(scene: Scene, view: View, index: int) -> Num[np.ndarray, "row column"]:
    """Return the scan's values in one plane of the viewed box."""
    box = _plane_box(scene, view, index)
    return _upright(scene.scan.voxels[box.slices], view)


def mask_plane(scene: Scene, view: View, index: int, organ: Organ) -> Bool[np.ndarray, "row column"]:
    """Return an organ's mask in one plane of the viewed box."""
    box = _plane_box(scene, view, index)
    result = np.zeros(box.shape_zyx, dtype=bool)
    place, mask = scene.masks[organ]
    common = place.intersection(box)
    if common is not None:
        inner = common.shifted([-i for i in place.start_zyx])
        result[common.shifted([-i for i in box.start_zyx]).slices] = mask[inner.slices]
    return _upright(result, view)


def pixel_size_mm(scene: Scene, view: View) -> tuple[float, float]:
    """Return the height and width of a plane's pixels."""
    height, width = (s for a, s in enumerate(scene.scan.geometry.spacing_zyx_mm) if a != AXIS_OF_VIEW[view])
    return height, width


def position_mm(scene: Scene, view: View, index: int) -> float:
    """Return where a plane's middle lies along the patient: z for axial, y coronal, x sagittal (LPS)."""
    middle = [(n - 1) / 2 for n in scene.scan.geometry.shape_zyx]
    middle[AXIS_OF_VIEW[view]] = float(index)
    return scene.scan.geometry.position_xyz_mm(middle)[2 - AXIS_OF_VIEW[view]]


def _plane_box(scene: Scene, view: View, index: int) -> Box:
    start, stop = list(scene.view_box.start_zyx), list(scene.view_box.stop_zyx)
    start[AXIS_OF_VIEW[view]], stop[AXIS_OF_VIEW[view]] = index, index + 1
    return replace(scene.view_box, start_zyx=tuple(start), stop_zyx=tuple(stop))


def _upright(plane: Shaped[np.ndarray, "z y x"], view: View) -> Shaped[np.ndarray, "row column"]:
    flat = plane.squeeze(AXIS_OF_VIEW[view])
    return flat if view == "axial" else flat[::-1]


def _tightened(box: Box, mask: Bool[np.ndarray, "z y x"]) -> MaskInBox:
    inner = Box.of_mask(mask) or Box.of_shape(mask.shape)
    return inner.shifted(box.start_zyx), mask[inner.slices]


def _canonical(box: Box, mask: Bool[np.ndarray, "z y x"], grid: Geometry) -> MaskInBox:
    axes, flipped = grid.canonical_order()
    start = _turned(box, axes, flipped, grid.shape_zyx)
    turned = np.flip(mask.transpose(axes), tuple(axis for axis in range(3) if flipped[axis]))
    return Box.of_shape(turned.shape).shifted(start), turned


def _turned(box: Box, axes: Index3, flipped: tuple[bool, bool, bool], shape_zyx: Index3) -> list[int]:
    return [
        shape_zyx[old] - box.stop_zyx[old] if backwards else box.start_zyx[old]
        for old, backwards in zip(axes, flipped, strict=True)
    ]
