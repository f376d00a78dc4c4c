"""Tiny scans and label maps, for any layout."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.io.formats import write_volume

SHAPE = (6, 10, 12)
GRID = Geometry.axial(SHAPE, (3.0, 2.0, 1.5), origin_xyz_mm=(-9.0, 4.0, 100.0))

PutScan = Callable[..., Path]


@pytest.fixture
def put_scan() -> PutScan:
    """Write a scan that differs from others by its seed."""

    def put(path: Path, *, seed: int = 0, geometry: Geometry = GRID) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        voxels = rng.integers(-1000, 400, geometry.shape_zyx).astype(np.int16)
        write_volume(path, Volume(voxels=voxels, geometry=geometry))
        return path

    return put


@pytest.fixture
def put_label() -> PutScan:
    """Write a label map: for each id, so many voxels in a row."""

    def put(path: Path, counts: Mapping[int, int], *, geometry: Geometry = GRID) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = np.zeros(geometry.shape_zyx, np.uint16)
        at = 0
        for number, count in counts.items():
            voxels.ravel()[at : at + count] = number
            at += count
        write_volume(path, Volume(voxels=voxels, geometry=geometry))
        return path

    return put


@pytest.fixture
def segthor(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Path:
    """Return SegTHOR's layout: two cases, the aorta of one of which has no voxel, and a test scan."""
    root = tmp_path / "segthor"
    for number, counts in ((1, {1: 5, 2: 9, 3: 4, 4: 7}), (2, {1: 6, 2: 8, 3: 3})):
        place = root / "train" / f"Patient_0{number}"
        put_scan(place / f"{place.name}.nii.gz", seed=number)
        put_label(place / "GT.nii.gz", counts)
    put_scan(root / "test" / "Patient_41.nii.gz", seed=41)
    return root
