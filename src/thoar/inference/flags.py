"""What a reader of a contour should know, worked out from its mask and the boxes it came from."""

import numpy as np
from jaxtyping import Bool

from thoar.core.box import Box, Index3
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.inference.localisation import touched_faces
from thoar.inference.segmentation import FACES


def scan_faces_reached(mask: Bool[np.ndarray, "z y x"], box_zyx: Box, geometry: Geometry) -> tuple[str, ...]:
    """Return the names of the scan's faces that a mask reaches.

    Args:
        mask: inside the box.
        box_zyx: on the scan's own grid.
        geometry: of the scan, in any axis order.
    """
    before, after = touched_faces(mask)
    first = [t and start == 0 for t, start in zip(before, box_zyx.start_zyx, strict=True)]
    last = [t and stop == n for t, stop, n in zip(after, box_zyx.stop_zyx, geometry.shape_zyx, strict=True)]
    axes, flipped = geometry.canonical_order()
    names: list[str] = []
    for names_of_axis, axis, backwards in zip(FACES, axes, flipped, strict=True):
        low, high = (last[axis], first[axis]) if backwards else (first[axis], last[axis])
        names += [name for name, reached in zip(names_of_axis, (low, high), strict=True) if reached]
    return tuple(names)


def box_faces_reached(
    mask: Bool[np.ndarray, "z y x"], box_zyx: Box, content: Box, *, cut_by_scan: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of the box's faces that a mask reaches, but for those that are the scan's.

    Where the content ends before the scan does (blank slices, a body that was cropped too tightly), its face
    is one of the box.

    Args:
        mask: inside the box, on the prepared (canonical) grid.
        box_zyx: on that grid.
        content: the part of that grid that is not padding.
        cut_by_scan: faces of the scan that the mask reaches, by name.
    """
    inside = box_zyx.intersection(content) or box_zyx
    before, after = touched_faces(mask[inside.shifted([-s for s in box_zyx.start_zyx]).slices])
    names: list[str] = []
    for axis, (low, high) in enumerate(FACES):
        if before[axis] and (inside.start_zyx[axis] > content.start_zyx[axis] or low not in cut_by_scan):
            names.append(low)
        if after[axis] and (inside.stop_zyx[axis] < content.stop_zyx[axis] or high not in cut_by_scan):
            names.append(high)
    return tuple(names)


def coarse_fine_dice(
    fine: Bool[np.ndarray, "z y x"], *, box_zyx: Box, cells: Bool[np.ndarray, "cz cy cx"], stride_zyx: Index3
) -> float:
    """Return the Dice of the coarse mask and the fine one, brought to coarse cells by its maximum.

    Args:
        fine: inside the box, at full resolution.
        box_zyx: in voxels, on multiples of the stride.
        cells: the coarse mask on the whole coarse grid.
        stride_zyx: voxels per cell.
    """
    box = box_zyx.scaled_down(stride_zyx)
    (cz, cy, cx), (sz, sy, sx) = box.shape_zyx, stride_zyx
    pooled = fine.reshape(cz, sz, cy, sy, cx, sx).any(axis=(1, 3, 5))
    both = int(np.count_nonzero(pooled & cells[box.slices]))
    total = int(np.count_nonzero(pooled) + np.count_nonzero(cells))
    return 2.0 * both / total if total else 0.0


def has_unusual_volume(organ: Organ, volume_ml: float, *, cut_by_scan: bool) -> bool:
    """Say whether a volume lies outside the organ's usual range; a cut organ may well be smaller."""
    if organ.usual_volume_ml is None:
        return False
    least, most = organ.usual_volume_ml
    return volume_ml > most or (volume_ml < least and not cut_by_scan)
