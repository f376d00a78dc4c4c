"""Places in a label map from which airways and vessels that no label names can be drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from scipy import ndimage

from thoar.core.geometry import Vector3
from thoar.phantoms.label_map.names import mask_of
from thoar.phantoms.structures import LOBES

Points = Float[np.ndarray, "_ zyx"]
Point = Float[np.ndarray, " zyx"]

LOBE_POINTS = 3000
END_MM = 7.0
"""An airway's end is the middle of what lies this near to its outermost voxel."""
BRANCHED_MM = 14.0
"""A trachea that reaches farther to the side than this takes in a main bronchus."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks:
    """Places as fractional voxel indices (z, y, x); None where the map does not show them.

    Attributes:
        airway_ends: where the labelled airways end towards the right and the left lung.
        hila: where vessels and airways enter the right and the left lung.
        vein_ends: where the pulmonary veins of each side can be joined.
        trunk: upper end of the pulmonary trunk.
        spine: front of the spine at each level that shows it.
        lobes: many random voxels of each lobe.
    """

    airway_ends: tuple[Point | None, Point | None]
    hila: tuple[Point | None, Point | None]
    vein_ends: tuple[Point | None, Point | None]
    trunk: Point | None
    spine: Points
    lobes: Mapping[str, Points]


def find_landmarks(
    named: Integer[np.ndarray, "z y x"], ids: Mapping[str, int], *, spacing_zyx_mm: Vector3
) -> Landmarks:
    """Find them in a label map of many structures."""
    spacing = spacing_zyx_mm[0]
    middle = _middle_x(named, ids)
    lobes = {name: _some(mask_of(named, (name,), ids=ids)) for name in LOBES}
    lobes = {name: points for name, points in lobes.items() if len(points)}
    airway = np.argwhere(mask_of(named, ("trachea",), ids=ids)).astype(float)
    veins = np.argwhere(mask_of(named, ("pulmonary_vein",), ids=ids)).astype(float)
    heart = np.argwhere(mask_of(named, ("heart",), ids=ids)).astype(float)
    sides = (_side(lobes, "right"), _side(lobes, "left"))
    ends = _airway_ends(airway, spacing)
    hila = [_hilum(side, ends[i], veins, middle=middle, left=i == 1) for i, side in enumerate(sides)]
    vein_ends = [_outermost(_beside(veins, middle, left=left), middle, spacing) for left in (False, True)]
    return Landmarks(
        airway_ends=ends,
        hila=(hila[0], hila[1]),
        vein_ends=(vein_ends[0], vein_ends[1]),
        trunk=_trunk(heart, ends),
        spine=_spine(named, ids),
        lobes=lobes,
    )


def _middle_x(named: Integer[np.ndarray, "z y x"], ids: Mapping[str, int]) -> float:
    for prefixes in (("spinal_cord",), ("vertebrae",), ("heart",)):
        found = np.flatnonzero(mask_of(named, prefixes, ids=ids).any(axis=(0, 1)))
        if found.size:
            return float(found.mean())
    return named.shape[2] / 2


def _some(mask: np.ndarray) -> Points:
    points = np.argwhere(mask).astype(float)
    rng = np.random.default_rng(0)
    return points[rng.permutation(len(points))[:LOBE_POINTS]]


def _side(lobes: Mapping[str, Points], side: str) -> Points:
    found = [points for name, points in lobes.items() if name.endswith(side)]
    return np.concatenate(found) if found else np.zeros((0, 3))


def _beside(points: Points, middle: float, *, left: bool) -> Points:
    return points[(points[:, 2] > middle) == left]


def _outermost(points: Points, middle: float, spacing: float) -> Point | None:
    if len(points) == 0:
        return None
    away = np.abs(points[:, 2] - middle)
    return points[away >= away.max() - END_MM / spacing].mean(axis=0)


def _airway_ends(airway: Points, spacing: float) -> tuple[Point | None, Point | None]:
    """Return the outermost parts of the airway's lower half, or twice its lower end where it has none."""
    if len(airway) == 0:
        return (None, None)
    lowest = airway[airway[:, 0] <= airway[:, 0].min() + END_MM / spacing].mean(axis=0)
    lower = airway[airway[:, 0] < airway[:, 0].mean()]
    centre = float(airway[airway[:, 0] >= airway[:, 0].mean(), 2].mean())
    found: list[Point] = []
    for left in (False, True):
        end = _outermost(_beside(lower, centre, left=left), centre, spacing)
        branched = end is not None and abs(end[2] - centre) > BRANCHED_MM / spacing
        found.append(end if end is not None and branched else lowest)
    return (found[0], found[1])


def _hilum(
    lung: Points, airway_end: Point | None, veins: Points, *, middle: float, left: bool
) -> Point | None:
    """Return the place in a lung that is nearest to its airway's end, its veins or the midline."""
    if len(lung) == 0:
        return None
    here = _beside(veins, middle, left=left)
    if airway_end is not None:
        towards = airway_end
    elif len(here):
        towards = here.mean(axis=0)
    else:
        towards = np.array([lung[:, 0].max(), lung[:, 1].mean(), middle])
    order = np.argsort(((lung - towards) ** 2).sum(axis=1))[:60]
    return 0.5 * lung[order].mean(axis=0) + 0.5 * towards


def _trunk(heart: Points, ends: tuple[Point | None, Point | None]) -> Point | None:
    """Return the middle of the heart's uppermost part: the pulmonary trunk near its division."""
    if len(heart) == 0 or ends[0] is None:
        return None
    return heart[heart[:, 0] >= np.quantile(heart[:, 0], 0.985)].mean(axis=0)


def _spine(named: Integer[np.ndarray, "z y x"], ids: Mapping[str, int]) -> Points:
    bone = mask_of(named, ("vertebrae",), ids=ids)
    cord = mask_of(named, ("spinal_cord",), ids=ids)
    found = []
    for level in np.flatnonzero(bone.any(axis=(1, 2)) & cord.any(axis=(1, 2))):
        x = float(np.argwhere(cord[level])[:, 1].mean())
        column = bone[level][:, max(0, round(x) - 3) : round(x) + 4].any(axis=1)
        if column.any():
            found.append((float(level), float(np.flatnonzero(column)[0]), x))
    line = np.array(found).reshape(-1, 3)
    if len(line) > 1:
        line[:, 1:] = ndimage.gaussian_filter1d(line[:, 1:], 8.0, axis=0, mode="nearest")
    return line
