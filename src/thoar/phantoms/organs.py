"""Which voxels of a map of structures each organ takes."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.lungs import lung_masks
from thoar.phantoms.structures import ORGAN_STRUCTURES, chosen

LUNG_SIDES = {"lung_left": "left", "lung_right": "right"}


def organ_masks(body: BodyMap, names: Sequence[str]) -> Bool[Tensor, "organ z y x"]:
    """Return the mask of each organ named: of ``structures.ORGAN_STRUCTURES``, or a lung.

    No voxel belongs to two organs.
    """
    lungs = lung_masks(body) if any(name in LUNG_SIDES for name in names) else {}
    masks = [
        lungs[LUNG_SIDES[name]] if name in LUNG_SIDES else chosen(body.structure, *ORGAN_STRUCTURES[name])
        for name in names
    ]
    return torch.stack(masks)
