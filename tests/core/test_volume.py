import itertools

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume, to_canonical

GEOMETRY = Geometry.axial((2, 3, 4), (3.0, 1.0, 2.0), origin_xyz_mm=(1.0, 2.0, 3.0))
NUMBERS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", list(itertools.product([False, True], repeat=3)))
def test_any_orientation_becomes_the_axial_volume_voxel_by_voxel(
    axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    turned = Volume(
        voxels=np.flip(NUMBERS.transpose(axes), [i for i in range(3) if flipped[i]]),
        geometry=GEOMETRY.reordered(axes, flipped=flipped),
    )
    canonical = to_canonical(turned)
    assert np.array_equal(canonical.voxels, NUMBERS)
    assert canonical.geometry.same_grid(GEOMETRY, tolerance_mm=1e-9)


def test_a_crop_carries_its_grid_along() -> None:
    part = Volume(voxels=NUMBERS, geometry=GEOMETRY).cropped(Box(start_zyx=(1, 0, 2), stop_zyx=(2, 2, 4)))
    assert part.voxels.tolist() == [[[14, 15], [18, 19]]]
    assert part.geometry.origin_xyz_mm == (5.0, 2.0, 6.0)


def test_voxels_that_do_not_fit_the_grid_are_refused() -> None:
    with pytest.raises(GeometryError, match="does not fit"):
        Volume(voxels=NUMBERS[:1], geometry=GEOMETRY)
    with pytest.raises(GeometryError, match="does not fit"):
        LabelVolume(voxels=NUMBERS[:, :1].astype(np.uint8), geometry=GEOMETRY, label_set=SEGTHOR)
