"""What is measured of a case so that it can be held against the others."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num, UInt

from thoar.core.box import Box
from thoar.core.geometry import Geometry, Vector3
from thoar.core.volume import Volume
from thoar.datasets.anatomy import AIR_HU
from thoar.imaging.components import Piece, pieces_of
from thoar.imaging.resample import resample_linear

TISSUE_HU = (-300.0, 300.0)
"""Values are clipped to this before they are compared: how thin air is, or how dense bone, tells nothing."""

STRAY_MM = 10.0
PIECE_SHARE = 0.05
"""A piece counts if it is so far from the largest one, or holds so much of the organ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganMeasures:
    """One organ of one case.

    Attributes:
        volume_ml: of its voxels.
        centroid_xyz_mm: in the patient.
        from_body_xyz_mm: the centroid, seen from the middle of the body in the same slices.
        median_hu: of the values in it, clipped to ``TISSUE_HU``.
        air_share: of its voxels, those below ``AIR_HU``.
        outside_ml: what lies outside the body.
        slices: axial slices that show it.
        missing_slices: axial slices between these that do not.
        ends_z_mm: heights of its lowest and its highest slice; NaN where that is the scan's last one.
        leans_mm: how much farther to the patient's left its back half lies than its front half, and its lower
            half than its upper one.
        strays_ml: volumes of pieces besides the largest that count.
    """

    volume_ml: float
    centroid_xyz_mm: Vector3
    from_body_xyz_mm: Vector3
    median_hu: float
    air_share: float
    outside_ml: float
    slices: int
    missing_slices: int
    ends_z_mm: tuple[float, float]
    leans_mm: tuple[float, float]
    strays_ml: tuple[float, ...]

    @property
    def cut(self) -> bool:
        """Whether it reaches the first or the last slice of the scan."""
        return any(math.isnan(end) for end in self.ends_z_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMeasures:
    """One case.

    Attributes:
        case_id: the case's.
        group: the cases it belongs with.
        image_key: hash of the image's voxels, whatever file and axis order they came in.
        labels_key: likewise of the label map; None where it is empty or there is none.
        spacing_zyx_mm: of the image, axial.
        extent_zyx_mm: of its field of view.
        organs: those that have a voxel and lie on the image's grid.
    """

    case_id: str
    group: str
    image_key: str
    labels_key: str | None
    spacing_zyx_mm: Vector3
    extent_zyx_mm: Vector3
    organs: Mapping[str, OrganMeasures]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyOnGrid:
    """The body, on a coarse grid of its own.

    Attributes:
        mask: true inside.
        geometry: the grid.
    """

    mask: Bool[np.ndarray, "z y x"]
    geometry: Geometry


def key_of(voxels: Num[np.ndarray, "z y x"]) -> str:
    """Return a hash of an array's values and shape, equal for equal ones of different types.

    >>> key_of(np.zeros((2, 2, 2), np.uint8)) == key_of(np.zeros((2, 2, 2), np.float32))
    True
    """
    digest = hashlib.sha256(repr(voxels.shape).encode())
    for plane in voxels:
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
    return digest.hexdigest()


def measure_organ(
    label: int, *, image: Volume, labels: UInt[np.ndarray, "z y x"], body: BodyOnGrid
) -> OrganMeasures | None:
    """Measure one organ; None where it has no voxel.

    Args:
        label: its id.
        image: in canonical order.
        labels: on the image's grid.
        body: of the image.
    """
    box = Box.of_mask(labels == label)
    if box is None:
        return None
    mask, grid = labels[box.slices] == label, image.geometry.cropped(box)
    values = image.voxels[box.slices][mask]
    inside = resample_linear(body.mask, body.geometry, grid, outside=0.0) >= 0.5  # noqa: PLR2004 (the majority)
    centre_zyx = _centroid_zyx(mask)
    centroid = np.array(grid.position_xyz_mm(centre_zyx))
    middle = _middle_of_body(body, z_mm=float(centroid[2]))
    levels = mask.any(axis=(1, 2))
    return OrganMeasures(
        volume_ml=int(values.size) * grid.voxel_volume_ml,
        centroid_xyz_mm=_vector(centroid),
        from_body_xyz_mm=_vector(centroid - middle),
        median_hu=float(np.median(np.clip(values, *TISSUE_HU))),
        air_share=float(np.mean(values < AIR_HU)),
        outside_ml=int(np.count_nonzero(mask & ~inside)) * grid.voxel_volume_ml,
        slices=int(levels.sum()),
        missing_slices=int(levels.size - levels.sum()),
        ends_z_mm=_ends_z_mm(box, centre_zyx, image.geometry),
        leans_mm=_leans_mm(mask, grid),
        strays_ml=tuple(_strays_ml(pieces_of(mask, grid.spacing_zyx_mm), box, image.geometry)),
    )


def _centroid_zyx(mask: Bool[np.ndarray, "z y x"]) -> tuple[float, float, float]:
    total = float(np.count_nonzero(mask))
    z, y, x = (
        float(np.arange(mask.shape[axis]) @ mask.sum(axis=tuple(a for a in range(3) if a != axis))) / total
        for axis in range(3)
    )
    return (z, y, x)


def _leans_mm(mask: Bool[np.ndarray, "z y x"], grid: Geometry) -> tuple[float, float]:
    z, y, x = np.nonzero(mask)
    left_mm = x * grid.spacing_zyx_mm[2]
    back, low = y > y.mean(), z < z.mean()
    if back.all() or low.all() or not back.any() or not low.any():
        return (0.0, 0.0)
    return (
        float(left_mm[back].mean() - left_mm[~back].mean()),
        float(left_mm[low].mean() - left_mm[~low].mean()),
    )


def _ends_z_mm(box: Box, centre_zyx: tuple[float, float, float], scan: Geometry) -> tuple[float, float]:
    low, high = box.start_zyx[0], box.stop_zyx[0] - 1
    across = [c + start for c, start in zip(centre_zyx[1:], box.start_zyx[1:], strict=True)]
    return (
        math.nan if low == 0 else scan.position_xyz_mm((low, *across))[2],
        math.nan if high == scan.shape_zyx[0] - 1 else scan.position_xyz_mm((high, *across))[2],
    )


def _middle_of_body(body: BodyOnGrid, *, z_mm: float) -> np.ndarray:
    """Return the middle of the body's box in the slice at a height; its z is that height."""
    steps_mm = body.geometry.spacing_zyx_mm[0]
    level = round((z_mm - body.geometry.origin_xyz_mm[2]) / steps_mm)
    level = min(max(level, 0), len(body.mask) - 1)
    box = Box.of_mask(body.mask[level : level + 1]) or Box.of_mask(body.mask) or Box.of_shape(body.mask.shape)
    middle = [(a + b - 1) / 2 for a, b in zip(box.start_zyx, box.stop_zyx, strict=True)]
    x, y, _ = body.geometry.position_xyz_mm((float(level), *middle[1:]))
    return np.array((x, y, z_mm))


def _strays_ml(pieces: tuple[Piece, ...], box: Box, grid: Geometry) -> list[float]:
    """Return the volumes of pieces that count.

    Not of those that reach the scan's first or last slice: a vessel's bow may lie beyond it.
    """
    total = sum(piece.voxels for piece in pieces)
    levels = [
        (p.box_zyx.start_zyx[0] + box.start_zyx[0], p.box_zyx.stop_zyx[0] + box.start_zyx[0]) for p in pieces
    ]
    return [
        piece.voxels * grid.voxel_volume_ml
        for piece, (low, high) in zip(pieces[1:], levels[1:], strict=True)
        if (piece.apart_mm > STRAY_MM or piece.voxels >= PIECE_SHARE * total)
        and low > 0
        and high < grid.shape_zyx[0]
    ]


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in values)
    return (x, y, z)
