"""Voxels together with the grid they lie on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Num, UInt

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A scalar image: for CT, Hounsfield units.

    Attributes:
        voxels: array (z, y, x); any real dtype.
        geometry: the grid, of the same shape.

    Raises:
        GeometryError: if array and grid differ in shape.
    """

    voxels: Num[np.ndarray, "z y x"]
    geometry: Geometry

    def __post_init__(self) -> None:
        _check_shape(self.voxels, self.geometry)

    def cropped(self, box: Box) -> "Volume":
        """Return the part inside a box that lies within the volume (a view, not a copy)."""
        return Volume(voxels=self.voxels[box.slices], geometry=self.geometry.cropped(box))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelVolume:
    """A label map: one label id per voxel, 0 for none.

    Attributes:
        voxels: unsigned integers (z, y, x).
        geometry: the grid, of the same shape.
        label_set: what the ids mean.

    Raises:
        GeometryError: if array and grid differ in shape.
    """

    voxels: UInt[np.ndarray, "z y x"]
    geometry: Geometry
    label_set: LabelSet

    def __post_init__(self) -> None:
        _check_shape(self.voxels, self.geometry)


def _check_shape(voxels: np.ndarray, geometry: Geometry) -> None:
    if voxels.shape != geometry.shape_zyx:
        raise GeometryError(f"an array of shape {voxels.shape} does not fit a grid of {geometry.shape_zyx}")


def to_canonical(volume: Volume) -> Volume:
    """Return the volume with its axes reordered and flipped to lie nearest to the axial grid.

    No voxel is interpolated and every voxel keeps its place in the patient.
    """
    axes, flipped = volume.geometry.canonical_order()
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    return Volume(
        voxels=np.flip(volume.voxels.transpose(axes), backwards),
        geometry=volume.geometry.reordered(axes, flipped=flipped),
    )
