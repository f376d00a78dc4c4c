"""A small labelled CT and a small body that several tests look at."""

import numpy as np
import pytest
import torch

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.copies.labelled_scan import LabelledScan, ready_scan
from thoar.phantoms.patient import Patient, patient_of
from thoar.phantoms.structures import IDS

STRUCTURE_IDS = {
    "esophagus": 1,
    "heart": 2,
    "trachea": 3,
    "aorta": 4,
    "lung_upper_lobe_left": 5,
    "rib_left_1": 6,
}
HU = {0: -1000, 1: 40, 2: 350, 3: -1000, 4: 350, 5: -850, 6: 500, 7: -90, 8: 50}
FAT, MUSCLE = 7, 8
SHAPE, SPACING_MM = (64, 72, 96), 4.0


def chest() -> np.ndarray:
    """Ids of a plain chest: trunk, two lungs, heart with fat, three tubes, a shell of bone."""
    nz, ny, nx = SHAPE
    z, y, x = np.meshgrid(
        np.arange(nz) * SPACING_MM,
        (np.arange(ny) - (ny - 1) / 2) * SPACING_MM,
        (np.arange(nx) - (nx - 1) / 2) * SPACING_MM,
        indexing="ij",
    )
    trunk = (x / 168) ** 2 + (y / 112) ** 2
    map_of = np.where(trunk < 1, FAT, 0)
    map_of[trunk < 0.85] = MUSCLE
    map_of[(trunk > 0.70) & (trunk < 0.78) & (np.mod(z, 24) < 10)] = 6
    map_of[(np.abs(x) > 30) & (trunk < 0.66) & (z > 60) & (z < 236)] = 5
    map_of[np.hypot(x, y - 75) < 18] = 6
    map_of[((x - 20) / 70) ** 2 + ((y + 20) / 52) ** 2 + ((z - 95) / 46) ** 2 < 1] = FAT
    map_of[((x - 20) / 62) ** 2 + ((y + 20) / 44) ** 2 + ((z - 95) / 40) ** 2 < 1] = 2
    map_of[np.hypot(x - 24, y - 48) < 14] = 4
    map_of[np.hypot(x + 4, (y - 36) * 1.3) < 10] = 1
    map_of[(np.hypot(x, y - 14) < 11) & (z > 150)] = 3
    return map_of.astype(np.uint8)


@pytest.fixture(scope="session")
def structure_ids() -> dict[str, int]:
    return STRUCTURE_IDS


@pytest.fixture(scope="session")
def scan() -> LabelledScan:
    """A plain chest in arterial contrast in the part of the real scan that copies are made of."""
    ids = chest()
    rng = np.random.default_rng(0)
    voxels = np.vectorize(HU.get)(ids) + rng.normal(0, 6, ids.shape)
    ct = Volume(
        voxels=voxels.clip(-1000).round().astype(np.int16),
        geometry=Geometry.axial(SHAPE, (SPACING_MM, SPACING_MM, SPACING_MM)),
    )
    return ready_scan(ct, np.where(ids > 6, 0, ids), ids=STRUCTURE_IDS)


@pytest.fixture(scope="session")
def patient() -> Patient:
    """The same chest, painted."""
    ids = torch.from_numpy(chest())
    names = {
        0: "outside", 1: "esophagus_wall", 2: "left_ventricle", 3: "trachea", 4: "aorta",
        5: "lung_upper_lobe_left", 6: "cortical_bone", 7: "subcutaneous_fat", 8: "muscle",
    }  # fmt: skip
    structure = torch.tensor([IDS[names[k]] for k in range(9)], dtype=torch.uint8)[ids.int()]
    hu = torch.tensor([float(HU[k]) for k in range(9)])[ids.int()]
    return patient_of(BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM, SPACING_MM, SPACING_MM)), hu)
