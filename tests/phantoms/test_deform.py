import msgspec
import numpy as np
import pytest

from thoar.core.random import rng_for
from thoar.phantoms.deform import (
    LEAST_JACOBIAN,
    _least_jacobian,
    displacement_on_lattice,
    draw_deformation,
    pose_matrix,
    rotation,
)
from thoar.phantoms.labelled_scan import LabelledScan


@pytest.mark.parametrize("number", range(8))
def test_no_deformation_folds(scan: LabelledScan, number: int) -> None:
    deformation = draw_deformation(rng_for(0, "deformation", number))
    assert _least_jacobian(displacement_on_lattice(scan, deformation)) >= LEAST_JACOBIAN


def test_wild_deformation_is_shrunk_until_it_does_not_fold(scan: LabelledScan) -> None:
    wild = msgspec.structs.replace(draw_deformation(rng_for(0, "deformation", 0)), elastic=((25.0, 15.0),))
    displacement = displacement_on_lattice(scan, wild)
    assert _least_jacobian(displacement) >= LEAST_JACOBIAN
    assert np.abs(displacement).max() > 1


def test_jacobian_of_a_uniform_shrink_is_its_cube() -> None:
    z, y, x = np.meshgrid(*(np.arange(6.0) * 6.0,) * 3, indexing="ij")
    assert _least_jacobian(-0.2 * np.stack([x, y, z])) == pytest.approx(0.8**3)


def test_quarter_turn_about_z_takes_left_to_back() -> None:
    np.testing.assert_allclose(rotation((0.0, 0.0, 90.0)) @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_larger_patient_is_seen_nearer_to_the_middle() -> None:
    deformation = msgspec.structs.replace(
        draw_deformation(rng_for(0, "deformation", 1)),
        scale_xyz=(2.0, 1.0, 1.0),
        rotation_xyz_deg=(0.0, 0.0, 0.0),
        shear=(0.0, 0.0, 0.0),
    )
    np.testing.assert_allclose(pose_matrix(deformation) @ (10, 10, 10), (5, 10, 10))
