"""All scores of one organ in one case, and the rules for empty masks."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from jaxtyping import Bool

from thoar.core.box import Box
from thoar.metrics.overlap import centroid_distance_mm, dice, volume_ml
from thoar.metrics.surface import (
    average_hausdorff_mm,
    average_symmetric_surface_distance_mm,
    hausdorff_mm,
    percentile_hausdorff_mm,
    surface_distances,
)
from thoar.metrics.surfels import surface_dice, surfel_distances

TOLERANCE_MM = 3.0
"""Default tolerance of surface Dice."""


class OrganScores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one organ's predicted mask agrees with its reference (docs/reference/metrics.md).

    NaN means undefined: both masks are empty. Distances are infinite where one mask is empty.

    Attributes:
        dice: overlap, 0 to 1.
        hausdorff_mm: HD.
        hausdorff95_mm: HD95, the larger of the two directions' 95th percentiles.
        assd_mm: average symmetric surface distance.
        surface_dice: part of both surfaces within the tolerance of the other, 0 to 1.
        average_hausdorff_mm: over all voxels of the masks, as ITK computes it.
        centroid_distance_mm: between the centres of mass.
        predicted_volume_ml: of the prediction.
        reference_volume_ml: of the reference.
    """

    dice: float
    hausdorff_mm: float
    hausdorff95_mm: float
    assd_mm: float
    surface_dice: float
    average_hausdorff_mm: float
    centroid_distance_mm: float
    predicted_volume_ml: float
    reference_volume_ml: float


def score_organ(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    *,
    spacing_zyx_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
) -> OrganScores:
    """Return every score of a pair of masks on one grid.

    Raises:
        ValueError: if the shapes differ, or spacing or tolerance are no positive lengths.
    """
    _refuse_nonsense(prediction.shape, reference.shape, spacing_zyx_mm, tolerance_mm)
    box = Box.of_mask(prediction | reference)
    if box is None:
        return _without_distances(prediction, reference, spacing_zyx_mm)
    prediction, reference = prediction[box.slices], reference[box.slices]
    if not (prediction.any() and reference.any()):
        return _without_distances(prediction, reference, spacing_zyx_mm)
    voxels = surface_distances(prediction, reference, spacing_zyx_mm=spacing_zyx_mm)
    surfels = surfel_distances(prediction, reference, spacing_zyx_mm=spacing_zyx_mm)
    return OrganScores(
        dice=dice(prediction, reference),
        hausdorff_mm=hausdorff_mm(voxels),
        hausdorff95_mm=percentile_hausdorff_mm(voxels),
        assd_mm=average_symmetric_surface_distance_mm(voxels),
        surface_dice=surface_dice(surfels, tolerance_mm),
        average_hausdorff_mm=average_hausdorff_mm(voxels),
        centroid_distance_mm=centroid_distance_mm(prediction, reference, spacing_zyx_mm=spacing_zyx_mm),
        predicted_volume_ml=volume_ml(prediction, spacing_zyx_mm),
        reference_volume_ml=volume_ml(reference, spacing_zyx_mm),
    )


def _without_distances(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    spacing_zyx_mm: Sequence[float],
) -> OrganScores:
    """Score a pair of which at least one mask is empty: undefined for both, worst possible for one."""
    one_is_empty = bool(prediction.any() or reference.any())
    overlap, distance_mm = (0.0, math.inf) if one_is_empty else (math.nan, math.nan)
    return OrganScores(
        dice=overlap,
        hausdorff_mm=distance_mm,
        hausdorff95_mm=distance_mm,
        assd_mm=distance_mm,
        surface_dice=overlap,
        average_hausdorff_mm=distance_mm,
        centroid_distance_mm=distance_mm,
        predicted_volume_ml=volume_ml(prediction, spacing_zyx_mm),
        reference_volume_ml=volume_ml(reference, spacing_zyx_mm),
    )


def _refuse_nonsense(
    prediction_shape_zyx: Sequence[int],
    reference_shape_zyx: Sequence[int],
    spacing_zyx_mm: Sequence[float],
    tolerance_mm: float,
) -> None:
    if tuple(prediction_shape_zyx) != tuple(reference_shape_zyx):
        raise ValueError(f"masks of shapes {prediction_shape_zyx} and {reference_shape_zyx} share no grid")
    if len(spacing_zyx_mm) != 3 or not all(0 < s < math.inf for s in spacing_zyx_mm):  # noqa: PLR2004 (z, y, x)
        raise ValueError(f"spacing_zyx_mm must be three positive lengths, got {tuple(spacing_zyx_mm)}")
    if not 0 <= tolerance_mm < math.inf:
        raise ValueError(f"tolerance_mm must be a length, got {tolerance_mm}")
