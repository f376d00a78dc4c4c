"""Connected pieces of a mask; voxels that share a corner belong together (26 neighbours)."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from thoar.core.box import Box
from thoar.core.geometry import Vector3


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A connected piece of a mask.

    Attributes:
        voxels: how many it has.
        box_zyx: the smallest box around it.
        apart_mm: from its nearest voxel to the nearest one of the largest piece; 0 for that piece itself.
    """

    voxels: int
    box_zyx: Box
    apart_mm: float


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


def pieces_of(mask: Bool[np.ndarray, "z y x"], spacing_zyx_mm: Vector3) -> tuple[Piece, ...]:
    """Return a mask's pieces, largest first."""
    pieces, sizes = _pieces(mask)
    if sizes.size == 0:
        return ()
    order = np.argsort(-sizes, kind="stable")
    apart = np.zeros(sizes.size, dtype=np.float64)
    if sizes.size > 1:
        away = ndimage.distance_transform_edt(pieces != order[0] + 1, sampling=spacing_zyx_mm)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        apart[:] = ndimage.minimum(away, pieces, np.arange(1, sizes.size + 1))  # pyright: ignore[reportUnknownMemberType]
    places = cast("list[tuple[slice, slice, slice]]", ndimage.find_objects(pieces))  # pyright: ignore[reportUnknownMemberType]
    return tuple(
        Piece(voxels=int(sizes[k]), box_zyx=_box(places[int(k)]), apart_mm=float(apart[k])) for k in order
    )


def _box(place: tuple[slice, slice, slice]) -> Box:
    z, y, x = place
    return Box(start_zyx=(z.start, y.start, x.start), stop_zyx=(z.stop, y.stop, x.stop))


def _pieces(mask: Bool[np.ndarray, "z y x"]) -> tuple[Int[np.ndarray, "z y x"], Int[np.ndarray, "pieces"]]:
    pieces = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool), output=pieces)  # pyright: ignore[reportUnknownMemberType]
    return pieces, np.bincount(pieces.ravel())[1:]
