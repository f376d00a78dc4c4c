import numpy as np
import torch
from scipy import ndimage

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.distances import distance_mm, doubled
from thoar.phantoms.pathology.subject import Subject, extent
from thoar.phantoms.structures import IDS


def subject_of(body: BodyMap) -> Subject:
    return Subject(
        structure=body.structure,
        spacing_zyx_mm=body.spacing_zyx_mm,
        gravity_zyx=(0.0, 1.0, 0.0),
        generator=torch.Generator().manual_seed(0),
    )


def test_distances_are_exact_up_to_their_reach() -> None:
    mask = np.random.default_rng(0).random((14, 12, 16)) < 0.01
    true = np.minimum(ndimage.distance_transform_edt(~mask, sampling=(2.0, 1.0, 1.5)), 6.0)
    found = distance_mm(torch.from_numpy(mask), (2.0, 1.0, 1.5), reach_mm=6.0)
    np.testing.assert_allclose(found.numpy(), true, atol=1e-4)


def test_doubling_interpolates_between_known_voxels() -> None:
    coarse = torch.arange(4.0)[:, None, None].expand(4, 2, 3) * 2
    fine = doubled(coarse, (8, 3, 5))
    assert fine.shape == (8, 3, 5)
    assert fine[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0]


def test_chance_is_smooth_and_of_unit_size(chest: BodyMap) -> None:
    subject = subject_of(chest)
    for scale in (6.0, 12.0, 24.0):
        noise = subject.noise((80, 70, 90), scale_mm=scale)
        assert 0.6 < float(noise.std()) < 1.4
        step = float((noise[1:] - noise[:-1]).square().mean().sqrt())
        assert step < 5.5 / scale


def test_the_extent_holds_every_voxel_and_absent_structures_have_none(chest: BodyMap) -> None:
    subject = subject_of(chest)
    window = extent(subject, "trachea")
    assert window is not None
    part = subject.structure[window] == IDS["trachea"]
    assert int(part.sum()) == int((subject.structure == IDS["trachea"]).sum())
    assert part.numel() < 0.2 * subject.structure.numel()
    assert extent(subject, "kidney") is None
