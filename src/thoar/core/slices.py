"""Parallel slices that need not make a regular grid: a tilted gantry, uneven steps, a gap.

Where the slices do make a grid, :meth:`SlicePlanes.regular_geometry` is that grid and array axis 0 of a
Volume counts the same slices, so whatever is known slice by slice holds for the Volume too.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from thoar.core.errors import GeometryError
from thoar.core.geometry import ORTHOGONALITY_TOLERANCE, Geometry

POSITION_TOLERANCE_MM = 0.1
"""A slice may lie so far from its place in the regular grid, along the normal a fifth of the step at most.

Positions that were rounded to one decimal lie within it; a slice left out, a third of the step off, does not.
"""


def depth_tolerance_mm(step_mm: float) -> float:
    """Return how far along the normal a slice may lie from its place in a grid of such steps."""
    return min(POSITION_TOLERANCE_MM, step_mm / 5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlicePlanes:
    """Where the slices of one series lie: alike in direction, pixel spacing and size, sorted by depth.

    Attributes:
        origins_xyz_mm: centre of each slice's first pixel (ImagePositionPatient), in LPS.
        along_row_xyz: unit vector from column to column (first half of ImageOrientationPatient).
        along_column_xyz: unit vector from row to row (second half).
        spacing_yx_mm: distance between rows, between columns (PixelSpacing's order).
        shape_yx: rows, columns.

    Raises:
        GeometryError: if the directions are no unit vectors at right angles, the origins are not sorted along
            their normal, or a number is not finite or no length.
    """

    origins_xyz_mm: Float[np.ndarray, "slice 3"]
    along_row_xyz: Float[np.ndarray, "3"]
    along_column_xyz: Float[np.ndarray, "3"]
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("origins_xyz_mm", "along_row_xyz", "along_column_xyz"):
            values = np.array(getattr(self, name), dtype=np.float64)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        directions = np.stack([self.along_row_xyz, self.along_column_xyz])
        if not np.allclose(directions @ directions.T, np.eye(2), rtol=0, atol=ORTHOGONALITY_TOLERANCE):
            raise GeometryError(f"slice directions {directions.tolist()} are no unit vectors at right angles")
        finite = np.isfinite([*self.origins_xyz_mm.ravel(), *self.spacing_yx_mm]).all()
        if not finite or min(self.spacing_yx_mm) <= 0:
            raise GeometryError("slices need finite positions and a pixel spacing above 0")
        if len(self.origins_xyz_mm) < 1 or (self.distances_mm <= 0).any() or min(self.shape_yx) < 1:
            raise GeometryError("slices need pixels, and an order along their normal without doubles")

    def __len__(self) -> int:
        return len(self.origins_xyz_mm)

    @property
    def normal_xyz(self) -> Float[np.ndarray, "3"]:
        """The unit vector along which the slices are stacked."""
        return np.cross(self.along_row_xyz, self.along_column_xyz)

    @property
    def depths_mm(self) -> Float[np.ndarray, "slice"]:
        """Each slice's place along the normal, the first at 0."""
        return (self.origins_xyz_mm - self.origins_xyz_mm[0]) @ self.normal_xyz

    @property
    def distances_mm(self) -> Float[np.ndarray, "step"]:
        """From each slice to the next, along the normal."""
        return np.diff(self.depths_mm)

    @property
    def shifts_yx_mm(self) -> Float[np.ndarray, "slice 2"]:
        """How far each slice lies sideways of the first one's normal: along its columns, along its rows."""
        off = self.origins_xyz_mm - self.origins_xyz_mm[0]
        return np.stack([off @ self.along_column_xyz, off @ self.along_row_xyz], axis=1)

    def position_xyz_mm(
        self, index: int, points_yx: Float[np.ndarray, "point 2"]
    ) -> Float[np.ndarray, "point 3"]:
        """Return where (row, column) points of one slice, whole or fractional, lie in the patient."""
        along_y = np.outer(points_yx[:, 0] * self.spacing_yx_mm[0], self.along_column_xyz)
        along_x = np.outer(points_yx[:, 1] * self.spacing_yx_mm[1], self.along_row_xyz)
        return self.origins_xyz_mm[index] + along_y + along_x

    def points_yx(
        self, index: int, positions_xyz_mm: Float[np.ndarray, "point 3"]
    ) -> Float[np.ndarray, "point 2"]:
        """Return the (row, column) in one slice's plane nearest to points in the patient.

        The exact inverse of :meth:`position_xyz_mm`, also where the directions are not quite at right angles.
        """
        step_y_xyz_mm = self.along_column_xyz * self.spacing_yx_mm[0]
        step_x_xyz_mm = self.along_row_xyz * self.spacing_yx_mm[1]
        steps = np.stack([step_y_xyz_mm, step_x_xyz_mm], axis=1)
        return (positions_xyz_mm - self.origins_xyz_mm[index]) @ np.linalg.pinv(steps).T

    def irregularity_mm(self) -> tuple[float, float]:
        """Return how far slices lie from their places in the best even stack: along the normal, sideways."""
        steps = np.arange(len(self))[:, None]
        off = self.origins_xyz_mm - self.origins_xyz_mm[0]
        off = off - steps * off[-1] / max(len(self) - 1, 1)
        along = off @ self.normal_xyz
        across = np.linalg.norm(off - along[:, None] * self.normal_xyz, axis=1)
        return float(np.abs(along).max()), float(across.max())

    def tilt_degrees(self) -> float:
        """Return the angle between the line from the first slice to the last and the normal."""
        line = self.origins_xyz_mm[-1] - self.origins_xyz_mm[0]
        sine = (
            np.linalg.norm(np.cross(line / np.linalg.norm(line), self.normal_xyz)) if len(self) > 1 else 0.0
        )
        return float(np.degrees(np.arcsin(min(float(sine), 1.0))))

    def regular_geometry(self) -> Geometry | None:
        """Return the grid that the slices make, in the order (slice, row, column); None where they make none.

        Slices may lie off their places by ``POSITION_TOLERANCE_MM``, along the normal as far as
        :func:`depth_tolerance_mm` says; the line through them may be off the normal by
        ``ORTHOGONALITY_TOLERANCE``.
        """
        if len(self) < 2:  # noqa: PLR2004 (one slice has no step)
            return None
        along, across = self.irregularity_mm()
        step_mm = float(np.median(self.distances_mm))
        if along > depth_tolerance_mm(step_mm) or across > POSITION_TOLERANCE_MM:
            return None
        if np.sin(np.radians(self.tilt_degrees())) > ORTHOGONALITY_TOLERANCE:
            return None
        matrix = np.eye(4)
        matrix[:3, 0] = (self.origins_xyz_mm[-1] - self.origins_xyz_mm[0]) / (len(self) - 1)
        matrix[:3, 1] = self.along_column_xyz * self.spacing_yx_mm[0]
        matrix[:3, 2] = self.along_row_xyz * self.spacing_yx_mm[1]
        matrix[:3, 3] = self.origins_xyz_mm[0]
        return Geometry(shape_zyx=(len(self), *self.shape_yx), lps_from_index=matrix)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceStack:
    """Slices with their pixels.

    Attributes:
        voxels: array (slice, row, column); for CT, Hounsfield units.
        planes: where each slice lies.

    Raises:
        GeometryError: if array and planes differ in shape.
    """

    voxels: Num[np.ndarray, "z y x"]
    planes: SlicePlanes

    def __post_init__(self) -> None:
        if self.voxels.shape != (len(self.planes), *self.planes.shape_yx):
            raise GeometryError(
                f"an array of shape {self.voxels.shape} does not fit {len(self.planes)} slices of "
                f"{self.planes.shape_yx}"
            )
