"""On which slice of a series each contour lies, told by position; what it refers to is only compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thoar.core.slices import SlicePlanes
from thoar.io.structures.structure_set import Contour

OFF_PLANE_MM = 0.1
"""A contour this near its slice's plane lies in it."""
XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", XOR)
_OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
_FEWEST_POINTS = 3
_LISTED = 5

_SHORT = "contours of fewer than 3 distinct points are left out"
_CROOKED = "contours that lie across the slices are left out"
_BENT = "contours that are not planar are flattened"
_BETWEEN = "contours between slices or beyond them are left out"
_CROWDED = "contours beside nearer ones of the same slice are left out"
_OFF = "contours off their slice's plane are moved there"
_ELSEWHERE = "contours that refer to another slice than they lie on stay where they lie"
_STRANGERS = "contours that refer to images which are not in the series"
_WITH_PLACES = (_BETWEEN, _CROWDED)
_WITH_LARGEST = (_CROOKED, _BENT, _OFF)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Contours that were given a slice.

    Attributes:
        by_slice: contours' points on each slice, (row, column).
        xor: a contour of the kind CLOSEDPLANAR_XOR is among them.
        faults: one sentence for each kind of oddity, with how many contours show it.
    """

    by_slice: Mapping[int, Sequence[Float[np.ndarray, "_ 2"]]]
    xor: bool
    faults: tuple[str, ...]


class _Notes(dict[str, list[float]]):
    """What is odd: for each sentence, a number for every contour that it is true of."""

    def add(self, sentence: str, value_mm: float = 0.0) -> None:
        self.setdefault(sentence, []).append(value_mm)

    def sentences(self) -> Iterable[str]:
        for sentence, values_mm in self.items():
            if sentence in _WITH_PLACES:
                yield f"{sentence}: {len(values_mm)}, at {listed(values_mm)}"
            elif sentence in _WITH_LARGEST:
                yield f"{sentence}: {len(values_mm)}, by up to {max(values_mm):.2f} mm"
            else:
                yield f"{sentence}: {len(values_mm)}"


def place(
    contours: Iterable[Contour], planes: SlicePlanes, *, slice_uids: Sequence[str] | None = None
) -> Placed:
    """Give each closed contour the slice nearest to it, within half the distance to that slice's neighbours.

    Where several depths are nearest to one slice (contours drawn on a finer series), only those at the
    nearest depth are taken: the others would be mistaken for holes.

    Args:
        contours: of one structure.
        planes: where the slices lie.
        slice_uids: SOPInstanceUID of each slice's image, compared with what contours refer to.
    """
    notes = _Notes()
    found: dict[int, list[tuple[float, Contour]]] = {}
    for contour in contours:
        hit = _slice_of(contour, planes, notes=notes)
        if hit is not None:
            found.setdefault(hit[0], []).append((hit[1], contour))
    by_slice: dict[int, list[Float[np.ndarray, "_ 2"]]] = {}
    xor = False
    for index, here in sorted(found.items()):
        for contour in _nearest(here, planes, notes=notes):
            by_slice.setdefault(index, []).append(planes.points_yx(index, contour.points_xyz_mm))
            xor = xor or contour.geometric_type == XOR
            _compare(contour.sop_instance_uid, index, notes=notes, slice_uids=slice_uids)
    return Placed(by_slice=by_slice, xor=xor, faults=tuple(notes.sentences()))


def listed(positions_mm: Iterable[float]) -> str:
    """Return positions along the normal as a sentence lists them.

    >>> listed([3.0, -1.5])
    '-1.50, 3.00 mm'
    """
    ordered = sorted(set(positions_mm))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return f"{', '.join(f'{p:.2f}' for p in ordered[:_LISTED])} mm{more}"


def slice_position_mm(planes: SlicePlanes, index: int) -> float:
    """Return where a slice lies along the normal, counted from the patient's origin: z of an axial one."""
    return float(planes.origins_xyz_mm[index] @ planes.normal_xyz)


def _slice_of(contour: Contour, planes: SlicePlanes, *, notes: _Notes) -> tuple[int, float] | None:
    """Return a contour's slice and how far off it lies; None, noted, where it is left out."""
    kind, points = contour.geometric_type, contour.points_xyz_mm
    if kind not in _CLOSED:
        notes.add(f"{kind if kind in _OPEN else 'unknown'} contours are left out, since they are not closed")
        return None
    if len(np.unique(points, axis=0)) < _FEWEST_POINTS:
        notes.add(_SHORT)
        return None
    depths = (points - planes.origins_xyz_mm[0]) @ planes.normal_xyz
    depth, spread = float(depths.mean()), float(np.ptp(depths))
    index = int(np.abs(planes.depths_mm - depth).argmin())
    off, reach = depth - float(planes.depths_mm[index]), _reach_mm(planes, index)
    if spread > 2 * max(reach, OFF_PLANE_MM):
        notes.add(_CROOKED, spread)
        return None
    if abs(off) > reach:
        notes.add(_BETWEEN, float((points @ planes.normal_xyz).mean()))
        return None
    if spread > 2 * OFF_PLANE_MM:
        notes.add(_BENT, spread)
    return index, off


def _reach_mm(planes: SlicePlanes, index: int) -> float:
    """Return half the distance from a slice to the nearer of its neighbours, and a micrometre."""
    steps = planes.distances_mm[max(index - 1, 0) : index + 1]
    return (float(steps.min()) / 2 if len(steps) else OFF_PLANE_MM) + 1e-3


def _nearest(here: Sequence[tuple[float, Contour]], planes: SlicePlanes, *, notes: _Notes) -> list[Contour]:
    """Return the contours of the depth nearest to their slice."""
    nearest = min((off for off, _ in here), key=abs)
    kept: list[Contour] = []
    for off, contour in here:
        if abs(off - nearest) > OFF_PLANE_MM:
            notes.add(_CROWDED, float((contour.points_xyz_mm @ planes.normal_xyz).mean()))
            continue
        if abs(off) > OFF_PLANE_MM:
            notes.add(_OFF, abs(off))
        kept.append(contour)
    return kept


def _compare(uid: str, index: int, *, notes: _Notes, slice_uids: Sequence[str] | None) -> None:
    if slice_uids is not None and uid and slice_uids[index] != uid:
        notes.add(_ELSEWHERE if uid in slice_uids else _STRANGERS)
