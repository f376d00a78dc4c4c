"""Surface Dice at a tolerance: pieces of surface weighed by their area.

After Nikolov et al. (arXiv 1809.04430): a surface element (surfel) sits wherever the eight voxels around
a grid corner are neither all inside nor all outside; which of them are inside is its code, and the code
gives its area.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.measure import marching_cubes  # pyright: ignore[reportUnknownVariableType]

from thoar.metrics.surface import nearest_mm

Meshed = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What marching cubes returns: vertices, faces, normals, values."""

CORNERS_ZYX = tuple(np.ndindex(2, 2, 2))
"""The voxels around a grid corner; bit i of a code says whether the i-th is inside."""

ALL_INSIDE = 255
TOLERANCE_SLACK_MM = 1e-6
"""A distance that equals the tolerance but for rounding counts as within it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfelDistances:
    """How far each mask's surfels lie from the other mask's, and how large they are.

    Attributes:
        from_prediction_mm: per surfel of the prediction, to the nearest one of the reference.
        from_reference_mm: per surfel of the reference, to the nearest one of the prediction.
        prediction_area_mm2: area of each surfel of the prediction.
        reference_area_mm2: area of each surfel of the reference.
    """

    from_prediction_mm: Float[np.ndarray, " prediction"]
    from_reference_mm: Float[np.ndarray, " reference"]
    prediction_area_mm2: Float[np.ndarray, " prediction"]
    reference_area_mm2: Float[np.ndarray, " reference"]


def surfel_distances(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    *,
    spacing_zyx_mm: Sequence[float],
) -> SurfelDistances:
    """Return all distances between the surfels of two masks, with their areas.

    Raises:
        ValueError: if a mask is empty.
    """
    points_p, area_p = surfels(prediction, spacing_zyx_mm)
    points_r, area_r = surfels(reference, spacing_zyx_mm)
    if not (area_p.size and area_r.size):
        raise ValueError("an empty mask has no surface")
    return SurfelDistances(
        from_prediction_mm=nearest_mm(points_p, points_r),
        from_reference_mm=nearest_mm(points_r, points_p),
        prediction_area_mm2=area_p,
        reference_area_mm2=area_r,
    )


def surface_dice(distances: SurfelDistances, tolerance_mm: float) -> float:
    """Return the part of both surfaces' area that lies within a tolerance of the other surface (NSD)."""
    limit_mm = tolerance_mm + TOLERANCE_SLACK_MM
    area_p, area_r = distances.prediction_area_mm2, distances.reference_area_mm2
    near_p = area_p[distances.from_prediction_mm <= limit_mm].sum()
    near_r = area_r[distances.from_reference_mm <= limit_mm].sum()
    return float((near_p + near_r) / (area_p.sum() + area_r.sum()))


def surfels(
    mask: Bool[np.ndarray, "z y x"], spacing_zyx_mm: Sequence[float]
) -> tuple[Float[np.ndarray, "surfels 3"], Float[np.ndarray, " surfels"]]:
    """Return where a mask's surfels lie (grid corners, in mm) and their areas in mm²."""
    codes = corner_codes(mask)
    corners = np.argwhere((codes != 0) & (codes != ALL_INSIDE))
    area_mm2 = surfel_areas_mm2(spacing_zyx_mm)[codes[tuple(corners.T)]]
    return corners * np.asarray(spacing_zyx_mm, dtype=np.float64), area_mm2


def corner_codes(mask: Bool[np.ndarray, "z y x"]) -> UInt8[np.ndarray, "z+1 y+1 x+1"]:
    """Return the code of every grid corner, the array's outer corners included."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n - 1 for n in padded.shape], dtype=np.uint8)
    for bit, start in enumerate(CORNERS_ZYX):
        window = tuple(slice(s, s + n) for s, n in zip(start, codes.shape, strict=True))
        codes |= padded[window] << np.uint8(bit)
    return codes


def surfel_areas_mm2(spacing_zyx_mm: Sequence[float]) -> Float[np.ndarray, "256"]:
    """Return the area of the surface that each code stands for: that of its marching-cubes triangles."""
    areas = [
        0.5 * np.linalg.norm(np.cross(*(np.asarray(spacing_zyx_mm) * edges)), axis=-1).sum()
        for edges in _triangle_edges()
    ]
    return np.array(areas, dtype=np.float64)


@cache
def _triangle_edges() -> tuple[Float[np.ndarray, "2 triangles 3"], ...]:
    """Return two edge vectors of every triangle of every code, on a cube of side 1.

    A mask and its complement share one surface, so codes of more than four voxels take their complement's
    triangles (tables of marching cubes decide ambiguous faces differently for the two).
    """
    edges = [np.zeros((2, 0, 3))]
    for code in range(1, ALL_INSIDE):
        cube = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2)
        cube = cube if cube.sum() <= len(CORNERS_ZYX) // 2 else 1 - cube
        edges.append(_marching_cubes_edges(cube.astype(np.float64)))
    return (*edges, np.zeros((2, 0, 3)))


def _marching_cubes_edges(cube: Float[np.ndarray, "2 2 2"]) -> Float[np.ndarray, "2 triangles 3"]:
    vertices, faces = cast("Meshed", marching_cubes(cube, 0.5, method="lorensen"))[:2]
    first, second, third = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    return np.stack((second - first, third - first))
