"""From a scan to the grid the network sees, and exactly back (S1 to S3 of docs/explanation/method.md)."""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from jaxtyping import Float, Float32, UInt8

from thoar.core import configuration
from thoar.core.box import Box, Index3
from thoar.core.errors import GeometryError, LabelError
from thoar.core.geometry import Geometry, Vector3
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.imaging.body import Body, find_body
from thoar.imaging.resample import (
    covered_box,
    grid_of_spacing,
    resample_labels,
    resample_linear,
    resampled_planes,
)
from thoar.imaging.slabs import in_slabs

AIR_HU = -1000.0

LEAST_VOXELS = 3
"""Along every axis of a scan."""

SAME_GRID_MM = 0.1
"""How far labels may lie from their scan: float32 headers of one scan differ by hundredths."""


class PreparationReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the preparation of one scan did, for the run record.

    Attributes:
        threshold_hu: what parted body from air.
        threshold_method: ``otsu_middle_slice``, ``otsu_volume`` or ``fixed``.
        body_ml: volume of the body, lungs included.
        source_shape_zyx: of the scan, in its own axis order.
        source_spacing_zyx_mm: likewise.
        resampled_shape_zyx: of the whole field of view at the network's spacing, z to the head.
        prepared_shape_zyx: after crop and padding.
        prepared_spacing_zyx_mm: of the prepared grid.
        padding_zyx: voxels added at each axis' end.
        outside_voxels: voxels of the crop that lie outside the body (and are air if masked).
        reduction: voxels of the resampled scan per voxel of the crop.
    """

    threshold_hu: float
    threshold_method: str
    body_ml: float
    source_shape_zyx: Index3
    source_spacing_zyx_mm: Vector3
    resampled_shape_zyx: Index3
    prepared_shape_zyx: Index3
    prepared_spacing_zyx_mm: Vector3
    padding_zyx: Index3
    outside_voxels: int
    reduction: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A scan as the network sees it.

    Attributes:
        voxels: 0 (air, the window's lower end) to 1, padded with 0.
        geometry: the padded grid; z runs to the head, y to the back, x to the left.
        content_box: the part that is not padding.
        source_geometry: the grid of the scan as it came, in its own axis order.
        report: what was done.
    """

    voxels: Float32[np.ndarray, "z y x"]
    geometry: Geometry
    content_box: Box
    source_geometry: Geometry
    report: PreparationReport


def prepare(
    volume: Volume,
    *,
    preparation: configuration.Preparation,
    body: configuration.Body,
    multiple_zyx: Index3,
    threads: int = 1,
) -> Prepared:
    """Bring a scan to the network's grid: reorder, resample, crop to the body, window, pad.

    Args:
        volume: CT in Hounsfield units, in any axis order.
        preparation: spacing and window.
        body: how to crop and mask.
        multiple_zyx: each axis is padded at its end to a multiple of this.
        threads: how many work at it; what comes out does not depend on it.

    Raises:
        GeometryError: if an axis has fewer than 3 voxels.
        InputError: if the values are no Hounsfield units or there is no body.
    """
    _refuse_slabs(volume.geometry)
    scan = to_canonical(volume)
    grid = grid_of_spacing(scan.geometry, preparation.spacing_zyx_mm)
    found = find_body(scan, clip_hu=body.clip_hu, grid=grid, threads=threads)
    crop = (Box.of_mask(found.mask) if body.crop else None) or Box.of_shape(grid.shape_zyx)
    content_box = Box.of_shape(crop.shape_zyx)
    padded_box = content_box.snapped_outward(multiple_zyx)
    voxels = np.zeros(padded_box.shape_zyx, dtype=np.float32)
    content, inside = voxels[content_box.slices], found.mask[crop.slices]

    def fill(levels: range) -> None:
        hu_at = resampled_planes(scan.voxels, scan.geometry, grid, outside=AIR_HU, box_zyx=crop)
        for level in levels:
            _window(hu_at(level), preparation.window_hu, out=content[level])
            if body.mask_outside:
                content[level][~inside[level]] = 0.0

    in_slabs(fill, len(content), threads=threads)
    return Prepared(
        voxels=voxels,
        geometry=grid.cropped(padded_box.shifted(crop.start_zyx)),
        content_box=content_box,
        source_geometry=volume.geometry,
        report=_report(found, crop, padded_box, source=volume.geometry, resampled=grid),
    )


def prepare_labels(labels: LabelVolume, prepared: Prepared) -> UInt8[np.ndarray, "z y x"]:
    """Bring a scan's label map to the scan's prepared grid; the values stay label ids.

    Args:
        labels: on the same grid as the scan; its axes may be in another order. Where the two grids differ
            by no more than ``SAME_GRID_MM``, the scan's counts.
        prepared: the scan.

    Raises:
        GeometryError: if the labels lie on another grid than the scan.
        LabelError: if the crop would lose voxels of a label, or an id exceeds 255.
    """
    ids = [organ.id for organ in labels.label_set.organs]
    if max(ids) > np.iinfo(np.uint8).max:
        raise LabelError(f"label ids up to {max(ids)} do not fit a prepared label map; use ids up to 255")
    _refuse_other_grid(labels.geometry, prepared.source_geometry)
    turned = to_canonical(Volume(voxels=labels.voxels, geometry=labels.geometry))
    scan = _canonical(prepared.source_geometry)
    lost = label_voxels_lost(
        LabelVolume(voxels=turned.voxels, geometry=scan, label_set=labels.label_set), prepared
    )
    if lost:
        raise LabelError(
            f"{lost} labelled voxels lie outside the part of the scan that was found to be the body; "
            "do image and labels belong together? body.crop = false keeps the whole field of view"
        )
    mapped = resample_labels(turned.voxels, scan, prepared.geometry, ids=ids)
    return mapped.astype(np.uint8)


def label_voxels_lost(labels: LabelVolume, prepared: Prepared) -> int:
    """Count a label map's voxels that the crop leaves out.

    A voxel whose centre lies within one prepared voxel of the crop counts as kept.
    """
    reach = prepared.content_box.expanded((1, 1, 1), (1, 1, 1))
    kept = covered_box(prepared.geometry.cropped(reach), labels.geometry)
    total = int(np.count_nonzero(labels.voxels))
    return total - (int(np.count_nonzero(labels.voxels[kept.slices])) if kept else 0)


def restore(
    probability: Float[np.ndarray, "z y x"],
    box_zyx: Box,
    prepared: Prepared,
    *,
    threads: int = 1,
) -> tuple[Box, Float32[np.ndarray, "sz sy sx"]]:
    """Bring a probability map of one box of the prepared grid back onto the scan's own grid.

    The undo of :func:`prepare` for one box: interpolated linearly, straight onto the scan's grid, and only
    onto the part that the box covers, which holds at least one voxel. At a face of the scan probability
    goes on as it is; at any other face of the box it ends with the voxels.

    Args:
        probability: 0 to 1, of the box's shape.
        box_zyx: on the prepared grid; what reaches into the padding is left out.
        prepared: the scan.
        threads: how many work at it; what comes out does not depend on it.

    Returns:
        The box on ``prepared.source_geometry`` (clipped to it) and the probability inside it.

    Raises:
        ValueError: if the box is not of the array's shape or lies wholly in the padding.
    """
    inside = box_zyx.intersection(prepared.content_box)
    if inside is None or probability.shape != box_zyx.shape_zyx:
        raise ValueError(
            f"{box_zyx} with an array of {probability.shape} is no part of {prepared.content_box}"
        )
    values = probability[inside.shifted([-a for a in box_zyx.start_zyx]).slices]
    source = prepared.geometry.cropped(inside)
    covered = covered_box(source, prepared.source_geometry) or _nearest_voxel(
        source, prepared.source_geometry
    )
    target = prepared.source_geometry.cropped(covered)
    return covered, resample_linear(values, source, target, outside=0.0, threads=threads)


def _window(
    plane_hu: Float32[np.ndarray, "y x"],
    window_hu: tuple[float, float],
    *,
    out: Float32[np.ndarray, "y x"],
) -> None:
    low, high = window_hu
    np.clip(plane_hu, low, high, out=out)
    out -= low
    out /= high - low


def _refuse_slabs(geometry: Geometry) -> None:
    if min(geometry.shape_zyx) < LEAST_VOXELS:
        raise GeometryError(
            f"a scan of {geometry.shape_zyx} voxels has only {min(geometry.shape_zyx)} along one axis; "
            f"at least {LEAST_VOXELS} slices are needed: give the whole series"
        )


def _refuse_other_grid(labels: Geometry, scan: Geometry) -> None:
    apart_mm = _canonical(labels).difference_mm(_canonical(scan))
    if apart_mm > SAME_GRID_MM:
        raise GeometryError(
            f"the labels' grid {labels.shape_zyx} is not the scan's {scan.shape_zyx} (corners {apart_mm:g} "
            "mm apart); resample the labels onto the scan first"
        )


def _canonical(geometry: Geometry) -> Geometry:
    axes, flipped = geometry.canonical_order()
    return geometry.reordered(axes, flipped=flipped)


def _nearest_voxel(source: Geometry, target: Geometry) -> Box:
    middle = source.position_xyz_mm([(n - 1) / 2 for n in source.shape_zyx])
    nearest = np.clip(np.rint(target.index_zyx(middle)), 0, np.array(target.shape_zyx) - 1).astype(int)
    z, y, x = (int(i) for i in nearest)
    return Box(start_zyx=(z, y, x), stop_zyx=(z + 1, y + 1, x + 1))


def _report(
    found: Body, crop: Box, padded: Box, *, source: Geometry, resampled: Geometry
) -> PreparationReport:
    inside = int(np.count_nonzero(found.mask[crop.slices]))
    z, y, x = (int(p - n) for p, n in zip(padded.shape_zyx, crop.shape_zyx, strict=True))
    return PreparationReport(
        threshold_hu=found.threshold_hu,
        threshold_method=found.method,
        body_ml=int(np.count_nonzero(found.mask)) * resampled.voxel_volume_ml,
        source_shape_zyx=source.shape_zyx,
        source_spacing_zyx_mm=source.spacing_zyx_mm,
        resampled_shape_zyx=resampled.shape_zyx,
        prepared_shape_zyx=padded.shape_zyx,
        prepared_spacing_zyx_mm=resampled.spacing_zyx_mm,
        padding_zyx=(z, y, x),
        outside_voxels=crop.voxels - inside,
        reduction=math.prod(resampled.shape_zyx) / crop.voxels,
    )
