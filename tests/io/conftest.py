"""One asymmetric phantom."""

import numpy as np
import pytest

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume


@pytest.fixture
def phantom() -> Volume:
    """A small volume in which no two places look alike, along no axis."""
    voxels = np.random.default_rng(0).integers(-1024, 3000, (5, 6, 7)).astype(np.int16)
    geometry = Geometry.axial((5, 6, 7), (2.5, 0.7, 0.9765625), origin_xyz_mm=(-166.3, -171.7, -340.1))
    return Volume(voxels=voxels, geometry=geometry)
