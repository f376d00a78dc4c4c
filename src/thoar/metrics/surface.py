"""Distances between the surface voxels of two masks, and over all their voxels.

Every distance of a pair is computed once, by :func:`surface_distances`; the metrics only summarise them.
Definitions and what they are not: docs/reference/metrics.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

ROBUST_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfaceDistances:
    """How far each mask's voxels lie from the other mask.

    Attributes:
        from_prediction_mm: per surface voxel of the prediction, to the nearest one of the reference.
        from_reference_mm: per surface voxel of the reference, to the nearest one of the prediction.
        mean_from_prediction_mm: over all voxels of the prediction, to the nearest voxel of the
            reference; 0 for those inside it.
        mean_from_reference_mm: likewise over all voxels of the reference.
    """

    from_prediction_mm: Float[np.ndarray, " prediction"]
    from_reference_mm: Float[np.ndarray, " reference"]
    mean_from_prediction_mm: float
    mean_from_reference_mm: float


def surface_distances(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    *,
    spacing_zyx_mm: Sequence[float],
) -> SurfaceDistances:
    """Return all voxel distances between two masks, exact for any spacing.

    A k-d tree over the other mask's surface voxels answers only for the voxels that are asked about;
    on organs that is several times faster than a distance map of the whole box, and as exact.

    Raises:
        ValueError: if a mask is empty.
    """
    if not (prediction.any() and reference.any()):
        raise ValueError("an empty mask has no distances")
    surface_p, surface_r = surface_voxels(prediction), surface_voxels(reference)
    from_p, mean_p = _directed(prediction, surface_p, reference, surface_r, spacing_zyx_mm)
    from_r, mean_r = _directed(reference, surface_r, prediction, surface_p, spacing_zyx_mm)
    return SurfaceDistances(
        from_prediction_mm=from_p,
        from_reference_mm=from_r,
        mean_from_prediction_mm=mean_p,
        mean_from_reference_mm=mean_r,
    )


def surface_voxels(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Return the voxels of a mask with a face on the background; beyond the array lies background."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for neighbour in (slice(None, -2), slice(2, None)):
            inner &= padded[tuple(neighbour if a == axis else slice(1, -1) for a in range(3))]
    return mask & ~inner


def nearest_mm(
    points_mm: Float[np.ndarray, "points 3"], others_mm: Float[np.ndarray, "others 3"]
) -> Float[np.ndarray, " points"]:
    """Return the distance from each point to the nearest of the others."""
    tree = KDTree(others_mm, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(points_mm)[0], dtype=np.float64)  # pyright: ignore[reportUnknownMemberType]


def hausdorff_mm(distances: SurfaceDistances) -> float:
    """Return HD: the largest distance between surfaces, in either direction."""
    return percentile_hausdorff_mm(distances, 100.0)


def percentile_hausdorff_mm(distances: SurfaceDistances, percentile: float = ROBUST_PERCENTILE) -> float:
    """Return HD95: the larger of the two directions' 95th percentiles (not that of the pooled distances)."""
    both = (distances.from_prediction_mm, distances.from_reference_mm)
    return max(float(np.percentile(one, percentile)) for one in both)


def average_symmetric_surface_distance_mm(distances: SurfaceDistances) -> float:
    """Return ASSD: the mean over the surface voxels of both masks, pooled."""
    return float(np.concatenate((distances.from_prediction_mm, distances.from_reference_mm)).mean())


def average_hausdorff_mm(distances: SurfaceDistances) -> float:
    """Return the average Hausdorff distance over all voxels, as ITK's GetAverageHausdorffDistance does.

    The mean of the two directions' means; a voxel inside the other mask counts 0. The best-supported
    reading of the "Hausdorff" on the SegTHOR challenge's server (docs/reference/metrics.md).
    """
    return (distances.mean_from_prediction_mm + distances.mean_from_reference_mm) / 2


def _directed(
    mask: Bool[np.ndarray, "z y x"],
    surface: Bool[np.ndarray, "z y x"],
    other: Bool[np.ndarray, "z y x"],
    other_surface: Bool[np.ndarray, "z y x"],
    spacing_zyx_mm: Sequence[float],
) -> tuple[Float[np.ndarray, " surface"], float]:
    """Return surface voxels' distances to the other surface, and all voxels' mean distance to the mask.

    Outside the other mask its nearest voxel is a surface voxel: one query serves both.
    """
    outside = mask & ~other
    asked = surface | outside
    distance_mm = nearest_mm(
        np.argwhere(asked) * np.asarray(spacing_zyx_mm, dtype=np.float64),
        np.argwhere(other_surface) * np.asarray(spacing_zyx_mm, dtype=np.float64),
    )
    mean_mm = float(distance_mm[outside[asked]].sum() / np.count_nonzero(mask))
    return distance_mm[surface[asked]], mean_mm
