"""Structures drawn one by one, as one label map on the grid of a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from thoar.core.labels import LabelSet
from thoar.core.slices import SliceStack
from thoar.core.volume import LabelVolume
from thoar.datasets.scans import Scan
from thoar.imaging.rectify import rectify
from thoar.io.dicom.records import Series
from thoar.io.structures.structure_mask import StructureMask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painted:
    """A label map and what was lost on it.

    Attributes:
        labels: on the scan's grid.
        volumes_ml: of each organ's own mask, before others took from it.
        overlaps_ml: what one organ took from another, as in "aorta over heart".
    """

    labels: LabelVolume
    volumes_ml: Mapping[str, float]
    overlaps_ml: Mapping[str, float]


def paint(
    drawn: Mapping[str, Sequence[StructureMask]],
    scan: Scan,
    *,
    series: Series,
    label_set: LabelSet,
    priority: Sequence[str],
) -> Painted:
    """Paint organs one over the other.

    Args:
        drawn: what each organ is made of, on the series' slices.
        scan: whose grid the label map gets: the series' own, or what it was resampled onto.
        series: of the scan.
        label_set: ids of the organs.
        priority: of the organs; where two overlap, the later one gets the voxel.
    """
    geometry = scan.volume.geometry
    largest = max(organ.id for organ in label_set.organs)
    labels = np.zeros(geometry.shape_zyx, np.min_scalar_type(largest))
    volumes_ml: dict[str, float] = {}
    overlaps_ml: dict[str, float] = {}
    for name in (name for name in priority if name in drawn):
        mask = _on_grid(_joined(drawn[name], series), scan, series=series)
        volumes_ml[name] = float(np.count_nonzero(mask)) * geometry.voxel_volume_ml
        ids, counts = np.unique(labels[mask], return_counts=True)
        for organ in label_set.organs:
            taken = int(counts[ids == organ.id].sum())
            if taken:
                overlaps_ml[f"{name} over {organ.name}"] = taken * geometry.voxel_volume_ml
        labels[mask] = label_set.organ(name).id
    return Painted(
        labels=LabelVolume(voxels=labels, geometry=geometry, label_set=label_set),
        volumes_ml=volumes_ml,
        overlaps_ml=overlaps_ml,
    )


def _joined(masks: Sequence[StructureMask], series: Series) -> Bool[np.ndarray, "z y x"]:
    whole = np.zeros(series.stack.voxels.shape, np.bool_)
    for mask in masks:
        if mask.box_zyx is not None and mask.mask is not None:
            whole[mask.box_zyx.slices] |= mask.mask
    return whole


def _on_grid(mask: Bool[np.ndarray, "z y x"], scan: Scan, *, series: Series) -> Bool[np.ndarray, "a b c"]:
    """Bring a mask from the slices to the grid that they were resampled onto, cut at one half."""
    if not scan.rectified:
        return mask
    share = rectify(SliceStack(voxels=mask.astype(np.float32), planes=series.stack.planes), outside=0.0)
    return share.voxels >= 0.5  # noqa: PLR2004 (the majority)
