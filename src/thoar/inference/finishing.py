"""From an organ's drawing on the prepared grid to its result on the scan's own: cleaned, pasted, flagged."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool

from thoar.core.box import Index3
from thoar.core.configuration import Localisation
from thoar.core.errors import ModelError
from thoar.core.labels import Organ
from thoar.imaging.components import kept_components
from thoar.imaging.prepare import Prepared, restore
from thoar.inference.drawing import Drawing
from thoar.inference.flags import box_faces_reached, coarse_fine_dice, has_unusual_volume, scan_faces_reached
from thoar.inference.segmentation import OrganFlags, OrganSegmentation


def finished(
    organ: Organ,
    drawing: Drawing | None,
    cells: Bool[np.ndarray, "z y x"],
    *,
    prepared: Prepared,
    settings: Localisation,
    stride_zyx: Index3,
) -> OrganSegmentation:
    """Return an organ's result.

    Args:
        organ: which.
        drawing: None where its coarse mask is empty.
        cells: its coarse mask.
        prepared: the scan.
        settings: which parts are kept, and what is believed.
        stride_zyx: prepared voxels per coarse cell.

    Raises:
        ModelError: if a probability is no number.
    """
    if drawing is None:
        return _not_found(organ, prepared)
    if not np.isfinite(drawing.probability).all():
        raise ModelError(
            f"{organ.name}: the network gave values that are no numbers; try --precision float32, and if "
            "that does not help, another model"
        )
    mask = drawing.probability >= 0.5  # noqa: PLR2004 (what a mask is)
    fine, kept, removed = kept_components(mask, settings.keep_fraction)
    cleaned = np.where(mask & ~fine, np.float32(0), drawing.probability) if removed else drawing.probability
    agreement = coarse_fine_dice(fine, box_zyx=drawing.box_zyx, cells=cells, stride_zyx=stride_zyx)
    if not fine.any() or agreement < settings.reject_dice:
        return _not_found(organ, prepared, agreement=agreement)
    box, probability = restore(cleaned, drawing.box_zyx, prepared)
    result = OrganSegmentation(
        organ=organ,
        box_zyx=box,
        probability=torch.from_numpy(probability).half().numpy(),  # numpy takes 50 ns a voxel
        voxel_volume_ml=prepared.source_geometry.voxel_volume_ml,
        flags=OrganFlags(),
    )
    if result.mask is None or not result.mask.any():
        return _not_found(organ, prepared, agreement=agreement)
    cut = scan_faces_reached(result.mask, box, prepared.source_geometry)
    flags = OrganFlags(
        cut_by_scan=cut,
        regrown=drawing.regrown,
        touches_box=box_faces_reached(fine, drawing.box_zyx, prepared.content_box, cut_by_scan=cut),
        several_components=kept if kept > 1 else 0,
        removed_components=removed,
        coarse_fine_disagree=agreement < settings.disagree_dice,
        coarse_fine_dice=round(agreement, 4),
        unusual_volume=has_unusual_volume(organ, result.volume_ml, cut_by_scan=bool(cut)),
    )
    return dataclasses.replace(result, flags=flags)


def _not_found(organ: Organ, prepared: Prepared, *, agreement: float | None = None) -> OrganSegmentation:
    """Return the result without a contour; the agreement, where a fine mask was drawn but not kept."""
    drawn = (
        {} if agreement is None else {"coarse_fine_disagree": True, "coarse_fine_dice": round(agreement, 4)}
    )
    return OrganSegmentation(
        organ=organ,
        box_zyx=None,
        probability=None,
        voxel_volume_ml=prepared.source_geometry.voxel_volume_ml,
        flags=OrganFlags(not_found=True, **drawn),
    )
