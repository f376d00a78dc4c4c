"""The contours of one structure on one slice, taken together: holes, islands in holes, overlaps, repeats.

A contour wholly inside another is a hole in it, one inside a hole an island, and so on: even-odd over all
contours of the slice. DICOM asks for that where contours are CLOSEDPLANAR_XOR and leaves it open for
CLOSED_PLANAR (PS3.3 C.8.8.6.3); planning systems write holes both ways, and as keyholes. CLOSED_PLANAR
contours that overlap without one lying in the other are joined, since nobody draws a hole like that.

A pixel belongs to the structure that covers at least half of it; one covered by one half goes by its centre.
So a contour at the 0.5 level of a mask, which makes a diamond of one half around a single pixel, keeps that
pixel, and a hole of a single pixel too, and a contour through the centres of pixels does not grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from thoar.core.errors import InputError
from thoar.io.structures.polygon_area import Patch, points_inside

Pixel = tuple[int, int]
Share = Float[np.ndarray, "y x"]
Inside = Bool[np.ndarray, "y x"]

_SLIVER = 0.1
"""An overlap of so much of any one pixel is rounding, not meant."""
_SAME = 0.02
"""Contours whose areas differ by less than this share, and nowhere by more than a sliver, are one."""
_VOTERS = 64
_TIE = 0.005
"""Shares so near to one half are one half: coordinates are rounded."""
_MOST_COVERED = 64
"""Contours of one structure do not cover a slice so many times over."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceArea:
    """One structure on one slice.

    Attributes:
        start_yx: first pixel of the part of the slice that it touches.
        mask: the pixels that belong to it.
        overlaps: contours that overlap another without lying in it; joined, if not of the kind XOR.
        repeats: contours that were there already; not counted again.
    """

    start_yx: tuple[int, int]
    mask: Bool[np.ndarray, "y x"]
    overlaps: int
    repeats: int


def area_of(patches: Sequence[Patch], shape_yx: tuple[int, int], *, xor: bool = False) -> SliceArea:
    """Combine the contours of one slice.

    Args:
        patches: at least one.
        shape_yx: of the image.
        xor: whether the file asks for exclusive or, also of contours that overlap or repeat.

    Raises:
        InputError: if together they cover the slice so often that they cannot be contours of one structure.
    """
    covered = sum(patch.share.size for patch in patches)
    if covered > _MOST_COVERED * shape_yx[0] * shape_yx[1]:
        raise InputError(f"{len(patches)} contours of one structure on one slice, one over the other")
    start = _pixel(np.min([patch.start_yx for patch in patches], axis=0))
    stop = _pixel(np.max([patch.stop_yx for patch in patches], axis=0))
    share = np.zeros(np.subtract(stop, start), np.float32)
    centre = np.zeros(share.shape, np.bool_)
    overlaps = repeats = 0
    placed: list[Patch] = []
    for patch in sorted(patches, key=lambda p: -float(p.share.sum())):
        relations = [_relation(other, patch) for other in _near(placed, patch)]
        part = _part(start, patch.start_yx, patch.stop_yx)
        repeated, overlapping = "same" in relations, "overlap" in relations
        repeats += repeated
        overlaps += overlapping and not repeated
        if repeated and not xor:
            continue
        placed.append(patch)
        if xor and (repeated or overlapping):
            _exclude(share[part], centre[part], patch)
        elif relations.count("inside") % 2:
            _take(share[part], centre[part], patch)
        else:
            _add(share[part], centre[part], patch)
    mask = np.where(np.abs(share - 0.5) <= _TIE, centre, share > 0.5)  # noqa: PLR2004 (one half)
    return SliceArea(start_yx=start, mask=mask, overlaps=overlaps, repeats=repeats)


def _add(share: Share, centre: Inside, patch: Patch) -> None:
    np.minimum(share + patch.share, 1, out=share)
    centre |= patch.centre


def _take(share: Share, centre: Inside, patch: Patch) -> None:
    np.maximum(share - patch.share, 0, out=share)
    centre &= ~patch.centre


def _exclude(share: Share, centre: Inside, patch: Patch) -> None:
    share += patch.share * (1 - 2 * share)
    centre ^= patch.centre


def _pixel(values: np.ndarray) -> Pixel:
    return (int(values[0]), int(values[1]))


def _part(origin_yx: Pixel, start_yx: Pixel, stop_yx: Pixel) -> tuple[slice, slice]:
    """Return the index of a part of the image in an array that begins at the origin."""
    y, x = (slice(a - o, b - o) for o, a, b in zip(origin_yx, start_yx, stop_yx, strict=True))
    return (y, x)


def _near(placed: Sequence[Patch], patch: Patch) -> list[Patch]:
    """Return those whose boxes meet the patch's."""
    if not placed:
        return []
    starts = np.array([p.start_yx for p in placed])
    stops = np.array([p.stop_yx for p in placed])
    hits = ((starts < patch.stop_yx) & (stops > patch.start_yx)).all(axis=1)
    return [placed[k] for k in np.flatnonzero(hits).tolist()]


def _relation(larger: Patch, smaller: Patch) -> str:
    """Return how one contour lies to a larger one: inside, apart, overlap or same."""
    a, b = _common(larger, smaller)
    if _is_same(a, b, larger=larger, smaller=smaller):
        return "same"
    voters = smaller.points_yx[:: -(-len(smaller.points_yx) // _VOTERS)]
    if points_inside(voters, larger.points_yx) > 0.5:  # noqa: PLR2004 (the majority)
        beyond = float(smaller.share.sum() - b.sum()) > _SLIVER or float((b - a).max()) > _SLIVER
        return "overlap" if beyond else "inside"
    return "overlap" if float((a + b).max()) > 1 + _SLIVER else "apart"


def _common(one: Patch, other: Patch) -> tuple[Share, Share]:
    """Return both shares on the part that both boxes hold."""
    start = _pixel(np.maximum(one.start_yx, other.start_yx))
    stop = _pixel(np.minimum(one.stop_yx, other.stop_yx))
    first, second = (p.share[_part(p.start_yx, start, stop)] for p in (one, other))
    return first, second


def _is_same(a: Share, b: Share, *, larger: Patch, smaller: Patch) -> bool:
    apart = np.abs(a - b)
    beyond = float(larger.share.sum() - a.sum() + smaller.share.sum() - b.sum())
    differs = float(apart.sum()) + beyond
    return float(apart.max()) <= _SLIVER and differs <= _SAME * float(smaller.share.sum())
