"""A label map, readied once so that many bodies can be made of it quickly.

What takes long and does not change from case to case: orientation and grid, depths, which space between the
labels an unlabelled voxel belongs to, and how far it lies from the organs, the bones and the trunk's hull.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import convex_hull_image
from torch import Tensor

from thoar.core.box import Box
from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry, Vector3
from thoar.core.volume import Volume, to_canonical
from thoar.imaging.resample import grid_of_spacing, resample_labels, resample_linear
from thoar.phantoms.label_map.fill import filled_from_ct, skin_depth_mm
from thoar.phantoms.label_map.marks import Landmarks, find_landmarks
from thoar.phantoms.label_map.names import (
    BELLY,
    BETWEEN_LUNGS,
    CARRYING,
    LEFT_BEHIND,
    LUNG,
    NECK,
    mask_of,
    translated,
)

GRID_MM = 1.5
BELOW_DOME_MM = 200.0
"""So much of the belly is kept under the liver's dome: scans of the chest often show the kidneys."""
LEAST_HEIGHT_MM = 240.0
"""A map that ends soon above the dome keeps more of the belly than that, so that its picture is no slab."""
MARGIN_MM = 66.0
"""Room around the labels for muscle, fat and skin."""
CLOSING_MM = 45.0
"""Hollows in the labels' outline that are narrower than twice this are inside the body."""
NEAR_MM = 26.0
"""What lies this near to an organ between the lungs is between the lungs too."""
WIDEST_MM = 40.0
"""Fluid beside a lung reaches at most so far from it."""
HULL_CELL = 2
"""The outline is found on cells of so many voxels."""
STEP_MM = 0.5
"""Distances are kept in bytes, in steps of this."""

Mask = Bool[np.ndarray, "z y x"]
Steps = UInt8[Tensor, "z y x"]


class Space(IntEnum):
    """Which space between the labels an unlabelled voxel belongs to."""

    NONE = 0
    MEDIASTINUM = 1
    PLEURA = 2
    BELLY = 3
    DIAPHRAGM = 4
    DISC = 5
    WALL = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadyLabelMap:
    """A label map on an axial grid with what bodies are made of; distances in steps of ``STEP_MM``.

    Attributes:
        structure: our structures where a label names them, else 0; bone is cortical bone throughout.
        heart: whether a voxel is of a heart whose chambers no label tells apart.
        space: ``Space`` of each unlabelled voxel.
        fill: structures of unlabelled voxels told from the CT; None without one.
        depth: how deep a labelled voxel lies below its own structure's face.
        beyond_organs: from the hull of the organs outwards; 0 inside.
        beyond_bones: to the nearest bone that carries muscles.
        beyond_hull: from the whole trunk's hull outwards (with a CT: 0 inside the patient's skin).
        near_heart: to the heart.
        landmarks: where airways and vessels begin and end.
        spacing_zyx_mm: of the grid.
    """

    structure: UInt8[Tensor, "z y x"]
    heart: Bool[Tensor, "z y x"]
    space: UInt8[Tensor, "z y x"]
    fill: UInt8[Tensor, "z y x"] | None
    depth: Steps
    beyond_organs: Steps
    beyond_bones: Steps
    beyond_hull: Steps
    near_heart: Steps
    landmarks: Landmarks
    spacing_zyx_mm: Vector3


def ready_label_map(structures: Volume, *, ids: Mapping[str, int], ct: Volume | None = None) -> ReadyLabelMap:
    """Ready a label map of many structures.

    Args:
        structures: label ids, any orientation and spacing; the part from a little below the liver's dome
            upwards is kept.
        ids: id of each structure's name, in TotalSegmentator's vocabulary.
        ct: the scan of the same patient on the same grid, if there is one: unlabelled tissue and the skin
            are taken from it.

    Raises:
        LabelError: if the map holds no structure known here.
    """
    found = to_canonical(structures)
    if not translated(found.voxels, ids).any():
        raise LabelError("the label map holds no structure that is known here; check the table of ids")
    grid = _grid(found, ids, margin_mm=0.0 if ct is not None else MARGIN_MM)
    numbers = sorted(number for number in np.unique(found.voxels).tolist() if number)
    named = resample_labels(found.voxels, found.geometry, grid, ids=numbers)
    hu = None
    if ct is not None:
        scan = to_canonical(ct)
        hu = resample_linear(scan.voxels, scan.geometry, grid, outside=-1000.0)
    return _readied(named, ids, hu, spacing=grid.spacing_zyx_mm)


def _readied(
    named: Integer[np.ndarray, "z y x"],
    ids: Mapping[str, int],
    hu: Float[np.ndarray, "z y x"] | None,
    *,
    spacing: Vector3,
) -> ReadyLabelMap:
    structure = translated(named, ids)
    organs = mask_of(named, (*BETWEEN_LUNGS, *NECK, *LUNG, *BELLY), ids=ids)
    hull = _hulls(organs)
    space = _spaces(named, structure, hull, ids=ids, spacing=spacing)
    carrying = mask_of(named, CARRYING, ids=ids) & ~mask_of(named, LEFT_BEHIND, ids=ids)
    heart = named == ids.get("heart", -1)
    if hu is None:
        beyond, fill = _beyond_hull(structure > 0, spacing), None
    else:
        depth = skin_depth_mm(hu, structure > 0, spacing_zyx_mm=spacing)
        beyond = np.where(depth > 0, 0.0, 127.0)
        fill = torch.from_numpy(filled_from_ct(hu, structure, space, depth_mm=depth))
    return ReadyLabelMap(
        structure=torch.from_numpy(structure),
        heart=torch.from_numpy(heart),
        space=torch.from_numpy(space),
        fill=fill,
        depth=_steps(_depth(structure, spacing)),
        beyond_organs=_steps(_distance(~hull, spacing)),
        beyond_bones=_steps(_distance(~carrying, spacing)),
        beyond_hull=_steps(beyond),
        near_heart=_steps(_distance(~mask_of(named, ("heart", "atrial_appendage"), ids=ids), spacing)),
        landmarks=find_landmarks(named, ids, spacing_zyx_mm=spacing),
        spacing_zyx_mm=spacing,
    )


def _grid(found: Volume, ids: Mapping[str, int], *, margin_mm: float) -> Geometry:
    """Return a grid of cubic voxels over the thorax, with room around the labels."""
    geometry = found.geometry
    dz, dy, dx = geometry.spacing_zyx_mm
    z, _, _ = geometry.shape_zyx
    liver = np.flatnonzero(mask_of(found.voxels, ("liver",), ids=ids).any(axis=(1, 2)))
    start = 0
    if liver.size:
        lowest = min(liver[-1] - BELOW_DOME_MM / dz, z - LEAST_HEIGHT_MM / dz)
        start = max(0, int(lowest))
    part = found.geometry.cropped(Box(start_zyx=(start, 0, 0), stop_zyx=geometry.shape_zyx))
    grid = grid_of_spacing(part, (GRID_MM, GRID_MM, GRID_MM))
    if max(abs(s - GRID_MM) for s in (dz, dy, dx)) < 1e-3:  # noqa: PLR2004 (rounding of a header)
        grid = part
    wide = round(margin_mm / GRID_MM)
    z, y, x = grid.shape_zyx
    return grid.cropped(Box(start_zyx=(0, -wide, -wide), stop_zyx=(z, y + wide, x + wide)))


def _hulls(mask: Mask) -> Mask:
    """Return each slice's convex hull."""
    out = np.zeros(mask.shape, dtype=bool)
    for level, part in enumerate(mask):
        if part.any():
            out[level] = convex_hull_image(part)
    return out


def _spaces(
    named: Integer[np.ndarray, "z y x"],
    structure: UInt8[np.ndarray, "z y x"],
    hull: Mask,
    *,
    ids: Mapping[str, int],
    spacing: Vector3,
) -> UInt8[np.ndarray, "z y x"]:
    """Return which space each unlabelled voxel belongs to."""
    lung = mask_of(named, LUNG, ids=ids)
    middle = _distance(~mask_of(named, BETWEEN_LUNGS, ids=ids), spacing)
    belly = _distance(~mask_of(named, BELLY, ids=ids), spacing)
    breathing = np.any(lung, axis=(1, 2)).reshape(-1, 1, 1)
    out = np.full(structure.shape, int(Space.WALL), dtype=np.uint8)
    out[hull & (belly <= 2 * NEAR_MM)] = Space.BELLY
    beside = _opened(np.asarray(hull & breathing & (middle > NEAR_MM) & (structure == 0)))
    out[beside & (_distance(~lung, spacing) < WIDEST_MM)] = Space.PLEURA
    near = ((middle <= NEAR_MM) | breathing) & (middle < belly) & hull
    out[near & (out != int(Space.PLEURA))] = Space.MEDIASTINUM
    under = (_distance(~lung, spacing) <= 3 * GRID_MM) & (belly <= 3 * GRID_MM)
    out[under] = Space.DIAPHRAGM
    out[_discs(named, ids, spacing)] = Space.DISC
    out[structure > 0] = Space.NONE
    return out


def _discs(named: Integer[np.ndarray, "z y x"], ids: Mapping[str, int], spacing: Vector3) -> Mask:
    """Return the gaps between neighbouring vertebrae's bodies: near to two of them from above and below."""
    bone = mask_of(named, ("vertebrae", "sacrum"), ids=ids)
    reach = round(9.0 / spacing[0])
    above, below = np.zeros_like(bone), np.zeros_like(bone)
    for step in range(1, reach):
        above[:-step] |= bone[step:]
        below[step:] |= bone[:-step]
    cord = mask_of(named, ("spinal_cord",), ids=ids)
    back = np.logical_or.accumulate(cord, axis=1)
    return above & below & ~bone & ~back


def _beyond_hull(labelled: Mask, spacing: Vector3) -> Float[np.ndarray, "z y x"]:
    """Return how far a voxel lies outside the closed outline of all labels, in one piece by bridges."""
    cell = HULL_CELL * spacing[0]
    pads = [(-n) % HULL_CELL for n in labelled.shape]
    full = np.pad(labelled, [(0, p) for p in pads], mode="edge")
    z, y, x = (n // HULL_CELL for n in full.shape)
    coarse = np.logical_or.reduce(full.reshape(z, HULL_CELL, y, HULL_CELL, x, HULL_CELL), axis=(1, 3, 5))
    reach = CLOSING_MM
    while True:
        closed = _closed(coarse, reach / cell)
        if _pieces(closed) <= 1 or reach > 4 * CLOSING_MM:
            break
        reach *= 1.5
    away = np.asarray(ndimage.distance_transform_edt(~closed)) * cell
    smooth = ndimage.gaussian_filter(np.asarray(away, dtype=np.float32), 1.5, mode="nearest")
    smooth = np.where(coarse, np.minimum(smooth, 1.0), smooth)
    shape = tuple(n * HULL_CELL for n in (z, y, x))
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(np.asarray(smooth, dtype=np.float32))[None, None], size=shape, mode="trilinear"
    )[0, 0].numpy()
    fine = fine[: labelled.shape[0], : labelled.shape[1], : labelled.shape[2]]
    return np.where(labelled, 0.0, fine)


def _closed(mask: Mask, reach: float) -> Mask:
    wide = int(np.ceil(reach)) + 1
    padded = np.pad(mask, ((wide, wide), (0, 0), (0, 0)), mode="edge")
    padded = np.pad(padded, ((0, 0), (wide, wide), (wide, wide)))
    grown = np.asarray(ndimage.distance_transform_edt(~padded)) <= reach
    deep = np.asarray(ndimage.distance_transform_edt(grown))
    closed = np.array((deep > reach) | padded, dtype=bool)
    return closed[wide:-wide, wide:-wide, wide:-wide]


def _opened(mask: Mask) -> Mask:
    return np.array(ndimage.binary_opening(mask, np.ones((3, 5, 5))), dtype=bool)


def _pieces(mask: Mask) -> int:
    return int(np.max(np.asarray(label(mask, connectivity=1))))


def _depth(structure: UInt8[np.ndarray, "z y x"], spacing: Vector3) -> Float[np.ndarray, "z y x"]:
    """Return how deep each labelled voxel lies in its own structure."""
    out = np.zeros(structure.shape, dtype=np.float32)
    for number in np.unique(structure):
        box = Box.of_mask(structure == number) if number else None
        if box is None:
            continue
        wide = box.expanded((1, 1, 1), (1, 1, 1)).intersection(Box.of_shape(structure.shape))
        if wide is None:
            continue
        inside = structure[wide.slices] == number
        out[wide.slices] += np.where(inside, _distance(inside, spacing), 0.0)
    return out


def _distance(mask: Mask, spacing: Vector3) -> Float[np.ndarray, "z y x"]:
    """Return how far each voxel of a mask lies from what is outside it; far where nothing is."""
    if mask.all():
        return np.full(mask.shape, 1e3, dtype=np.float32)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing), dtype=np.float32)


def _steps(distance_mm: Float[np.ndarray, "z y x"]) -> Steps:
    return torch.from_numpy(np.minimum(distance_mm / STEP_MM, 255).round().astype(np.uint8))
