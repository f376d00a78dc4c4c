import numpy as np
import pytest
import torch

from thoar.core.labels import SEGTHOR
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.patient import Patient, patient_of
from thoar.phantoms.structures import IDS


def test_organs_are_the_structures_that_make_them() -> None:
    structure = torch.zeros((8, 8, 8), dtype=torch.uint8)
    structure[2], structure[3], structure[4] = IDS["left_ventricle"], IDS["heart_fat"], IDS["muscle"]
    made = patient_of(BodyMap(structure=structure, spacing_zyx_mm=(2.0, 2.0, 2.0)), structure.float())
    heart = made.organs[SEGTHOR.names.index("heart")]
    assert heart.sum() == 2 * 64
    assert made.organs.sum() == heart.sum()
    assert made.body.sum() == 3 * 64


def test_lattice_keeps_volumes(patient: Patient) -> None:
    cell = np.prod([2 * h for h in patient.half_xyz_mm]) / np.prod(patient.lattice.shape[1:])
    voxel = np.prod(patient.spacing_zyx_mm)
    for part, fine in zip(patient.lattice, (*patient.organs, patient.body), strict=True):
        assert float(part.sum()) * cell == pytest.approx(float(fine.sum()) * voxel, rel=0.1)
