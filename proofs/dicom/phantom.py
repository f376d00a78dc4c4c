"""A chest defined by formula in patient millimetres (LPS), so that its truth on any slices is known.

No two of its directions look alike. Shapes are the size of a child's chest, so that a coarse grid holds them.
Nothing here uses thoar: where a voxel lies, and what is there, is worked out on its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int16

Points = Float[np.ndarray, "*grid 3"]
Vector = tuple[float, float, float]

CENTRE_XYZ_MM: Vector = (11.3, -23.7, 137.1)
"""The middle of the chest; far from the frame's origin, so that a lost or mirrored position shows."""
HALF_XYZ_MM: Vector = (88.0, 66.0, 62.0)
"""Half the size of the box that is scanned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampling:
    """Where voxel centres lie: slices alike in size and direction, in the order in which they are written.

    Attributes:
        origins_xyz_mm: first pixel of each slice.
        along_row_xyz: unit vector from column to column.
        along_column_xyz: unit vector from row to row.
        spacing_yx_mm: between rows, between columns.
        shape_yx: rows, columns.
    """

    origins_xyz_mm: Float[np.ndarray, "slice 3"]
    along_row_xyz: Float[np.ndarray, "3"]
    along_column_xyz: Float[np.ndarray, "3"]
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]

    @property
    def normal_xyz(self) -> Float[np.ndarray, "3"]:
        """Unit vector at right angles to the slices."""
        return np.cross(self.along_row_xyz, self.along_column_xyz)

    @property
    def points_xyz_mm(self) -> Float[np.ndarray, "slice row column 3"]:
        """Every voxel's centre."""
        rows, columns = (np.arange(n, dtype=np.float64) for n in self.shape_yx)
        down = rows[:, None, None] * (self.spacing_yx_mm[0] * self.along_column_xyz)
        across = columns[None, :, None] * (self.spacing_yx_mm[1] * self.along_row_xyz)
        return self.origins_xyz_mm[:, None, None, :] + down + across

    def taking(self, order: list[int] | Int16[np.ndarray, "slice"]) -> "Sampling":
        """Return some of the slices, in the order given."""
        return replace(self, origins_xyz_mm=self.origins_xyz_mm[order])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Orientation:
    """How slices lie in the patient, and what the header says of it.

    Attributes:
        name: for tables.
        along_row_xyz: unit vector from column to column.
        along_column_xyz: unit vector from row to row.
        step_xyz: unit vector from slice to slice; None where it is the normal.
        patient_position: PatientPosition, which readers must not trust.
    """

    name: str
    along_row_xyz: Vector
    along_column_xyz: Vector
    step_xyz: Vector | None = None
    patient_position: str = "HFS"


AXIAL = Orientation(name="axial", along_row_xyz=(1, 0, 0), along_column_xyz=(0, 1, 0))


def sampled(
    orientation: Orientation = AXIAL, spacing_zyx_mm: tuple[float, float, float] = (5.0, 3.7, 4.3)
) -> Sampling:
    """Return slices of an orientation that cover the chest; no voxel lies on its middle."""
    row, column = np.array(orientation.along_row_xyz, float), np.array(orientation.along_column_xyz, float)
    step = np.cross(row, column) if orientation.step_xyz is None else np.array(orientation.step_xyz, float)
    slices, rows, columns = (
        int(np.ceil(2 * np.abs(direction) @ HALF_XYZ_MM / spacing))
        for direction, spacing in zip((step, column, row), spacing_zyx_mm, strict=True)
    )
    corner = np.add(CENTRE_XYZ_MM, (0.37, -0.53, 0.71))
    corner = (
        corner - (rows - 1) / 2 * spacing_zyx_mm[1] * column - (columns - 1) / 2 * spacing_zyx_mm[2] * row
    )
    depths = (np.arange(slices) - (slices - 1) / 2) * spacing_zyx_mm[0]
    return Sampling(
        origins_xyz_mm=corner + depths[:, None] * step,
        along_row_xyz=row,
        along_column_xyz=column,
        spacing_yx_mm=spacing_zyx_mm[1:],
        shape_yx=(rows, columns),
    )


def hounsfield(points_xyz_mm: Points) -> Int16[np.ndarray, "*grid"]:
    """Return the HU at points in the patient: whole numbers, texture everywhere."""
    x, y, z = _centred(points_xyz_mm)
    hu = np.full(x.shape, -1000.0)
    for inside, value in _PAINTED:
        hu[inside(x, y, z)] = value
    texture = 25 * np.sin(x / 7.3 + 0.4) + 22 * np.sin(y / 8.9 + z / 23) + 18 * np.cos(z / 6.1)
    return np.rint(hu + np.where(hu < -900, 0.2, 1.0) * texture).astype(np.int16)  # noqa: PLR2004 (air)


def truth(name: str, points_xyz_mm: Points) -> Bool[np.ndarray, "*grid"]:
    """Return which points lie in one of the ``ORGANS``."""
    return ORGANS[name](*_centred(points_xyz_mm))


def _centred(points_xyz_mm: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z = np.moveaxis(points_xyz_mm - np.array(CENTRE_XYZ_MM), -1, 0)
    return x, y, z


def _body(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return (x / (78 + 0.06 * z)) ** 2 + (y / 57) ** 2 < 1


def _muscle(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return (x / (71 + 0.06 * z)) ** 2 + (y / 51) ** 2 < 1


def _lungs(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    right = ((x + 38) / 26) ** 2 + ((y - 2) / 37) ** 2 + ((z - 3) / 50) ** 2 < 1
    left = ((x - 44) / 21) ** 2 + ((y - 5) / 34) ** 2 + ((z - 9) / 44) ** 2 < 1
    return right | left


def _heart(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    u, v, w = x - 17, y + 20, z + 20
    along = (0.70 * u - 0.40 * v - 0.59 * w) / 29
    return along**2 + ((0.72 * u + 0.39 * v + 0.58 * w) / 21) ** 2 + ((0.83 * v - 0.56 * w) / 19) ** 2 < 1


def _trachea(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return ((x + 3) ** 2 + (y - 4 - 0.12 * z) ** 2 < 7.4**2) & (z > -7) & (z < 53)  # noqa: PLR2004


def _esophagus(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    u, v = x - 4 - 6 * np.sin(z / 27), y - 25 - 4 * np.cos(z / 21)
    return (u**2 / 9.3**2 + v**2 / 6.7**2 < 1) & (z > -54) & (z < 57)  # noqa: PLR2004


def _aorta(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return a cane: descending beside the spine, an arch over to the front right, ascending down again."""
    middle, half = np.array((9.0, 10.0)), np.hypot(13.0, 19.0)
    u = ((x - middle[0]) * 13 + (y - middle[1]) * 19) / half
    w = ((x - middle[0]) * 19 - (y - middle[1]) * 13) / half
    radius, level = 8.2, 22.0
    descending = ((u - half) ** 2 + w**2 < radius**2) & (z > -56) & (z <= level)  # noqa: PLR2004
    ascending = ((u + half) ** 2 + w**2 < (radius + 1.5) ** 2) & (z > -8) & (z <= level)  # noqa: PLR2004
    arch = ((np.hypot(u, z - level) - half) ** 2 + w**2 < radius**2) & (z > level)
    return descending | ascending | arch


def _ring(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return a thick-walled pipe in the right lung, open at both ends."""
    distance = np.hypot(x + 40, y + 1)
    return (distance > 7.6) & (distance < 16.3) & (z > -19) & (z < 24)  # noqa: PLR2004


def _sliver(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return a leaf in the left lung, about one voxel thick."""
    off = 0.93 * (x - 46) + 0.29 * (y - 9) + 0.22 * (z - 14)
    return (np.abs(off) < 2.6) & (np.abs(y - 9) < 17) & (np.abs(z - 14) < 23)  # noqa: PLR2004


Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

ORGANS: Mapping[str, Shape] = MappingProxyType(
    {
        "esophagus": _esophagus,
        "heart": _heart,
        "trachea": _trachea,
        "aorta": _aorta,
        "ring": _ring,
        "sliver": _sliver,
    }
)
"""What is contoured; heart and aorta overlap, as do no labels of a map."""

_PAINTED: tuple[tuple[Shape, float], ...] = (
    (_body, -95),
    (_muscle, 45),
    (_lungs, -830),
    (_esophagus, 25),
    (_heart, 70),
    (_aorta, 190),
    (_trachea, -985),
    (_ring, 120),
    (_sliver, 240),
)
