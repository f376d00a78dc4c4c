import numpy as np
import pytest
from altered import ALTERATIONS, brought_back

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.metrics.overlap import dice


def ball(shape_zyx=(30, 48, 48)):
    z, y, x = np.indices(shape_zyx)
    inside = (z - 14) ** 2 * 4 + (y - 24) ** 2 + (x - 25) ** 2 < 18**2
    geometry = Geometry.axial(shape_zyx, (2.0, 1.0, 1.0), origin_xyz_mm=(-20.0, 3.0, -500.0))
    return Volume(voxels=np.where(inside, 60, -900).astype(np.int16), geometry=geometry), inside


@pytest.mark.parametrize("name", ALTERATIONS)
def test_what_is_drawn_in_a_copy_lies_where_it_was_in_the_scan(name):
    scan, inside = ball()
    copy = ALTERATIONS[name](scan)
    assert not (copy.voxels.shape == scan.voxels.shape and np.array_equal(copy.voxels, scan.voxels))
    back = brought_back(copy.voxels > -420, source=copy.geometry, target=scan.geometry)
    assert back.shape == inside.shape
    assert dice(back, inside) > 0.94


def test_copies_are_the_same_every_time():
    scan, _ = ball()
    for alter in ALTERATIONS.values():
        assert np.array_equal(alter(scan).voxels, alter(scan).voxels)
