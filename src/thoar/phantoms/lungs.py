"""Both lungs of a map of structures, as a radiotherapy plan draws them.

The definition is RTOG 1106's (Kong et al., Int J Radiat Oncol Biol Phys 81 (2011) 1442): all lung, be it full
of air, airless or full of holes, with the vessels and airways in it; not the trachea, the main bronchi and
the vessels of the hila, not a tumour with its cavity, no fluid and no air between lung and wall.
"""

import numpy as np
import torch
from jaxtyping import Bool
from scipy.ndimage import binary_dilation
from skimage.measure import label
from torch import Tensor

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.distances import coarse_distance_mm, doubled
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import LOBES, chosen

TISSUE = (*LOBES, "fissure", "atelectasis", "emphysema")
BRANCHES = ("lung_artery", "lung_vein", "lung_airway", "lung_airway_wall")
AROUND_MM = 5.0
"""A vessel or airway is lung where more lung than anything else lies about so near to it."""
REACH_MM = 30.0
"""What lies farther from both sides' lobes goes by the spine's side."""
OTHER = {"left": "right", "right": "left"}
SPINE = ("spinal_canal", "dural_sac", "spinal_cord")


def lung_masks(body: BodyMap) -> dict[str, Bool[Tensor, "z y x"]]:
    """Return the masks of the ``left`` and the ``right`` lung."""
    lung, left = _lung(body), _is_left(body)
    sides = {"left": lung & left, "right": lung & ~left}
    strays = {side: _strays(sides[side], sides[other]) for side, other in OTHER.items()}
    return {side: sides[side] & ~strays[side] | strays[other] for side, other in OTHER.items()}


def _lung(body: BodyMap) -> Bool[Tensor, "z y x"]:
    """Return all lung of both sides: its tissue, and the vessels and airways in it."""
    tissue, branch = chosen(body.structure, *TISSUE), chosen(body.structure, *BRANCHES)
    sign = torch.where(branch, 0.0, torch.where(tissue, 1.0, -1.0))[::2, ::2, ::2]
    z, y, x = (AROUND_MM / (2 * s) for s in body.spacing_zyx_mm)
    return tissue | (branch & (doubled(blurred(sign, (z, y, x)), body.structure.shape) > 0))


def _is_left(body: BodyMap) -> Bool[Tensor, "z y x"]:
    """Return which voxels lie on the left: nearer to a lobe of that side, else on that side of the spine."""
    away = [
        coarse_distance_mm(
            chosen(body.structure, *(name for name in LOBES if name.endswith(side))),
            body.spacing_zyx_mm,
            reach_mm=REACH_MM,
        )
        for side in ("left", "right")
    ]
    across = torch.arange(body.structure.shape[2], device=body.device)
    spine = chosen(body.structure, *SPINE).sum(dim=(0, 1))
    middle = (spine * across).sum() / spine.sum() if spine.any() else across.float().mean()
    return (away[0] < away[1]) | ((away[0] == away[1]) & (across > middle))


def _strays(mask: Bool[Tensor, "z y x"], other: Bool[Tensor, "z y x"]) -> Bool[Tensor, "z y x"]:
    """Return the pieces of one lung that hang together with the other lung instead of their own.

    A chest's lobes are told apart by the spine's side, but the sheet between both lungs may lie aside of it.
    """
    pieces = np.asarray(label(mask.cpu().numpy(), connectivity=1))
    sizes = np.bincount(pieces.ravel())
    if len(sizes) <= 2:  # noqa: PLR2004 (nothing, and one piece)
        return torch.zeros_like(mask)
    touching = np.zeros(len(sizes), dtype=bool)
    touching[pieces[np.asarray(binary_dilation(other.cpu().numpy()), dtype=bool)]] = True
    touching[[0, 1 + int(np.argmax(sizes[1:]))]] = False
    return torch.from_numpy(touching[pieces]).to(mask.device)
