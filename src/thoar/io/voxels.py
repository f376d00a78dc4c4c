"""Which number types enter thoar and leave it: int16 where that is exact, else float32."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16, Num

from thoar.core.errors import InputError, UnsupportedFormatError

Narrow = Int16[np.ndarray, "z y x"] | Float32[np.ndarray, "z y x"]

_INT16 = np.iinfo(np.int16)
_FLOAT32_WHOLE = 2**24
"""Whole numbers up to here are exact in float32."""


def checked_dtype(dtype: np.dtype, path: Path) -> np.dtype:
    """Return the dtype if it holds one plain real number per voxel.

    Raises:
        UnsupportedFormatError: for colour, complex, extended and other types.
    """
    if dtype.kind not in "uif" or dtype.itemsize > 8:  # noqa: PLR2004 (float128 has no exact home)
        raise UnsupportedFormatError(
            f"{path}: its voxels are of type {dtype}; convert them to real numbers of 8 to 64 bits"
        )
    return dtype


def narrowed(
    stored: Num[np.ndarray, "z y x"], path: Path, *, slope: float = 1.0, intercept: float = 0.0
) -> Narrow:
    """Return ``stored × slope + intercept`` as int16 if every value is whole and fits, else as float32.

    Computed in float64, slice by slice; float64 input that is not whole is rounded to float32.

    Raises:
        InputError: for NaN or infinite voxels, and for whole numbers that float32 cannot hold.
    """
    plain = slope == 1.0 and intercept == 0.0
    if plain and np.can_cast(stored.dtype, np.int16):
        return stored.astype(np.int16, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = _as_int16(_scaled_planes(stored, slope=slope, intercept=intercept), stored.shape)
        if whole is not None:
            return whole
        values = np.empty(stored.shape, dtype=np.float32)
        for plane, scaled in zip(
            values, _scaled_planes(stored, slope=slope, intercept=intercept), strict=True
        ):
            plane[...] = scaled
    _refuse_non_finite(values, path)
    if stored.dtype.kind in "ui" and plain and float(np.abs(values).max()) > _FLOAT32_WHOLE:
        raise InputError(
            f"{path}: whole numbers up to {np.abs(values).max():.0f} are neither HU nor label ids"
        )
    return values


def storable(voxels: Num[np.ndarray, "z y x"], path: Path) -> Num[np.ndarray, "z y x"]:
    """Return the voxels as the type they are written in: uint8, int16, uint16, int32 or float32.

    Raises:
        InputError: for NaN or infinite voxels, and for whole numbers beyond int32.
    """
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = voxels.astype(np.float32, copy=False)
        _refuse_non_finite(values, path)
        return values
    if voxels.dtype in (np.uint8, np.int16, np.uint16):
        return voxels
    low, high = int(voxels.min()), int(voxels.max())
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return voxels.astype(dtype)
    raise InputError(
        f"{path}: voxels from {low} to {high} are not written; they are neither HU nor label ids"
    )


def _scaled_planes(
    stored: Num[np.ndarray, "z y x"], *, slope: float, intercept: float
) -> Iterator[Num[np.ndarray, "y x"]]:
    """Give the scaled slices one by one: integers that need no scaling as they are, all else as float32."""
    for plane in stored:
        if slope != 1.0 or intercept != 0.0:
            yield (plane * np.float64(slope) + intercept).astype(np.float32)
        else:
            yield plane if plane.dtype.kind in "ui" else plane.astype(np.float32, copy=False)


def _as_int16(
    planes: Iterable[Num[np.ndarray, "y x"]], shape_zyx: tuple[int, ...]
) -> Int16[np.ndarray, "z y x"] | None:
    """Return slices as int16, or None from the first one on that this would change."""
    result = np.empty(shape_zyx, dtype=np.int16)
    for target, plane in zip(result, planes, strict=True):
        if plane.min() < _INT16.min or plane.max() > _INT16.max:
            return None
        target[...] = plane
        if plane.dtype.kind == "f" and not np.array_equal(target, plane):
            return None
    return result


def _refuse_non_finite(values: np.ndarray, path: Path) -> None:
    if np.isfinite(values).all():
        return
    bad = ~np.isfinite(values)
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    raise InputError(
        f"{path}: {int(bad.sum())} voxels are NaN or infinite, the first at index (z, y, x) = {first}; "
        "replace them by a number (air is -1000 HU)"
    )
