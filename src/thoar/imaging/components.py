"""Connected pieces of a mask; voxels that share a corner belong together (26 neighbours)."""

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]


def largest_component(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Return a mask's largest piece; of equal ones the first; of an empty mask, the empty mask."""
    pieces, sizes = _pieces(mask)
    if sizes.size == 0:
        return np.zeros_like(mask)
    return pieces == int(sizes.argmax()) + 1


def components_of_at_least(mask: Bool[np.ndarray, "z y x"], voxels: int) -> Bool[np.ndarray, "z y x"]:
    """Return the pieces of a mask that have at least so many voxels."""
    pieces, sizes = _pieces(mask)
    return np.concatenate([[False], sizes >= voxels])[pieces]


def component_sizes(mask: Bool[np.ndarray, "z y x"]) -> Int[np.ndarray, "pieces"]:
    """Return the number of voxels of each piece, largest first."""
    return np.sort(_pieces(mask)[1])[::-1]


def _pieces(mask: Bool[np.ndarray, "z y x"]) -> tuple[Int[np.ndarray, "z y x"], Int[np.ndarray, "pieces"]]:
    pieces = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool), output=pieces)  # pyright: ignore[reportUnknownMemberType]
    return pieces, np.bincount(pieces.ravel())[1:]
