"""Where each slice of a series lies (PS3.3 C.7.6.2), and whether the slices are alike in it."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from jaxtyping import Float

from thoar.core.errors import GeometryError
from thoar.core.geometry import ORTHOGONALITY_TOLERANCE
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.attributes import Slice, numbers
from thoar.io.dicom.kinds import first_of

_log = logging.getLogger(__name__)

SAME_DIRECTION = 1e-4
_ACROSS = 0.5
"""Cosine between the normals of images that lie at 60° to one another."""
_FEW = 0.1
"""Share of a series' images that localizers may be."""
_FARTHEST_MM = 1e6
_PIXELS_MM = (0.01, 100.0)

Vector = Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """A slice and its place in the patient.

    Attributes:
        item: the slice's file and header.
        origin_xyz_mm: centre of its first pixel (ImagePositionPatient).
        along_row_xyz: unit vector from column to column (first half of ImageOrientationPatient).
        along_column_xyz: unit vector from row to row (second half).
        spacing_yx_mm: distance between rows, between columns (PixelSpacing's order).
    """

    item: Slice
    origin_xyz_mm: Vector
    along_row_xyz: Vector
    along_column_xyz: Vector
    spacing_yx_mm: tuple[float, float]

    @property
    def normal_xyz(self) -> Vector:
        """The unit vector along which slices are stacked."""
        return np.cross(self.along_row_xyz, self.along_column_xyz)


def plane_of(item: Slice) -> Plane:
    """Return a slice's place.

    Raises:
        GeometryError: if position, orientation or pixel spacing is missing or impossible.
    """
    origin = numbers(item, "ImagePositionPatient", 3, kind=GeometryError)
    if max(abs(v) for v in origin) > _FARTHEST_MM:
        raise GeometryError(f"{item.name}: ImagePositionPatient {origin} lies no distance away in a scanner")
    along_row, along_column = _directions(item)
    rows_mm, columns_mm = numbers(item, "PixelSpacing", 2, kind=GeometryError)
    if not all(_PIXELS_MM[0] <= length <= _PIXELS_MM[1] for length in (rows_mm, columns_mm)):
        raise GeometryError(
            f"{item.name}: PixelSpacing {rows_mm:g}, {columns_mm:g} is no length of a pixel in mm; export "
            "the series again"
        )
    return Plane(
        item=item,
        origin_xyz_mm=np.array(origin),
        along_row_xyz=along_row,
        along_column_xyz=along_column,
        spacing_yx_mm=(rows_mm, columns_mm),
    )


def without_outliers(planes: Sequence[Plane]) -> list[Plane]:
    """Drop the few images that lie across the others, as localizers do that do not say so; with a warning."""
    usual = _usual(planes)
    across = [abs(float(plane.normal_xyz @ usual.normal_xyz)) < _ACROSS for plane in planes]
    if not any(across) or sum(across) > _FEW * len(planes):
        return list(planes)
    _log.warning(
        "%s: across the other images (ImageOrientationPatient), so taken for localizers and left out",
        first_of([plane.item for plane in compress(planes, across)]),
    )
    return [plane for plane, drop in zip(planes, across, strict=True) if not drop]


def stacked(planes: Sequence[Plane]) -> list[Plane]:
    """Return the planes in order along their common normal.

    Raises:
        GeometryError: if one differs from most others in direction or pixel spacing.
    """
    usual = _usual(planes)
    for plane in planes:
        turned = max(
            float(np.abs(plane.along_row_xyz - usual.along_row_xyz).max()),
            float(np.abs(plane.along_column_xyz - usual.along_column_xyz).max()),
        )
        if turned > SAME_DIRECTION:
            _refuse_difference(usual, plane, "ImageOrientationPatient")
        if not np.allclose(plane.spacing_yx_mm, usual.spacing_yx_mm, rtol=SAME_DIRECTION, atol=0):
            _refuse_difference(usual, plane, "PixelSpacing")
    return sorted(planes, key=lambda plane: float(plane.origin_xyz_mm @ usual.normal_xyz))


def slice_planes(planes: Sequence[Plane], *, shape_yx: tuple[int, int]) -> SlicePlanes:
    """Return sorted planes, no two in one place, as core's record."""
    usual = _usual(planes)
    return SlicePlanes(
        origins_xyz_mm=np.stack([plane.origin_xyz_mm for plane in planes]),
        along_row_xyz=usual.along_row_xyz,
        along_column_xyz=usual.along_column_xyz,
        spacing_yx_mm=usual.spacing_yx_mm,
        shape_yx=shape_yx,
    )


def _directions(item: Slice) -> tuple[Vector, Vector]:
    values = numbers(item, "ImageOrientationPatient", 6, kind=GeometryError)
    directions = np.array(values).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    found = f"{item.name}: the directions in ImageOrientationPatient, {', '.join(f'{v:g}' for v in values)},"
    if np.abs(lengths - 1).max() > ORTHOGONALITY_TOLERANCE:
        raise GeometryError(f"{found} are no unit vectors; export the series again")
    if abs(directions[0] @ directions[1]) > ORTHOGONALITY_TOLERANCE:
        raise GeometryError(f"{found} are not at right angles; export the series again")
    return directions[0] / lengths[0], directions[1] / lengths[1]


def _usual(planes: Sequence[Plane]) -> Plane:
    """Return a plane that lies as most of them do."""
    kinds = [_kind(plane) for plane in planes]
    return planes[kinds.index(Counter(kinds).most_common(1)[0][0])]


def _kind(plane: Plane) -> tuple[float, ...]:
    directions = np.concatenate([plane.along_row_xyz, plane.along_column_xyz])
    return (*(float(v) for v in np.round(directions, 3)), *plane.spacing_yx_mm)


def _refuse_difference(usual: Plane, other: Plane, keyword: str) -> None:
    found, expected = (
        ", ".join(f"{v:g}" for v in numbers(plane.item, keyword, 6 if "Orientation" in keyword else 2))
        for plane in (other, usual)
    )
    raise GeometryError(
        f"{other.item.name}: its {keyword} ({found}) differs from that of {usual.item.short_name} "
        f"({expected}) and most others; the images make no one volume: take out what does not belong"
    )
