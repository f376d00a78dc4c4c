"""What follows from counting voxels: Dice, volume, distance of centroids."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

MM3_PER_ML = 1000.0


def dice(prediction: Bool[np.ndarray, "z y x"], reference: Bool[np.ndarray, "z y x"]) -> float:
    """Return ``2 |P ∩ R| / (|P| + |R|)``; NaN where both masks are empty (Dice, Ecology 26, 1945).

    >>> dice(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.6666666666666666
    """
    voxels = np.count_nonzero(prediction) + np.count_nonzero(reference)
    if voxels == 0:
        return float("nan")
    return float(2 * np.count_nonzero(prediction & reference) / voxels)


def volume_ml(mask: Bool[np.ndarray, "z y x"], spacing_zyx_mm: Sequence[float]) -> float:
    """Return a mask's volume: the number of its voxels times the volume of one."""
    return float(np.count_nonzero(mask) * np.prod(spacing_zyx_mm) / MM3_PER_ML)


def centroid_distance_mm(
    prediction: Bool[np.ndarray, "z y x"],
    reference: Bool[np.ndarray, "z y x"],
    *,
    spacing_zyx_mm: Sequence[float],
) -> float:
    """Return how far apart the centres of mass of two masks lie.

    Raises:
        ValueError: if a mask is empty.
    """
    apart = _centroid_zyx(prediction) - _centroid_zyx(reference)
    return float(np.linalg.norm(apart * np.asarray(spacing_zyx_mm)))


def _centroid_zyx(mask: Bool[np.ndarray, "z y x"]) -> np.ndarray:
    if not mask.any():
        raise ValueError("an empty mask has no centroid")
    profiles: list[np.ndarray] = [mask.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    return np.array([float(np.average(np.arange(p.size), weights=p)) for p in profiles])
