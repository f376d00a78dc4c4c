"""Where a series' slices lie, and whether together they are one regular grid (PS3.3 C.7.6.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thoar.core.errors import GeometryError, IncompleteSeriesError
from thoar.core.geometry import ORTHOGONALITY_TOLERANCE, Geometry
from thoar.io.dicom.attributes import Slice, numbers
from thoar.io.grids import geometry_of, shape_zyx_of

POSITION_TOLERANCE_MM = 0.1
"""A slice may lie so far from its place in the regular grid, and a tenth of the step at most."""
SAME_PLACE_MM = 0.01
SAME_DIRECTION = 1e-4
LEAST_SLICES = 3

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
    directions = np.array(numbers(item, "ImageOrientationPatient", 6, kind=GeometryError)).reshape(2, 3)
    spacing = numbers(item, "PixelSpacing", 2, kind=GeometryError)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > ORTHOGONALITY_TOLERANCE:
        raise GeometryError(f"{item.path}: ImageOrientationPatient {directions.tolist()} are no unit vectors")
    if abs(directions[0] @ directions[1]) > ORTHOGONALITY_TOLERANCE:
        raise GeometryError(
            f"{item.path}: ImageOrientationPatient {directions.tolist()} are not at right angles"
        )
    if min(spacing) <= 0:
        raise GeometryError(f"{item.path}: PixelSpacing {spacing} is no length; export the series again")
    return Plane(
        item=item,
        origin_xyz_mm=np.array(origin),
        along_row_xyz=directions[0] / lengths[0],
        along_column_xyz=directions[1] / lengths[1],
        spacing_yx_mm=(spacing[0], spacing[1]),
    )


def stacked(planes: Sequence[Plane]) -> list[Plane]:
    """Return the planes in order along their common normal.

    Raises:
        GeometryError: if they are not parallel or differ in pixel spacing.
    """
    first = planes[0]
    for plane in planes[1:]:
        turned = max(
            float(np.abs(plane.along_row_xyz - first.along_row_xyz).max()),
            float(np.abs(plane.along_column_xyz - first.along_column_xyz).max()),
        )
        if turned > SAME_DIRECTION:
            _refuse_difference(first, plane, "ImageOrientationPatient")
        if not np.allclose(plane.spacing_yx_mm, first.spacing_yx_mm, rtol=SAME_DIRECTION, atol=0):
            _refuse_difference(first, plane, "PixelSpacing")
    return sorted(planes, key=lambda plane: float(plane.origin_xyz_mm @ first.normal_xyz))


def grid_of(planes: Sequence[Plane], *, rows: int, columns: int) -> Geometry:
    """Return the regular grid that sorted planes make.

    Raises:
        IncompleteSeriesError: if there are too few, one is missing, or their distances vary.
        GeometryError: if they are shifted sideways or tilted against their normal.
    """
    first, last = planes[0], planes[-1]
    if len(planes) < LEAST_SLICES:
        raise IncompleteSeriesError(
            f"{first.item.path.parent}: {len(planes)} slices are no volume; {LEAST_SLICES} are the least"
        )
    step_xyz_mm = (last.origin_xyz_mm - first.origin_xyz_mm) / (len(planes) - 1)
    _check_places(planes, step_xyz_mm)
    _check_tilt(first, step_xyz_mm)
    matrix = np.eye(4)
    matrix[:3, 0] = step_xyz_mm
    matrix[:3, 1] = first.along_column_xyz * first.spacing_yx_mm[0]
    matrix[:3, 2] = first.along_row_xyz * first.spacing_yx_mm[1]
    matrix[:3, 3] = first.origin_xyz_mm
    folder = first.item.path.parent
    return geometry_of(shape_zyx_of((columns, rows, len(planes)), folder), matrix, path=folder)


def _check_places(planes: Sequence[Plane], step_xyz_mm: Vector) -> None:
    origins = np.stack([plane.origin_xyz_mm for plane in planes])
    normal = planes[0].normal_xyz
    off = origins - origins[0] - np.arange(len(planes))[:, None] * step_xyz_mm
    off_along = off @ normal
    off_across = np.linalg.norm(off - off_along[:, None] * normal, axis=1)
    distances = np.diff(origins @ normal)
    usual = float(np.median(distances))
    if np.abs(off_along).max() > min(POSITION_TOLERANCE_MM, 0.1 * usual):
        k = int(np.abs(distances - usual).argmax())
        raise IncompleteSeriesError(
            f"{planes[k].item.path} and {planes[k + 1].item.path.name} lie {distances[k]:.3f} mm apart "
            f"(at {origins[k] @ normal:.3f} and {origins[k + 1] @ normal:.3f} mm) where the others lie "
            f"{usual:.3f} mm apart: slices are missing or irregular; export the whole series again"
        )
    if off_across.max() > POSITION_TOLERANCE_MM:
        path = planes[int(off_across.argmax())].item.path
        raise GeometryError(
            f"{path}: lies {off_across.max():.2f} mm sideways of its place in the stack; the slices are no "
            "regular grid (ImagePositionPatient): export the series again"
        )


def _check_tilt(first: Plane, step_xyz_mm: Vector) -> None:
    sine = float(np.linalg.norm(np.cross(step_xyz_mm / np.linalg.norm(step_xyz_mm), first.normal_xyz)))
    if sine > ORTHOGONALITY_TOLERANCE:
        angle = np.degrees(np.arcsin(min(sine, 1.0)))
        raise GeometryError(
            f"{first.item.path.parent}: the slices are sheared by {angle:.1f}° "
            "(gantry tilt); resample the series onto a regular grid first"
        )


def _refuse_difference(first: Plane, other: Plane, keyword: str) -> None:
    raise GeometryError(
        f"{other.item.path}: its {keyword} differs from that of {first.item.path.name}; the images make "
        "no one volume: leave one series in the folder"
    )
