"""Where the trachea divides, and whether contours without a reference can be an adult's organs.

Masks are (z, y, x) with z to the head, y to the back, x to the left (``thoar.core.volume.to_canonical``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from thoar.core.volume import Volume
from thoar.imaging.body import find_body
from thoar.imaging.components import component_sizes
from thoar.inference.segmentation import Segmentation

BRONCHUS_MM2 = 20.0
"""A smaller piece of a section is no bronchus but noise."""
HALVED = 2 / 3
"""Where a section has less than this of the one above, a bronchus has left it."""
ONE_PIECE = 0.95
"""Part of an organ that its largest component holds at least."""
IN_FRONT = 0.9
"""Part of the levels above the carina at which the trachea lies in front of the esophagus."""

Mask = Bool[np.ndarray, "z y x"]


def lowest_trachea_slice(trachea: Mask, *, spacing_zyx_mm: Sequence[float]) -> int | None:
    """Return the lowest slice above the carina, looking down from the top; None for an empty mask.

    The trachea has divided where its section falls into two pieces, or, in the lower half of the mask, where
    it has lost a third or more of itself from one slice to the next: masks grown from a seed follow one of
    the bronchi alone. A mask that does not divide is all above the carina.
    """
    pixel_mm2 = spacing_zyx_mm[1] * spacing_zyx_mm[2]
    sections = trachea.sum(axis=(1, 2)) * pixel_mm2
    filled = np.flatnonzero(sections)
    if not filled.size:
        return None
    bottom, top = int(filled[0]), int(filled[-1])
    for z in range(top - 1, bottom - 1, -1):
        lost = z < (bottom + top) / 2 and sections[z] < HALVED * sections[z + 1]
        if lost or _pieces(trachea[z], BRONCHUS_MM2 / pixel_mm2) > 1:
            return z + 1
    return bottom


def _pieces(section: Bool[np.ndarray, "y x"], least_pixels: float) -> int:
    return int((component_sizes(section[None]) >= least_pixels).sum())


def implausible(segmentation: Segmentation, scan: Volume, masks: Mapping[str, Mask]) -> list[str]:
    """Return what cannot be right in the contours of a chest CT; nothing where all may be.

    Volumes by the label set's usual ranges (an organ that the scan cuts may be smaller), one piece an organ,
    the trachea in front of the esophagus above the carina, the heart left of the body's midline.

    Args:
        segmentation: with its flags.
        scan: in the usual axis order.
        masks: per organ, on the scan's grid.
    """
    faults = [fault for name in masks for fault in _faults_of(segmentation, name, largest_part(masks[name]))]
    in_front = share_in_front(masks["trachea"], masks["esophagus"], scan)
    if in_front is not None and in_front < IN_FRONT:
        faults.append(f"trachea in front of the esophagus at {in_front:.0%} of the levels only")
    left_mm = left_of_midline_mm(masks["heart"], scan)
    if left_mm is not None and left_mm <= 0:
        faults.append(f"heart {-left_mm:.0f} mm right of the midline")
    return faults


def _faults_of(segmentation: Segmentation, name: str, part: float | None) -> list[str]:
    result = segmentation.organ(name)
    if part is None:
        return [f"{name} not found"]
    faults: list[str] = []
    if result.flags.unusual_volume:
        faults.append(f"{name} {result.volume_ml:.0f} mL")
    if part < ONE_PIECE:
        faults.append(f"{name}: largest piece {part:.0%}")
    return faults


def largest_part(mask: Mask) -> float | None:
    """Return the part of a mask that its largest component holds; None where it is empty."""
    return float(component_sizes(mask).max() / mask.sum()) if mask.any() else None


def share_in_front(trachea: Mask, esophagus: Mask, scan: Volume) -> float | None:
    """Return at how much of the levels above the carina the trachea's centre lies before the esophagus'."""
    lowest = lowest_trachea_slice(trachea, spacing_zyx_mm=scan.geometry.spacing_zyx_mm)
    if lowest is None:
        return None
    levels = [z for z in range(lowest, len(trachea)) if trachea[z].any() and esophagus[z].any()]
    before = [np.nonzero(trachea[z])[0].mean() < np.nonzero(esophagus[z])[0].mean() for z in levels]
    return float(np.mean(before)) if before else None


def left_of_midline_mm(heart: Mask, scan: Volume) -> float | None:
    """Return how far left of the body's middle, at the heart's levels, the heart's centre lies."""
    levels = heart.any(axis=(1, 2))
    if not levels.any():
        return None
    body = find_body(scan, clip_hu=(-1024.0, 1000.0)).mask[levels]
    columns = np.arange(heart.shape[2])
    middle, centre = (float(np.average(columns, weights=m.sum(axis=(0, 1)))) for m in (body, heart))
    return (centre - middle) * scan.geometry.spacing_zyx_mm[2]
