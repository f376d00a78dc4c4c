"""A scan of any kind: a volume file, or a DICOM series, rectified where its slices make no grid."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.labels import Organ
from thoar.core.volume import Volume
from thoar.imaging.rectify import onto_slices, rectify
from thoar.io.dicom.process import read_series
from thoar.io.dicom.records import PLAIN, ReadOptions, Series
from thoar.io.formats import VOLUME_SUFFIXES, read_volume
from thoar.io.structures.organ_mask import OrganMask

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """A scan as it is segmented, and the series that it came from.

    Attributes:
        volume: the image.
        series: where it was DICOM; None for a volume file.
        rectified: the volume's grid is not the series' slices, but what they were resampled onto.
    """

    volume: Volume
    series: Series | None = None
    rectified: bool = False


def is_series(path: Path) -> bool:
    """Say whether a path is read as DICOM: a folder, a zip, or a file not named like a volume."""
    return path.is_dir() or not path.name.lower().endswith(VOLUME_SUFFIXES)


def read_scan(path: Path, options: ReadOptions = PLAIN) -> Scan:
    """Read a volume file, or one DICOM series from a folder, a zip or a multi-frame file.

    Raises:
        InputError: or one of its kinds, as the readers document.
        GeometryError: if slices that make no grid are too far apart for one.
    """
    if not is_series(path):
        return Scan(volume=read_volume(path))
    series = read_series(path, options)
    if series.volume is not None:
        return Scan(volume=series.volume, series=series)
    try:
        volume = rectify(series.stack)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}") from error
    shape, step_mm = volume.geometry.shape_zyx, volume.geometry.spacing_zyx_mm[0]
    _log.warning("%s: rectified to %d × %d × %d voxels, planes %.4g mm apart", path, *shape, step_mm)
    return Scan(volume=volume, series=series, rectified=True)


def organ_on_series(
    scan: Scan, organ: Organ, *, box_zyx: Box | None, probability: Float[np.ndarray, "z y x"] | None
) -> OrganMask:
    """Return an organ's probability, found on the scan's volume, on its series' slices.

    Args:
        scan: of a series.
        organ: whose it is.
        box_zyx: where it lies on the volume's grid; None where the organ was not found.
        probability: inside the box; None likewise.

    Returns:
        One empty voxel where there is nothing on the series.
    """
    placed = None if box_zyx is None or probability is None else (box_zyx, probability)
    if placed is not None and scan.rectified and scan.series is not None:
        placed = onto_slices(placed[1], placed[0], grid=scan.volume.geometry, planes=scan.series.stack.planes)
    box, values = placed or (Box.of_shape((1, 1, 1)), np.zeros((1, 1, 1), dtype=np.float32))
    return OrganMask(organ=organ, box_zyx=box, probability=values.astype(np.float32, copy=False))
