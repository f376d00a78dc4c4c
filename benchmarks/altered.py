"""Copies of one scan as another scanner might have made it, for a model to agree with itself on."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from thoar.core.geometry import Geometry
from thoar.core.random import rng_for
from thoar.core.volume import Volume
from thoar.imaging.resample import grid_of_spacing, resample_labels, resample_linear

AIR_HU = -1000.0
NOISE_HU = 30.0
SMOOTHING_MM = 1.5
COARSE_PIXEL_MM = 1.2


def thinned(scan: Volume) -> Volume:
    """Return every second slice."""
    matrix = scan.geometry.lps_from_index.copy()
    matrix[:3, 0] *= 2
    voxels = scan.voxels[::2]
    return Volume(voxels=voxels, geometry=Geometry(shape_zyx=voxels.shape, lps_from_index=matrix))


def noisy(scan: Volume) -> Volume:
    """Return the scan with white noise."""
    noise = rng_for(0, "benchmark noise").normal(0, NOISE_HU, scan.voxels.shape)
    return Volume(voxels=(scan.voxels + noise).astype(np.float32), geometry=scan.geometry)


def coarser_pixels(scan: Volume) -> Volume:
    """Return the scan on larger pixels, interpolated."""
    spacing = (scan.geometry.spacing_zyx_mm[0], COARSE_PIXEL_MM, COARSE_PIXEL_MM)
    grid = grid_of_spacing(scan.geometry, spacing)
    values_hu = resample_linear(scan.voxels, scan.geometry, grid, outside=AIR_HU)
    return Volume(voxels=values_hu, geometry=grid)


def smoothed(scan: Volume) -> Volume:
    """Return the scan blurred in the slices' plane, as a soft kernel would."""
    _, y, x = scan.geometry.spacing_zyx_mm
    values_hu = np.clip(scan.voxels, -1024, None).astype(np.float32)
    blurred = ndimage.gaussian_filter(values_hu, (0, SMOOTHING_MM / y, SMOOTHING_MM / x))
    return Volume(voxels=blurred, geometry=scan.geometry)


ALTERATIONS: Mapping[str, Callable[[Volume], Volume]] = {
    "every second slice": thinned,
    f"white noise, SD {NOISE_HU:g} HU": noisy,
    f"pixels of {COARSE_PIXEL_MM:g} mm": coarser_pixels,
    f"blurred in plane, SD {SMOOTHING_MM:g} mm": smoothed,
}


def brought_back(
    mask: Bool[np.ndarray, "z y x"], *, source: Geometry, target: Geometry
) -> Bool[np.ndarray, "a b c"]:
    """Return a copy's mask on the original scan's grid, cut at one half."""
    if source.same_grid(target):
        return mask
    return resample_labels(mask.astype(np.uint8), source, target, ids=[1]) != 0
