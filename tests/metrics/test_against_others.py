"""Our definitions against independent programs, on random blobs with anisotropic voxels.

Where a definition differs, the test says how, and compares what is common.
"""

import numpy as np
import pytest
import SimpleITK
import surface_distance
import torch
from scipy import ndimage
from surface_distance import lookup_tables

from thoar.metrics.scores import score_organ
from thoar.metrics.surfels import surfel_areas_mm2

SEEDS = pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1000), marks=pytest.mark.slow)], ids=["some", "many"]
)
TOLERANCE_MM = 1.57  # no distance on the drawn grids equals it, so rounding decides nothing


def drawn_pair(seed):
    """Two blobs on one small grid: thick or speckled, near or apart, some at the edge, some one voxel."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(4, 18, 3).tolist())
    spacing_zyx_mm = tuple(rng.uniform(0.6, 3.2, 3).round(3).tolist())
    return _blob(rng, shape), _blob(rng, shape), spacing_zyx_mm


def _blob(rng, shape):
    if rng.random() < 0.1:
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(rng.integers(0, shape))] = True
        return mask
    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.0, 2.0))
    return noise >= np.quantile(noise, rng.uniform(0.3, 0.97))


def compare(seeds, ours, others):
    """Compare the named scores with another program's; the message names the seed."""
    for seed in seeds:
        prediction, reference, spacing_zyx_mm = drawn_pair(seed)
        scores = score_organ(prediction, reference, spacing_zyx_mm=spacing_zyx_mm, tolerance_mm=TOLERANCE_MM)
        found = [getattr(scores, name) for name in ours]
        expected = others(prediction, reference, spacing_zyx_mm)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), f"seed {seed}"


@SEEDS
# MONAI imports parts of torch and ignite that warn of their own retirement; none of that is ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_hd_hd95_and_assd_are_those_of_monai(seeds):
    """Same definitions: surface voxels by face neighbours, HD95 as the larger direction, ASSD pooled."""
    compare(seeds, ("hausdorff_mm", "hausdorff95_mm", "assd_mm"), _monai)


def _monai(prediction, reference, spacing_zyx_mm):
    """HD95 is taken in float64 from MONAI's distances: its own float32 quantile is off by up to 1e-5."""
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance  # noqa: PLC0415 (it warns)
    from monai.metrics.surface_distance import compute_average_surface_distance  # noqa: PLC0415
    from monai.metrics.utils import get_edge_surface_distance  # noqa: PLC0415

    pair = [torch.from_numpy(mask.astype(np.float32)) for mask in (prediction, reference)]
    batch = [mask[None, None] for mask in pair]
    shared = {"include_background": True, "spacing": list(spacing_zyx_mm)}
    _, distances, _ = get_edge_surface_distance(*pair, spacing=list(spacing_zyx_mm), symmetric=True)
    return [
        float(compute_hausdorff_distance(*batch, **shared)),
        max(float(torch.quantile(one.double(), 0.95)) for one in distances),
        float(compute_average_surface_distance(*batch, symmetric=True, **shared)),
    ]


@SEEDS
# surface-distance reaches ndimage by names that scipy has retired
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_surface_dice_is_that_of_deepminds_surface_distance(seeds):
    compare(seeds, ("surface_dice",), _deepmind)


def _deepmind(prediction, reference, spacing_zyx_mm):
    distances = surface_distance.compute_surface_distances(reference, prediction, spacing_zyx_mm)
    return [float(surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM))]


def test_surfel_areas_are_those_of_deepminds_table():
    """Ours come from marching cubes; their codes number the eight voxels in the opposite order."""
    spacing_zyx_mm = (2.5, 0.97, 1.3)
    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(np.array(spacing_zyx_mm))
    reversed_bits = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    np.testing.assert_allclose(surfel_areas_mm2(spacing_zyx_mm)[reversed_bits], theirs, rtol=1e-6)


@SEEDS
def test_dice_and_average_hausdorff_are_those_of_simpleitk(seeds):
    """ITK's plain HausdorffDistance is not compared: it runs over all voxels, ours over surfaces."""
    compare(seeds, ("dice", "average_hausdorff_mm"), _simpleitk)


def _simpleitk(prediction, reference, spacing_zyx_mm):
    pair = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, reference)]
    for image in pair:
        image.SetSpacing(spacing_zyx_mm[::-1])
    overlap, hausdorff = SimpleITK.LabelOverlapMeasuresImageFilter(), SimpleITK.HausdorffDistanceImageFilter()
    overlap.Execute(*pair)
    hausdorff.Execute(*pair)
    return [overlap.GetDiceCoefficient(), hausdorff.GetAverageHausdorffDistance()]
