"""Whether labels would fit their image if they were flipped: the usual fault of a lost direction."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt

from thoar.core.labels import LabelSet
from thoar.core.volume import Volume
from thoar.datasets.anatomy import AIR_HU, AIR_SHARE, odd_air
from thoar.datasets.check_measures import OrganMeasures

FLIPS = ("head and feet", "front and back", "left and right")
"""What is exchanged by a flip of each axis in canonical order."""

BETTER = 0.25
"""Flipped labels fit if no more than so much of their oddness is left."""


def fitting_flip(
    image: Volume,
    labels: UInt[np.ndarray, "z y x"],
    *,
    organs: Mapping[str, OrganMeasures],
    label_set: LabelSet,
) -> str | None:
    """Return what must be exchanged for the organs to hold as much air as usual; None if nothing helps.

    Args:
        image: in canonical order.
        labels: on its grid.
        organs: as measured; without an odd one there is nothing to mend.
        label_set: of the labels.
    """
    known = [label_set.organ(name) for name in organs if name in AIR_SHARE]
    odd = sum(odd_air(organ.name, organs[organ.name].air_share) for organ in known)
    if odd == 0.0:
        return None
    airy = image.voxels < AIR_HU
    masks = {organ.name: labels == organ.id for organ in known}
    left = [
        sum(odd_air(name, float(airy[np.flip(mask, axis)].mean())) for name, mask in masks.items())
        for axis in range(3)
    ]
    best = int(np.argmin(left))
    return FLIPS[best] if left[best] <= BETTER * odd else None
