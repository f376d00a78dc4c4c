"""A small world to evaluate: references as a data set, predictions as `thoar segment` writes them."""

import json

import numpy as np
import pytest

from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.io.formats import write_labels, write_volume

GRID = Geometry.axial((8, 16, 18), (2.5, 0.9, 1.2), origin_xyz_mm=(-20.0, 7.0, 300.0))


def organs(shift=0):
    """Four boxes, one per organ, moved by so many voxels along x."""
    voxels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    for label, start in zip((1, 2, 3, 4), (0, 4, 8, 12), strict=True):
        voxels[2:6, start : start + 3, 4 + shift : 9 + shift] = label
    return voxels


class World:
    """Writes label maps where the commands look for them."""

    def __init__(self, root):
        self.references, self.predictions = root / "data", root / "out"

    def label(self, path, voxels, grid=GRID):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, LabelVolume(voxels=voxels, geometry=grid, label_set=SEGTHOR))
        return path

    def label_any(self, path, voxels):
        write_volume(path, Volume(voxels=voxels, geometry=GRID))

    def reference(self, case_id, voxels=None, grid=GRID, *, labelled=True):
        folder = self.references / case_id
        self.label(folder / f"{case_id}.nii.gz", np.zeros(grid.shape_zyx, dtype=np.uint8), grid)
        if labelled:
            self.label(folder / "GT.nii.gz", organs() if voxels is None else voxels, grid)

    def predict(self, case_id, voxels=None, grid=GRID, *, record=None, name="segmentation.nii.gz"):
        folder = self.predictions / case_id if case_id else self.predictions
        path = self.label(folder / name, organs(1) if voxels is None else voxels, grid)
        if record is not None:
            (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
        return path


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def grid():
    return GRID


@pytest.fixture
def ground_truth():
    return organs()
