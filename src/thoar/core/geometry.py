"""A grid of voxels in patient space, and how its positions are spoken of.

Index vectors are (z, y, x), like arrays. Points in the patient are (x, y, z) in LPS millimetres,
DICOM's frame: x grows to the patient's left, y to the back, z to the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thoar.core.box import Box, Index3
from thoar.core.errors import GeometryError

Vector3 = tuple[float, float, float]

ORTHOGONALITY_TOLERANCE = 1e-3
"""Largest cosine between two grid axes that still counts as a right angle."""
_FARTHEST_MM = 1e9
"""No voxel lies a thousand kilometres away; the squares of much larger numbers overflow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """A regular grid in patient space.

    Attributes:
        shape_zyx: number of voxels along each array axis.
        lps_from_index: 4×4 matrix, ``xyz_mm = lps_from_index @ (z, y, x, 1)``, to voxel centres.

    Raises:
        GeometryError: if the matrix is not finite, too large, singular, or its axes are not at right angles.
    """

    shape_zyx: Index3
    lps_from_index: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        if any(n < 1 for n in self.shape_zyx):
            raise GeometryError(f"a grid needs at least one voxel per axis, got {self.shape_zyx}")
        matrix = np.array(self.lps_from_index, dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise GeometryError(f"the grid's matrix has entries that are no numbers: {matrix.tolist()}")
        if np.abs(matrix).max() > _FARTHEST_MM:
            raise GeometryError(f"the grid's matrix has entries that are no millimetres: {matrix.tolist()}")
        if not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError(f"the grid's matrix is not affine, last row {matrix[3].tolist()}")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if (spacing < 1e-6).any():  # noqa: PLR2004 (a nanometre: no scanner's voxel)
            raise GeometryError(f"the grid has an axis without length, spacing_zyx_mm {spacing.tolist()}")
        cosines = matrix[:3, :3].T @ matrix[:3, :3] / np.outer(spacing, spacing)
        worst = float(np.abs(cosines - np.eye(3)).max())
        if worst > ORTHOGONALITY_TOLERANCE:
            raise GeometryError(
                f"the grid's axes are not at right angles (cosine {worst:.4f}): a sheared or tilted "
                "volume; resample it onto a regular grid first"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "lps_from_index", matrix)

    @classmethod
    def axial(
        cls,
        shape_zyx: Index3,
        spacing_zyx_mm: Vector3,
        *,
        origin_xyz_mm: Vector3 = (0.0, 0.0, 0.0),
    ) -> "Geometry":
        """Return the plain axial grid: z to the head, y to the back, x to the left.

        >>> Geometry.axial((10, 20, 30), (3.0, 1.0, 1.0)).position_xyz_mm((1, 2, 3))
        (3.0, 2.0, 3.0)
        """
        dz, dy, dx = spacing_zyx_mm
        matrix = np.zeros((4, 4))
        matrix[0, 2], matrix[1, 1], matrix[2, 0], matrix[3, 3] = dx, dy, dz, 1.0
        matrix[:3, 3] = origin_xyz_mm
        return cls(shape_zyx=shape_zyx, lps_from_index=matrix)

    @property
    def spacing_zyx_mm(self) -> Vector3:
        """Distance between neighbouring voxel centres along each array axis."""
        z, y, x = (float(s) for s in np.linalg.norm(self.lps_from_index[:3, :3], axis=0))
        return (z, y, x)

    @property
    def origin_xyz_mm(self) -> Vector3:
        """Where the centre of voxel (0, 0, 0) lies."""
        return self.position_xyz_mm((0, 0, 0))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.lps_from_index[:3, :3]))) / 1000.0

    def position_xyz_mm(self, index_zyx: Sequence[float] | Sequence[int]) -> Vector3:
        """Return where an index, whole or fractional, lies in the patient."""
        x, y, z = (float(v) for v in (self.lps_from_index @ np.array([*index_zyx, 1.0]))[:3])
        return (x, y, z)

    def index_zyx(self, position_xyz_mm: Sequence[float]) -> Vector3:
        """Return the fractional index of a point in the patient."""
        z, y, x = (
            float(v) for v in np.linalg.solve(self.lps_from_index, np.array([*position_xyz_mm, 1.0]))[:3]
        )
        return (z, y, x)

    def cropped(self, box: Box) -> "Geometry":
        """Return the grid of a box of this one, which may reach beyond its faces (padding)."""
        matrix = self.lps_from_index.copy()
        matrix[:3, 3] = self.position_xyz_mm(box.start_zyx)
        return Geometry(shape_zyx=box.shape_zyx, lps_from_index=matrix)

    def reordered(self, axes: Sequence[int], *, flipped: Sequence[bool]) -> "Geometry":
        """Return the grid of ``np.flip(np.transpose(array, axes), flipped axes)``.

        Args:
            axes: new axis i is this grid's axis ``axes[i]``, as in ``np.transpose``.
            flipped: whether new axis i runs backwards.
        """
        old_from_new = np.zeros((4, 4))
        old_from_new[3, 3] = 1.0
        shape: list[int] = []
        for new, (old, backwards) in enumerate(zip(axes, flipped, strict=True)):
            size = self.shape_zyx[old]
            shape.append(size)
            old_from_new[old, new] = -1.0 if backwards else 1.0
            old_from_new[old, 3] = size - 1 if backwards else 0
        z, y, x = shape
        return Geometry(shape_zyx=(z, y, x), lps_from_index=self.lps_from_index @ old_from_new)

    def canonical_order(self) -> tuple[Index3, tuple[bool, bool, bool]]:
        """Return ``(axes, flipped)`` for :meth:`reordered` that bring the grid nearest to axial.

        The reordered grid's z runs to the head, y to the back, x to the left, each as nearly as the
        grid's own axes allow; an oblique grid stays oblique.
        """
        direction = self.lps_from_index[:3, :3] / np.array(self.spacing_zyx_mm)
        along_zyx = direction[::-1]  # row i: component of each array axis along patient z, y, x
        best = max(_PERMUTATIONS, key=lambda axes: sum(abs(along_zyx[i, axes[i]]) for i in range(3)))
        z, y, x = (bool(along_zyx[i, best[i]] < 0) for i in range(3))
        return best, (z, y, x)

    def difference_mm(self, other: "Geometry") -> float:
        """Return how far apart the farthest corresponding corner voxels of two grids lie.

        Infinite where the shapes differ.
        """
        if self.shape_zyx != other.shape_zyx:
            return float("inf")
        last = np.array(self.shape_zyx) - 1
        corners = np.array([[*(last * np.array(c)), 1] for c in np.ndindex(2, 2, 2)], dtype=np.float64)
        apart = (self.lps_from_index - other.lps_from_index)[:3] @ corners.T
        return float(np.linalg.norm(apart, axis=0).max())

    def same_grid(self, other: "Geometry", *, tolerance_mm: float = 0.01) -> bool:
        """Say whether two grids are the same, corner by corner, within a tolerance."""
        return self.difference_mm(other) <= tolerance_mm


_PERMUTATIONS: tuple[Index3, ...] = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
