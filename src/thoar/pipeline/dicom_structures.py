"""Structures from an RTSTRUCT or a DICOM-SEG."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Integer

from thoar.core.box import Box
from thoar.core.labels import Organ
from thoar.core.slices import POSITION_TOLERANCE_MM, SlicePlanes
from thoar.imaging.rectify import usual_distance_mm
from thoar.io.dicom.records import Series
from thoar.io.structures.organ_mask import OrganMask
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.structure_mask import StructureMask
from thoar.pipeline.structures import Structures, nowhere, organ_called

_log = logging.getLogger(__name__)


def structures_of_rtstruct(path: Path, series: Series) -> Structures:
    """Draw an RTSTRUCT's structures on the slices of its series; what is odd about them is logged.

    Raises:
        InputError: or one of its kinds, if the file cannot be read or is of another series.
    """
    found = read_rtstruct(path)
    colors = {s.number: s.color_rgb for s in found.structures if s.color_rgb is not None}
    organs = [
        _colored(organ, colors.get(organ.organ.id)) for organ in _organs(rtstruct_masks(found, series), path)
    ]
    return Structures(path=path, organs=tuple(organs), place=series.stack.planes)


def structures_of_segmentation(path: Path, series: Series | None) -> Structures:
    """Read a DICOM-SEG's segments, on the slices of a series or on its own; what is odd about them is logged.

    Raises:
        InputError: or one of its kinds, if the file cannot be read or does not lie on the series.
    """
    found = read_segmentation(path)
    organs = _organs(segment_masks(found, series), path)
    if series is not None:
        return Structures(path=path, organs=tuple(organs), place=series.stack.planes)
    planes, places = _with_empty_slices(found.planes())
    spread = [_spread(organ, places) for organ in organs]
    return Structures(path=path, organs=tuple(spread), place=planes)


def _with_empty_slices(planes: SlicePlanes) -> tuple[SlicePlanes, Integer[np.ndarray, "slice"]]:
    """Add the slices that a DICOM-SEG has no frame of, since nothing is on them.

    Returns:
        All slices, and where among them the given ones are; the given ones alone where they lie in no even
        steps.
    """
    same = planes, np.arange(len(planes))
    if len(planes) < 2:  # noqa: PLR2004 (one slice has no step)
        return same
    depths = planes.depths_mm
    places = np.rint(depths / usual_distance_mm(planes)).astype(int)
    between = np.arange(places[-1] + 1)[:, None] / places[-1]
    first, last = planes.origins_xyz_mm[0], planes.origins_xyz_mm[-1]
    every = dataclasses.replace(planes, origins_xyz_mm=first + between * (last - first))
    off_mm = np.linalg.norm(every.origins_xyz_mm[places] - planes.origins_xyz_mm, axis=1)
    return (every, places) if off_mm.max() <= POSITION_TOLERANCE_MM else same


def _spread(organ: OrganMask, places: Integer[np.ndarray, "slice"]) -> OrganMask:
    """Return an organ with empty slices in the places of those that were left out."""
    start, stop = organ.box_zyx.start_zyx, organ.box_zyx.stop_zyx
    mine = places[start[0] : stop[0]]
    values = np.zeros((int(np.ptp(mine)) + 1, *organ.probability.shape[1:]), dtype=np.float32)
    values[mine - mine[0]] = organ.probability
    box = Box(start_zyx=(int(mine[0]), *start[1:]), stop_zyx=(int(mine[-1]) + 1, *stop[1:]))
    return OrganMask(organ=organ.organ, box_zyx=box, probability=values)


def _organs(masks: Sequence[StructureMask], path: Path) -> list[OrganMask]:
    for found in masks:
        for fault in found.faults:
            _log.warning("%s: %s: %s", path, found.name, fault)
    return [_organ(found, _organ_of(found)) for found in masks]


def _organ(found: StructureMask, organ: Organ) -> OrganMask:
    if found.box_zyx is None or found.mask is None:
        return nowhere(organ)
    return OrganMask(organ=organ, box_zyx=found.box_zyx, probability=found.mask.astype(np.float32))


def _organ_of(found: StructureMask) -> Organ:
    """Return an organ of the structure's own name, which no TG-263 name takes the place of."""
    return msgspec.structs.replace(organ_called(found.name, found.number), tg263="")


def _colored(organ: OrganMask, color_rgb: tuple[int, int, int] | None) -> OrganMask:
    if color_rgb is None:
        return organ
    return dataclasses.replace(organ, organ=msgspec.structs.replace(organ.organ, color_rgb=color_rgb))
