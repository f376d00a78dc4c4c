"""Reading back what was written, before it gets its name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Num

from thoar.core.errors import InputError, ResourceError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume

TOLERANCE_MM = 1e-3
"""NIfTI keeps its matrix in float32: 6e-5 mm at a metre from the origin."""


def check_written(
    read: Callable[[Path], Volume],
    temporary: Path,
    *,
    path: Path,
    voxels: Num[np.ndarray, "z y x"],
    geometry: Geometry,
) -> None:
    """Read a file just written and compare it with what was meant, voxel by voxel.

    Args:
        read: the format's reader.
        temporary: where the file lies now.
        path: the name it will get, for messages.
        voxels: what every voxel must be.
        geometry: where it must lie, each corner within ``TOLERANCE_MM``.

    Raises:
        ResourceError: if it cannot be read or differs.
    """
    try:
        found = read(temporary)
    except InputError as error:
        raise ResourceError(
            f"{path}: what was written cannot be read back, so it was removed ({error})"
        ) from error
    same_shape = found.voxels.shape == voxels.shape
    if not same_shape or not all(
        map(np.array_equal, found.voxels, voxels)
    ):  # plane by plane: no third volume
        raise ResourceError(f"{path}: voxels written and read back differ; removed, check the disk")
    if not found.geometry.same_grid(geometry, tolerance_mm=TOLERANCE_MM):
        raise ResourceError(f"{path}: the grid written and the one read back differ; removed")
