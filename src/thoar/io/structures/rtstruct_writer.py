"""Organs as contours on the slices of their series, in an RT Structure Set of our own making."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from thoar.core.errors import GeometryError, LabelError
from thoar.core.labels import Organ
from thoar.core.slices import SlicePlanes
from thoar.io.atomic import atomic_bytes
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series
from thoar.io.structures.contours import LARGEST_MOVE, Ring, level_rings, signed_area, simplified
from thoar.io.structures.derived import check_identifiers, lenient
from thoar.io.structures.organ_mask import Maker, OrganMask, check_inside
from thoar.io.structures.organ_names import written_names
from thoar.io.structures.polygons import keyholed
from thoar.io.structures.rtstruct_append import opened_to_append
from thoar.io.structures.rtstruct_check import check_rtstruct
from thoar.io.structures.rtstruct_header import new_structure_set
from thoar.io.structures.rtstruct_items import DECIMALS, Contour, DrawnOrgan, add_structures
from thoar.io.structures.uids import new_uid
from thoar.io.structures.verbatim import dicom_file, encoded

_log = logging.getLogger(__name__)

Holes = Literal["keyhole", "xor"]

FINEST_PIXEL_MM = 0.02
"""Finer ones come near the rounding of coordinates; the finest of CT for patients have 0.07 mm."""
FARTHEST_MM = 1e9
"""What a decimal string of 16 characters holds with four decimals."""
WIDEST_SHOWN = 16
"""Characters of a structure's name in AAPM TG-263, since planning systems may cut longer ones off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtstructReport:
    """What an RTSTRUCT got.

    Attributes:
        empty: names of the organs without a voxel, which are not in it.
        contours: number of closed polygons, by the name of each other organ.
        points: number of their points, likewise.
    """

    empty: tuple[str, ...]
    contours: dict[str, int]
    points: dict[str, int]


def write_rtstruct(
    path: Path,
    series: Series,
    organs: Sequence[OrganMask],
    *,
    maker: Maker,
    append_to: Path | None = None,
    holes: Holes = "keyhole",
) -> RtstructReport:
    """Write organs as contours, read them back and check them, and only then give the file its name.

    Contours lie on the series' own slices, along the 0.5 level of the probabilities (see ``contours``), and
    hold exactly the pixel centres of each organ's mask. Implicit VR Little Endian, which alone has room for
    contours of more than 65,534 bytes.

    Args:
        path: the file to make or replace; by custom ``.dcm``.
        series: what the organs were drawn on; patient, study and frame of reference are copied from it.
        organs: each with a name of its own; those without a voxel are left out.
        maker: for the header. With its ``uid_seed`` the same call gives the same bytes.
        append_to: an RTSTRUCT of the same series to add to; its own structures stay as they are.
        holes: keyhole channels, which every reader understands, or polygons of type CLOSEDPLANAR_XOR.

    Raises:
        InputError: if the series lacks a UID to refer to, or ``append_to`` is not of this series.
        GeometryError: if an organ reaches beyond the series, or positions do not fit decimal strings.
        LabelError: if no organ has a voxel, names are no ROI names, or two are alike.
        ResourceError: if the disk is full, or what was written is not what was meant.
    """
    planes = series.stack.planes
    check_inside(organs, series.stack.voxels.shape)
    _check_decimals(planes)
    names = written_names([organ.organ for organ in organs], "ROIName")
    _warn_of_wide(names)
    drawn = [
        _drawn(organ, name, planes=planes, holes=holes) for organ, name in zip(organs, names, strict=True)
    ]
    kept = [organ for organ in drawn if organ.contours]
    if not kept:
        raise LabelError(f"{path}: no organ has a voxel, and an RTSTRUCT must hold one; nothing was written")
    content = _content(series, kept, maker=maker, append_to=append_to)
    full = [organ for organ, found in zip(organs, drawn, strict=True) if found.contours]
    atomic_bytes(
        path,
        content,
        verify=lambda file: check_rtstruct(file, series, full, added=append_to is not None, called=path),
    )
    return RtstructReport(
        empty=tuple(organ.organ.name for organ in drawn if not organ.contours),
        contours={organ.organ.name: len(organ.contours) for organ in kept},
        points={organ.organ.name: sum(len(c.points_xyz_mm) for c in organ.contours) for organ in kept},
    )


def check_target(series: Series, organs: Sequence[Organ], *, append_to: Path | None = None) -> None:
    """Refuse what :func:`write_rtstruct` would refuse whatever the organs' masks, before they are drawn.

    Raises:
        InputError: as :func:`write_rtstruct`.
        GeometryError: if positions do not fit decimal strings.
        LabelError: if names are no ROI names, or two are alike.
    """
    check_identifiers(series, read_identity(series.identity))
    _check_decimals(series.stack.planes)
    names = written_names(organs, "ROIName")
    if append_to is not None:
        opened_to_append(append_to, series, maker=Maker(), names=names)


def _warn_of_wide(names: Sequence[str]) -> None:
    for name in names:
        if len(name) > WIDEST_SHOWN:
            _log.warning(
                "%s: a ROIName of over %d characters, which some planning systems cut", name, WIDEST_SHOWN
            )


def _check_decimals(planes: SlicePlanes) -> None:
    if min(planes.spacing_yx_mm) < FINEST_PIXEL_MM or np.abs(planes.origins_xyz_mm).max() > FARTHEST_MM:
        raise GeometryError(
            f"pixels of {planes.spacing_yx_mm} mm at {planes.origins_xyz_mm[0].tolist()} mm do not fit "
            f"decimal strings of {DECIMALS} decimals; write NIfTI or DICOM-SEG instead"
        )


def _drawn(organ: OrganMask, name: str, *, planes: SlicePlanes, holes: Holes) -> DrawnOrgan:
    by_slice = _simplified_by_slice(organ, planes)
    has_holes = any(signed_area(ring) < 0 for rings in by_slice.values() for ring in rings)
    contours = [
        Contour(slice_index=index, points_xyz_mm=_rounded(planes.position_xyz_mm(index, polygon)))
        for index, rings in by_slice.items()
        for polygon in (keyholed(rings) if holes == "keyhole" else rings)
    ]
    kind = "CLOSEDPLANAR_XOR" if has_holes and holes == "xor" else "CLOSED_PLANAR"
    return DrawnOrgan(organ=organ.organ, name=name, contours=tuple(contours), geometric_type=kind)


def _simplified_by_slice(organ: OrganMask, planes: SlicePlanes) -> dict[int, list[Ring]]:
    """Return the rings of each slice that the organ touches, in rows and columns of the series."""
    tolerance = min(LARGEST_MOVE, LARGEST_MOVE / max(planes.spacing_yx_mm))
    first, *corner_yx = organ.box_zyx.start_zyx
    slices = [int(k) for k in np.flatnonzero(organ.mask.any(axis=(1, 2)))]
    rings = [(first + k, ring + corner_yx) for k in slices for ring in level_rings(organ.probability[k])]
    by_slice: dict[int, list[Ring]] = {}
    for (index, _), ring in zip(rings, simplified([ring for _, ring in rings], tolerance), strict=True):
        by_slice.setdefault(index, []).append(ring)
    return by_slice


def _rounded(points_xyz_mm: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 3"]:
    return np.round(points_xyz_mm, DECIMALS) + 0.0  # no minus before 0


def _content(series: Series, organs: Sequence[DrawnOrgan], *, maker: Maker, append_to: Path | None) -> bytes:
    """Return the file's bytes; UIDs made from a seed are a function of all else that it says."""
    with lenient():
        if append_to is None:
            ds = new_structure_set(series, maker)
        else:
            ds = opened_to_append(append_to, series, maker=maker, names=[organ.name for organ in organs])
        add_structures(ds, organs, series=series, maker=maker)
        ds.SOPInstanceUID = ""
        digest = "" if maker.uid_seed is None else hashlib.sha256(encoded(ds)).hexdigest()
        ds.SOPInstanceUID = new_uid(maker.uid_seed, "RTSTRUCT instance", digest)
        if append_to is None:
            ds.SeriesInstanceUID = new_uid(maker.uid_seed, "RTSTRUCT series", digest)
        return dicom_file(ds)
