"""Distances in a map, exact within reach, so that they cost little."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def distance_mm(
    mask: Bool[Tensor, "z y x"], spacing_zyx_mm: Sequence[float], *, reach_mm: float
) -> Float[Tensor, "z y x"]:
    """Return the distance from each voxel to the nearest one of a mask, at most ``reach_mm``.

    Exact up to there: squared distances are found axis by axis as lower envelopes of parabolas (Felzenszwalb
    and Huttenlocher 2012, doi 10.4086/toc.2012.v008a019), here over the offsets within reach alone.
    """
    squared = torch.where(mask, 0.0, reach_mm**2)
    for axis, spacing in enumerate(spacing_zyx_mm):
        source, size = squared.clone(), squared.shape[axis]
        for offset in range(1, min(size, int(reach_mm / spacing) + 1)):
            kept, added = size - offset, (offset * spacing) ** 2
            front, back = squared.narrow(axis, 0, kept), squared.narrow(axis, offset, kept)
            torch.minimum(front, source.narrow(axis, offset, kept) + added, out=front)
            torch.minimum(back, source.narrow(axis, 0, kept) + added, out=back)
    return squared.sqrt_()


def coarse_distance_mm(
    mask: Bool[Tensor, "z y x"], spacing_zyx_mm: Sequence[float], *, reach_mm: float
) -> Float[Tensor, "z y x"]:
    """Return ``distance_mm`` measured on every second voxel, smooth between them."""
    spacing = [2 * s for s in spacing_zyx_mm]
    away = distance_mm(mask[::2, ::2, ::2], spacing, reach_mm=reach_mm)
    return doubled(away, mask.shape)


def doubled(coarse: Float[Tensor, "c d e"], shape_zyx: Sequence[int]) -> Float[Tensor, "z y x"]:
    """Return values known on every second voxel at all of them, linearly."""
    for axis, size in enumerate(shape_zyx):
        repeated = coarse.repeat_interleave(2, dim=axis)
        between = repeated.narrow(axis, 1, repeated.shape[axis] - 2)
        later = repeated.narrow(axis, 2, repeated.shape[axis] - 2)
        inner = (between + later) / 2
        first, last = repeated.narrow(axis, 0, 1), repeated.narrow(axis, repeated.shape[axis] - 1, 1)
        coarse = torch.cat([first, inner, last], dim=axis).narrow(axis, 0, size)
    return coarse
