"""Structures wherever they came from, on the slices of a series or on a grid."""

import colorsys
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Shaped

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, Organ
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.datasets.scans import Scan, organ_on_series
from thoar.imaging.boxed import resampled, same_points
from thoar.imaging.rectify import rectified_grid, rectify
from thoar.io.structures.organ_mask import OrganMask

SAME_GRID_MM = 0.1
"""Corners of two grids that are one: as far as a slice may lie off its place."""

_HUES = 0.61803398875
"""Steps of the golden ratio around the circle of colours never come close to one another."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structures:
    """Structures as they were found.

    Attributes:
        path: in which file or folder.
        organs: each in a box.
        place: what boxes are counted in: a grid, or the slices of a DICOM series or DICOM-SEG.
    """

    path: Path
    organs: tuple[OrganMask, ...]
    place: Geometry | SlicePlanes


def known_organ(name: str) -> Organ | None:
    """Return SEGTHOR's organ of that name, its own or TG-263's, if there is one."""
    plain = name.casefold()
    return next((o for o in SEGTHOR.organs if plain in (o.name.casefold(), o.tg263.casefold())), None)


def organ_called(name: str, number: int) -> Organ:
    """Return an organ of that name and id, with what SEGTHOR knows of it, else a colour of its own."""
    known = known_organ(name)
    if known is not None:
        return msgspec.structs.replace(known, name=name, id=number)
    red, green, blue = colorsys.hsv_to_rgb(number * _HUES % 1, 0.65, 1.0)
    return Organ(name=name, id=number, color_rgb=(round(red * 255), round(green * 255), round(blue * 255)))


def in_box(organ: Organ, values: Shaped[np.ndarray, "z y x"]) -> OrganMask:
    """Return an organ in the smallest box around its values above 0; one empty voxel where there are none."""
    box = Box.of_mask(values > 0) or Box.of_shape((1, 1, 1))
    return OrganMask(organ=organ, box_zyx=box, probability=values[box.slices].astype(np.float32))


def nowhere(organ: Organ) -> OrganMask:
    """Return an organ without a voxel."""
    return in_box(organ, np.zeros((1, 1, 1)))


def on_series(found: Structures, scan: Scan, *, resample: bool) -> list[OrganMask]:
    """Return structures on the slices of a scan's series.

    Args:
        found: on those slices, or on a grid.
        scan: of the series.
        resample: whether a grid may differ from the scan's.

    Raises:
        GeometryError: if it differs and may not.
    """
    if isinstance(found.place, SlicePlanes):
        return list(found.organs)
    placed = _onto(found, found.place, scan.volume.geometry, resample=resample)
    return [
        organ_on_series(scan, organ.organ, box_zyx=organ.box_zyx, probability=organ.probability)
        for organ in placed
    ]


def on_grid(found: Structures, scan: Scan | None, *, resample: bool) -> tuple[Geometry, list[OrganMask]]:
    """Return structures on a regular grid: the scan's volume's, else their own.

    Slices that make no grid are rectified. Structures on slices are on those of the scan's series, where it
    is of one.

    Raises:
        GeometryError: if the grids differ and nothing may be resampled, or slices are too far apart for one.
    """
    if isinstance(found.place, SlicePlanes):
        try:
            own, organs = _rectified(found.organs, found.place)
        except GeometryError as error:
            raise GeometryError(f"{found.path}: {error}; give its series with --like") from error
    else:
        own, organs = found.place, list(found.organs)
    target = None if scan is None else scan.volume.geometry
    if target is None or own.same_grid(target):
        return own, organs
    return target, _onto(replace(found, organs=tuple(organs)), own, target, resample=resample)


def _onto(found: Structures, source: Geometry, target: Geometry, *, resample: bool) -> list[OrganMask]:
    placed: list[OrganMask] = []
    for organ in found.organs:
        same = same_points(
            organ.probability, organ.box_zyx, source=source, target=target, tolerance_mm=SAME_GRID_MM
        )
        if same is None and not resample:
            raise GeometryError(f"{found.path}: {_difference(source, target)}; resample it with --resample")
        moved = same or resampled(organ.probability, organ.box_zyx, source=source, target=target)
        placed.append(_moved(organ, moved))
    return placed


def _moved(organ: OrganMask, placed: tuple[Box, np.ndarray] | None) -> OrganMask:
    if placed is None:
        return nowhere(organ.organ)
    return OrganMask(organ=organ.organ, box_zyx=placed[0], probability=placed[1])


def _rectified(organs: tuple[OrganMask, ...], planes: SlicePlanes) -> tuple[Geometry, list[OrganMask]]:
    geometry = planes.regular_geometry()
    if geometry is not None:
        return geometry, list(organs)
    placed: list[OrganMask] = []
    for organ in organs:
        slices = np.zeros((len(planes), *planes.shape_yx), dtype=np.float32)
        slices[organ.box_zyx.slices] = organ.probability
        volume = rectify(SliceStack(voxels=slices, planes=planes), outside=0.0)
        placed.append(in_box(organ.organ, volume.voxels))
    return rectified_grid(planes), placed


def _difference(source: Geometry, target: Geometry) -> str:
    """Say in words how two grids differ."""
    if sorted(source.shape_zyx) != sorted(target.shape_zyx):
        return f"has {_by(source.shape_zyx)} voxels where the series has {_by(target.shape_zyx)}"
    mine, theirs = ([round(mm, 4) for mm in sorted(grid.spacing_zyx_mm)] for grid in (source, target))
    if mine != theirs:
        return f"has voxels of {_by(mine)} mm where the series has {_by(theirs)} mm"
    middles = [
        np.array(grid.position_xyz_mm([(n - 1) / 2 for n in grid.shape_zyx])) for grid in (source, target)
    ]
    apart = float(np.linalg.norm(middles[0] - middles[1]))
    return f"lies {apart:.2f} mm off the series, or is turned against it"


def _by(numbers: tuple[int, ...] | list[float]) -> str:
    return " × ".join(f"{n:g}" for n in numbers)
