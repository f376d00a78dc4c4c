import msgspec
import numpy as np
import pytest
import torch

from thoar.core.random import rng_for
from thoar.phantoms.deform import (
    LEAST_JACOBIAN,
    OBLIQUE_DEG,
    Deformation,
    OrganShape,
    _least_jacobian,
    _slope,
    displacement_on_lattice,
    draw_deformation,
    pose_matrix,
    rotation,
)
from thoar.phantoms.patient import Patient

replace = msgspec.structs.replace
ORGANS = ("esophagus", "heart", "trachea", "aorta", "body")
STILL = OrganShape(girth_mm=0.0, girth_spread_mm=0.0, shift_spread_mm=0.0)


def calm() -> Deformation:
    return replace(
        draw_deformation(rng_for(0, "deformation", 0), strength=0.0),
        heart_scale=1.0,
        organs=dict.fromkeys(ORGANS, STILL),
        elastic=(),
    )


@pytest.mark.parametrize("number", range(8))
def test_no_deformation_folds(patient: Patient, number: int) -> None:
    deformation = draw_deformation(rng_for(0, "deformation", number), strength=1.2)
    assert _least_jacobian(_slope(displacement_on_lattice(patient, deformation))) >= LEAST_JACOBIAN - 1e-4


def test_wild_deformation_is_shrunk_until_it_does_not_fold(patient: Patient) -> None:
    wild = replace(draw_deformation(rng_for(0, "deformation", 0)), elastic=((25.0, 15.0),))
    displacement = displacement_on_lattice(patient, wild)
    assert _least_jacobian(_slope(displacement)) >= LEAST_JACOBIAN - 1e-4
    assert displacement.abs().max() > 1


def test_calm_deformation_moves_nothing(patient: Patient) -> None:
    assert float(displacement_on_lattice(patient, calm()).abs().max()) == 0


def test_elastic_rest_has_the_strength_asked_for(patient: Patient) -> None:
    displacement = displacement_on_lattice(patient, replace(calm(), elastic=((60.0, 2.0),)))
    assert float(displacement.square().mean().sqrt()) == pytest.approx(2.0, rel=0.05)


def test_larger_heart_is_seen_nearer_to_its_middle(patient: Patient) -> None:
    displacement = displacement_on_lattice(patient, replace(calm(), heart_scale=1.25))
    heart = patient.lattice[patient.label_set.names.index("heart")]
    x = torch.linspace(-1, 1, heart.shape[2]) * patient.half_xyz_mm[0]
    middle = float((heart.sum((0, 1)) * x).sum() / heart.sum())
    inside = heart > 0.5
    inward = -(displacement[0] * (x - middle))[inside]
    assert float(inward.mean()) > 5
    assert displacement[:, 0, 0, 0].abs().max() < 0.5


def test_jacobian_of_a_uniform_shrink_is_its_cube() -> None:
    z, y, x = np.meshgrid(*(np.arange(6.0) * 6.0,) * 3, indexing="ij")
    shrink = torch.from_numpy(-0.2 * np.stack([x, y, z])).float()
    assert _least_jacobian(_slope(shrink)) == pytest.approx(0.8**3, rel=1e-4)


def test_quarter_turn_about_z_takes_left_to_back() -> None:
    np.testing.assert_allclose(rotation((0.0, 0.0, 90.0)) @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_larger_patient_is_seen_nearer_to_the_middle() -> None:
    deformation = replace(
        draw_deformation(rng_for(0, "deformation", 1)),
        scale_xyz=(2.0, 1.0, 1.0),
        rotation_xyz_deg=(0.0, 0.0, 0.0),
        shear=(0.0, 0.0, 0.0),
    )
    np.testing.assert_allclose(pose_matrix(deformation) @ (10, 10, 10), (5, 10, 10))


def test_few_patients_lie_obliquely() -> None:
    turns = [abs(draw_deformation(rng_for(1, "deformation", n)).rotation_xyz_deg[2]) for n in range(400)]
    oblique = np.mean(np.array(turns) > 10)
    assert 0.005 < oblique < 0.08
    assert max(turns) <= OBLIQUE_DEG
