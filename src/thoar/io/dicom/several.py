"""Several volumes under one SeriesInstanceUID (phases, reconstructions), and what tells them apart."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from thoar.core.errors import IncompleteSeriesError
from thoar.io.dicom.kinds import value_of
from thoar.io.dicom.planes import Plane
from thoar.io.dicom.values import is_personal, listed, shown

_log = logging.getLogger(__name__)

LEAST_SLICES = 3
"""Fewer are no volume."""

_OF_A_VOLUME = (
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "NominalPercentageOfCardiacPhase"),
    *("NominalCardiacTriggerDelayTime", "EchoNumbers", "EchoTime", "DiffusionBValue", "StackID"),
    *("ConvolutionKernel", "ImageType", "AcquisitionNumber", "FrameAcquisitionNumber"),
)
"""Attributes that do not change within a volume, unless it was taken piece by piece, one after the other."""
_OF_AN_ACQUISITION = (
    *("KVP", "TriggerTime", "AcquisitionDateTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"),
    *("SeriesNumber", "SeriesDescription", "ImageComments"),
)
"""Attributes that may change from slice to slice and yet tell volumes apart."""


def refuse_several(planes: Sequence[Plane], *, at: tuple[Plane, Plane], same_place_mm: float) -> None:
    """Refuse sorted slices of which two lie in one place, by what tells their volumes apart.

    Raises:
        IncompleteSeriesError: always.
    """
    one, other = at
    found = f"{other.item.name}: lies in the same place as {one.item.short_name} but differs"
    for keyword in (*_OF_A_VOLUME, *_OF_AN_ACQUISITION):
        values = [value_of(plane.item, keyword) for plane in planes]
        if _tells_apart(planes, values, same_place_mm=same_place_mm):
            raise IncompleteSeriesError(f"{found}: {_remedy(keyword, values)}")
    raise IncompleteSeriesError(
        f"{found}, and no attribute tells the volumes apart: two acquisitions or reconstructions in one "
        "series; leave one of them in the folder"
    )


def check_one_volume(planes: Sequence[Plane], path: Path) -> None:
    """Refuse sorted slices of several volumes whose slices lie between one another; warn of joined ones.

    Raises:
        IncompleteSeriesError: naming what tells the volumes apart.
    """
    for keyword in _OF_A_VOLUME:
        values = [value_of(plane.item, keyword) for plane in planes]
        groups = {v: np.flatnonzero([v == value for value in values]) for v in dict.fromkeys(values)}
        volumes = {v: group for v, group in groups.items() if len(group) >= LEAST_SLICES}
        if len(volumes) < 2:  # noqa: PLR2004 (one volume)
            continue
        if any(_interleaved(a, b) for a, b in combinations(volumes.values(), 2)):
            raise IncompleteSeriesError(
                f"{path}: slices lie between those of another volume: {_remedy(keyword, values)}"
            )
        if len(volumes) == len(groups):
            _log.warning("%s: joined of parts that differ in %s: %s", path, keyword, listed(keyword, values))


def _tells_apart(planes: Sequence[Plane], values: Sequence[str], *, same_place_mm: float) -> bool:
    """Say whether slices in one place always differ in a value, and few enough values make volumes."""
    if len(planes) < LEAST_SLICES * len(set(values)):
        return False
    normal = planes[0].normal_xyz
    depths = np.array([float(plane.origin_xyz_mm @ normal) for plane in planes])
    place = np.concatenate([[0], np.cumsum(np.diff(depths) > same_place_mm)])
    return len(set(zip(place.tolist(), values, strict=True))) == len(planes)


def _interleaved(one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether two volumes' slices, by number, lie between one another, rather than in blocks."""
    start, stop = max(one[0], other[0]), min(one[-1], other[-1])
    within = [group[(group >= start) & (group <= stop)] for group in (one, other)]
    fewest = min(len(group) for group in within)
    whose = np.repeat([0, 1], [len(group) for group in within])[np.argsort(np.concatenate(within))]
    return fewest >= LEAST_SLICES and int(np.count_nonzero(np.diff(whose))) >= fewest


def _remedy(keyword: str, values: Sequence[str]) -> str:
    known = [value for value in values if value and not is_personal(keyword)]
    return (
        f"the series holds several volumes, which {keyword} tells apart: {listed(keyword, values)}; pick one "
        f"with --select {keyword}={shown(known[0], keyword) if known else 'VALUE'}"
    )
