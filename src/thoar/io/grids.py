"""Shapes and matrices as files state them, into core's terms."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thoar.core.box import Index3
from thoar.core.errors import GeometryError, InputError
from thoar.core.geometry import Geometry

MAXIMUM_VOXELS = 2**30
"""Larger volumes are refused before memory is taken (1024 × 1024 × 1024; int16: 2 GiB)."""


def shape_zyx_of(sizes_xyz: Sequence[int], path: Path) -> Index3:
    """Return the array shape for sizes as files list them, fastest axis first.

    Axes of size 1 beyond the third are dropped.

    Raises:
        InputError: if that does not leave three axes of at least two voxels, or too many voxels.
    """
    sizes = [int(n) for n in sizes_xyz]
    found = " × ".join(map(str, sizes)) or "no axes"
    if len(sizes) < 3 or any(n < 1 for n in sizes) or min(sizes[:3]) < 2:  # noqa: PLR2004 (a volume has depth)
        raise InputError(f"{path}: {found} is not a volume; thoar reads three axes of at least 2 voxels")
    if math.prod(sizes[3:]) != 1:
        raise InputError(f"{path}: {found} is a series of volumes; save the one you mean as its own file")
    if math.prod(sizes) > MAXIMUM_VOXELS:
        raise InputError(
            f"{path}: its header declares {found} voxels ({math.prod(sizes) * 4 // 2**30} GiB in memory); "
            f"at most {MAXIMUM_VOXELS} are read: crop or resample it, if the header is right"
        )
    x, y, z = sizes[:3]
    return (z, y, x)


def geometry_of(
    shape_zyx: Index3, lps_from_index: Float[np.ndarray, "4 4"], *, path: Path, said_by: str = "header"
) -> Geometry:
    """Return a Geometry, or name the file whose grid is broken.

    Raises:
        GeometryError: as Geometry does, with the file and the part of it that said so.
    """
    try:
        return Geometry(shape_zyx=shape_zyx, lps_from_index=lps_from_index)
    except GeometryError as error:
        raise GeometryError(f"{path}: by its {said_by}, {error}") from error


def swap_ras_lps(matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Turn ``ras_from_ijk`` into ``lps_from_index`` or back: negate x and y, reverse the index axes.

    Exact, and its own inverse to the bit: only signs and columns change.
    """
    swapped = np.array(matrix, dtype=np.float64)[:, [2, 1, 0, 3]]
    swapped[:2] = -swapped[:2]
    return swapped
