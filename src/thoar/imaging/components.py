"""Connected pieces of a mask; voxels that share a corner belong together (26 neighbours)."""

import math
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
    pieces = _pieces(mask)
    return _mask_of(pieces, np.arange(pieces.sizes.size) == pieces.largest, mask)


def components_of_at_least(mask: Bool[np.ndarray, "z y x"], voxels: int) -> Bool[np.ndarray, "z y x"]:
    """Return the pieces of a mask that have at least so many voxels."""
    pieces = _pieces(mask)
    return _mask_of(pieces, pieces.sizes >= voxels, mask)


def kept_components(
    mask: Bool[np.ndarray, "z y x"], least_share: float
) -> tuple[Bool[np.ndarray, "z y x"], int, int]:
    """Take away a mask's small pieces.

    Args:
        mask: of an organ.
        least_share: a piece stays that has at least this part of the largest one's voxels.

    Returns:
        The mask without them (the same array where none goes), and how many pieces stay and how many go.
    """
    pieces = _pieces(mask)
    stay = pieces.sizes >= math.ceil(least_share * int(pieces.sizes.max(initial=0)))
    kept, removed = int(np.count_nonzero(stay)), int(np.count_nonzero(~stay))
    return (_mask_of(pieces, stay, mask) if removed else mask), kept, removed


def component_sizes(mask: Bool[np.ndarray, "z y x"]) -> Int[np.ndarray, "pieces"]:
    """Return the number of voxels of each piece, largest first."""
    return np.sort(_pieces(mask).sizes)[::-1]


def pieces_of(mask: Bool[np.ndarray, "z y x"], spacing_zyx_mm: Vector3) -> tuple[Piece, ...]:
    """Return a mask's pieces, largest first."""
    pieces = _pieces(mask)
    if pieces.sizes.size == 0:
        return ()
    order = np.argsort(-pieces.sizes, kind="stable")
    apart = np.zeros(pieces.sizes.size, dtype=np.float64)
    if pieces.sizes.size > 1:
        away = ndimage.distance_transform_edt(pieces.numbers != order[0] + 1, sampling=spacing_zyx_mm)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        apart[:] = ndimage.minimum(away, pieces.numbers, np.arange(1, pieces.sizes.size + 1))  # pyright: ignore[reportUnknownMemberType]
    places = cast("list[tuple[slice, slice, slice]]", ndimage.find_objects(pieces.numbers))  # pyright: ignore[reportUnknownMemberType]
    return tuple(
        Piece(
            voxels=int(pieces.sizes[k]),
            box_zyx=_box(places[int(k)]).shifted(pieces.box_zyx.start_zyx),
            apart_mm=float(apart[k]),
        )
        for k in order
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pieces:
    """A mask's pieces, numbered from 1 in the order of their first voxels.

    Attributes:
        box_zyx: the smallest box around the mask; any of an empty one.
        numbers: inside the box, the piece that each voxel belongs to, 0 for none.
        sizes: of every piece, in voxels.
    """

    box_zyx: Box
    numbers: Int[np.ndarray, "z y x"]
    sizes: Int[np.ndarray, "pieces"]

    @property
    def largest(self) -> int:
        """The first of the largest pieces, counted from 0; -1 where there is none."""
        return int(self.sizes.argmax()) if self.sizes.size else -1


def _pieces(mask: Bool[np.ndarray, "z y x"]) -> _Pieces:
    box = Box.of_mask(mask) or Box(start_zyx=(0, 0, 0), stop_zyx=(1, 1, 1))
    numbers = np.zeros(box.shape_zyx, dtype=np.int32)
    ndimage.label(mask[box.slices], structure=np.ones((3, 3, 3), dtype=bool), output=numbers)  # pyright: ignore[reportUnknownMemberType]
    return _Pieces(box_zyx=box, numbers=numbers, sizes=np.bincount(numbers.ravel())[1:])


def _mask_of(
    pieces: _Pieces, chosen: Bool[np.ndarray, "pieces"], mask: Bool[np.ndarray, "z y x"]
) -> Bool[np.ndarray, "z y x"]:
    """Return the mask of some of a mask's pieces."""
    result = np.zeros_like(mask)
    result[pieces.box_zyx.slices] = np.concatenate([[False], chosen])[pieces.numbers]
    return result


def _box(place: tuple[slice, slice, slice]) -> Box:
    z, y, x = place
    return Box(start_zyx=(z.start, y.start, x.start), stop_zyx=(z.stop, y.stop, x.stop))
