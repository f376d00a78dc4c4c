"""Contours to masks: a voxel belongs to a structure that covers at least half of its area on its slice.

Areas are exact (``polygon_area``); what several contours of a slice mean together is said in ``slice_area``,
and how a contour finds its slice in ``contour_places``. Slices need not make a regular grid.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from thoar.core.box import Box
from thoar.core.errors import InputError
from thoar.core.slices import SlicePlanes
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series
from thoar.io.structures.contour_places import listed, place, slice_position_mm
from thoar.io.structures.polygon_area import patch_of
from thoar.io.structures.slice_area import SliceArea, area_of
from thoar.io.structures.structure_mask import StructureMask
from thoar.io.structures.structure_set import Structure, StructureSet

_log = logging.getLogger(__name__)


def rtstruct_masks(structure_set: StructureSet, series: Series) -> tuple[StructureMask, ...]:
    """Draw all structures of an RTSTRUCT on the slices of a series.

    Returns:
        One per structure, in the file's order, with what was odd about it.

    Raises:
        InputError: if structures are in another frame of reference than the series, or contours are so many
            or so long that they cannot be any.
    """
    check_frame(structure_set, series)
    names = Counter(structure.name.casefold() for structure in structure_set.structures)
    uids = [reference.sop_instance_uid for reference in series.references]
    masks: list[StructureMask] = []
    for structure in structure_set.structures:
        try:
            mask = structure_mask(structure, series.stack.planes, slice_uids=uids)
        except InputError as error:
            raise InputError(f"{structure_set.file}: ROINumber {structure.number}: {error}") from error
        masks.append(_told_of_namesakes(mask, names[structure.name.casefold()]))
    return tuple(masks)


def check_frame(structure_set: StructureSet, series: Series) -> None:
    """Refuse structures whose coordinates are not those of the series; warn where nobody can tell.

    A structure that names no frame of reference is in the file's, if that speaks of a single one.

    Raises:
        InputError: naming both frames of reference.
    """
    frame = str(read_identity(series.identity).get("FrameOfReferenceUID") or "")
    if not frame:
        _log.warning("%s: its series has no FrameOfReferenceUID to compare", structure_set.file)
        return
    others = structure_set.frame_of_reference_uids
    for structure in (structure for structure in structure_set.structures if structure.contours):
        theirs = structure.frame_of_reference_uid or (others[0] if len(others) == 1 else "")
        if not theirs:
            _log.warning(
                "%s: ROINumber %d has no ReferencedFrameOfReferenceUID to compare; its coordinates are taken "
                "for the series'",
                structure_set.file,
                structure.number,
            )
        elif theirs != frame:
            raise InputError(
                f"{structure_set.file}: ROINumber {structure.number} is in FrameOfReferenceUID {theirs}, the "
                f"series in {frame}: its coordinates are not the series'; give the series it was drawn on"
            )


def structure_mask(
    structure: Structure, planes: SlicePlanes, *, slice_uids: Sequence[str] | None = None
) -> StructureMask:
    """Draw one structure on slices, whatever series they are of.

    Args:
        structure: its contours' coordinates are the planes'.
        planes: where the slices lie.
        slice_uids: SOPInstanceUID of each slice's image, compared with what contours refer to.

    Raises:
        InputError: if contours are so many or so long that they cannot be any.
    """
    placed = place(structure.contours, planes, slice_uids=slice_uids)
    areas, drawn_faults = _drawn(placed.by_slice, planes.shape_yx, xor=placed.xor)
    faults = [*placed.faults, *drawn_faults, *_gaps(sorted(areas), planes)]
    box, mask = _mask_of(areas)
    if not structure.contours:
        faults.append("has no contours")
    elif box is None:
        faults.append("nothing of it covers half of a pixel of the series")
    return StructureMask(
        name=structure.name, number=structure.number, box_zyx=box, mask=mask, faults=tuple(faults)
    )


def _drawn(
    by_slice: Mapping[int, Sequence[np.ndarray]], shape_yx: tuple[int, int], *, xor: bool
) -> tuple[dict[int, SliceArea], list[str]]:
    areas: dict[int, SliceArea] = {}
    counts: Counter[str] = Counter()
    for index, contours in by_slice.items():
        patches = [patch_of(points, shape_yx) for points in contours]
        inside = [patch for patch in patches if patch is not None]
        counts["outside the image are left out"] += len(patches) - len(inside)
        counts["reaching beyond the image are cut off"] += sum(p.cut for p in inside)
        counts["crossing themselves are taken even-odd"] += sum(p.crossing for p in inside)
        if inside:
            areas[index] = area_of(inside, shape_yx, xor=xor)
            if not xor:
                counts["overlapping others without lying in them are joined"] += areas[index].overlaps
                counts["that repeat others count once"] += areas[index].repeats
    return areas, [f"contours {what}: {count}" for what, count in counts.items() if count]


def _mask_of(areas: Mapping[int, SliceArea]) -> tuple[Box | None, np.ndarray | None]:
    """Return the smallest box around all masks, and what they are in it."""
    if not areas:
        return None, None
    first = min(areas)
    start = np.min([area.start_yx for area in areas.values()], axis=0)
    stop = np.max([np.add(area.start_yx, area.mask.shape) for area in areas.values()], axis=0)
    mask = np.zeros((max(areas) - first + 1, *(stop - start)), np.bool_)
    for index, area in areas.items():
        y, x = np.subtract(area.start_yx, start)
        mask[index - first, y : y + area.mask.shape[0], x : x + area.mask.shape[1]] = area.mask
    box = Box.of_mask(mask)
    if box is None:
        return None, None
    return box.shifted((first, *(int(v) for v in start))), mask[box.slices]


def _gaps(drawn: Sequence[int], planes: SlicePlanes) -> list[str]:
    missing = sorted(set(range(drawn[0], drawn[-1] + 1)) - set(drawn)) if drawn else []
    if not missing:
        return []
    places = listed(slice_position_mm(planes, index) for index in missing)
    return [f"slices between its first and its last without a contour: {len(missing)}, at {places}"]


def _told_of_namesakes(mask: StructureMask, count: int) -> StructureMask:
    if count == 1:
        return mask
    return StructureMask(
        name=mask.name,
        number=mask.number,
        box_zyx=mask.box_zyx,
        mask=mask.mask,
        faults=(*mask.faults, f"structures of this name: {count}"),
    )
