import msgspec
import numpy as np
import pytest
from scipy import ndimage

from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry
from thoar.core.random import rng_for
from thoar.core.volume import Volume, to_canonical
from thoar.phantoms.copies import CopyParameters, draw_copy, make_copy
from thoar.phantoms.deform import Deformation, OrganShape
from thoar.phantoms.labelled_scan import LabelledScan, ready_scan

COARSE = (6.0, 4.0, 4.0)
ORGANS = (1, 2, 3, 4)
replace = msgspec.structs.replace


def calm(parameters: CopyParameters) -> CopyParameters:
    """The same copy without deformation, disease, noise or cuts."""
    still = OrganShape(girth_mm=0.0, girth_spread_mm=0.0, shift_spread_mm=0.0)
    return replace(
        parameters,
        deformation=Deformation(
            scale_xyz=(1.0, 1.0, 1.0),
            rotation_xyz_deg=(0.0, 0.0, 0.0),
            shear=(0.0, 0.0, 0.0),
            heart_scale=1.0,
            heart_rotation_xyz_deg=(0.0, 0.0, 0.0),
            heart_shift_xyz_mm=(0.0, 0.0, 0.0),
            organs=dict.fromkeys(("esophagus", "heart", "trachea", "aorta", "body"), still),
            elastic=(),
            seed=0,
        ),
        esophagus=replace(parameters.esophagus, open_share=0.0),
        calcium=replace(parameters.calcium, share=0.0),
        lungs=replace(parameters.lungs, tumours=(), fluid_share=0.0, shift_hu=0.0, back_hu=0.0),
        scanner=replace(
            parameters.scanner,
            blur_mm=0.0,
            sharpen=0.0,
            slice_mm=1.0,
            noise_hu=0.0,
            streak_hu=0.0,
            gain=1.0,
            offset_hu=0.0,
            table=False,
        ),
        field=replace(parameters.field, cut_below_mm=0.0, cut_above_mm=0.0, width_mm=600.0),
    )


def with_blood(parameters: CopyParameters, hu: float) -> CopyParameters:
    names = ("arteries", "heart", "upper_veins", "lower_veins", "pulmonary")
    target = {**parameters.contrast.target_hu, **dict.fromkeys(names, hu)}
    return replace(parameters, contrast=replace(parameters.contrast, target_hu=target, right_heart_hu=0.0))


@pytest.fixture(scope="module")
def drawn() -> CopyParameters:
    return draw_copy(rng_for(0, "copy", 0))


def test_same_seed_makes_the_same_copy_and_another_number_another(scan: LabelledScan) -> None:
    first, again, other = (draw_copy(rng_for(5, "copy", number)) for number in (0, 0, 1))
    assert first == again != other
    (one, one_labels), (two, two_labels) = (make_copy(scan, p, spacing_zyx_mm=COARSE) for p in (first, again))
    np.testing.assert_array_equal(one.voxels, two.voxels)
    np.testing.assert_array_equal(one_labels.voxels, two_labels.voxels)


def test_parameters_come_back_from_a_file(drawn: CopyParameters) -> None:
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=CopyParameters) == drawn


def test_copies_have_all_organs_of_differing_sizes(scan: LabelledScan) -> None:
    volumes = []
    for number in range(6):
        volume, labels = make_copy(scan, draw_copy(rng_for(1, "copy", number)), spacing_zyx_mm=COARSE)
        assert volume.voxels.dtype == np.int16
        assert labels.voxels.dtype == np.uint8
        counts = np.bincount(labels.voxels.ravel(), minlength=5)[1:]
        volumes.append(counts * labels.geometry.voxel_volume_ml)
    assert np.min(volumes) > 0
    assert (np.std(volumes, axis=0) / np.mean(volumes, axis=0) > 0.08).all()


def test_calm_copy_shows_the_scan_where_nothing_is_enhanced(
    scan: LabelledScan, drawn: CopyParameters
) -> None:
    volume, labels = make_copy(scan, with_blood(calm(drawn), 40.0), spacing_zyx_mm=scan.spacing_zyx_mm)
    ml = np.bincount(labels.voxels.ravel(), minlength=5)[1:] * labels.geometry.voxel_volume_ml
    source_ml = scan.organs.sum(dim=(1, 2, 3)).numpy() * np.prod(scan.spacing_zyx_mm) / 1000
    np.testing.assert_allclose(ml, source_ml, rtol=0.04)
    trachea = volume.voxels[labels.voxels == 3]
    assert np.median(trachea) < -900


@pytest.mark.parametrize("blood_hu", [40.0, 180.0, 420.0])
def test_blood_takes_the_value_asked_for(scan: LabelledScan, drawn: CopyParameters, blood_hu: float) -> None:
    volume, labels = make_copy(scan, with_blood(calm(drawn), blood_hu), spacing_zyx_mm=COARSE)
    assert np.median(volume.voxels[labels.voxels == 4]) == pytest.approx(blood_hu, abs=25)


def test_vessel_without_contrast_leaves_no_bright_rim(scan: LabelledScan, drawn: CopyParameters) -> None:
    volume, labels = make_copy(scan, with_blood(calm(drawn), 40.0), spacing_zyx_mm=(3.0, 2.0, 2.0))
    heart = labels.voxels == 2
    rim = ndimage.binary_dilation(heart, iterations=2) & (labels.voxels == 0)
    assert np.percentile(volume.voxels[rim], 90) < 90


def test_open_esophagus_holds_air_within_its_wall(scan: LabelledScan, drawn: CopyParameters) -> None:
    parameters = calm(drawn)
    full = replace(parameters.esophagus, open_share=1.0, content_hu=-900.0, wall_mm=2.0, wall_hu=40.0)
    airy, labels = make_copy(scan, replace(parameters, esophagus=full), spacing_zyx_mm=(3.0, 2.0, 2.0))
    none, _ = make_copy(scan, parameters, spacing_zyx_mm=(3.0, 2.0, 2.0))
    inside = labels.voxels == 1
    assert np.percentile(airy.voxels[inside], 5) < -500
    assert np.percentile(none.voxels[inside], 5) > -250


def test_patients_left_stays_left(scan: LabelledScan, drawn: CopyParameters) -> None:
    _, labels = make_copy(scan, calm(drawn), spacing_zyx_mm=COARSE)
    heart, trachea = (np.argwhere(labels.voxels == organ).mean(axis=0).tolist() for organ in (2, 3))
    at = labels.geometry.position_xyz_mm
    assert at(heart)[0] > at(trachea)[0]
    assert at(heart)[2] < at(trachea)[2]


def test_field_cut_leaves_padding_outside_its_circle(scan: LabelledScan, drawn: CopyParameters) -> None:
    parameters = replace(calm(drawn), field=replace(drawn.field, width_mm=250.0, padding_hu=-2000.0))
    volume, _ = make_copy(scan, parameters, spacing_zyx_mm=COARSE)
    assert (volume.voxels[:, 0, 0] == -2000).all()
    assert volume.voxels.shape[2] * COARSE[2] <= 254


def test_cuts_shorten_the_volume(scan: LabelledScan, drawn: CopyParameters) -> None:
    whole = calm(drawn)
    cut = replace(whole, field=replace(whole.field, cut_below_mm=60.0, cut_above_mm=30.0))
    lengths = [make_copy(scan, p, spacing_zyx_mm=COARSE)[0].voxels.shape[0] for p in (whole, cut)]
    assert (lengths[0] - lengths[1]) * COARSE[0] == pytest.approx(90, abs=6)


def test_label_map_without_an_organ_is_refused(structure_ids: dict[str, int]) -> None:
    geometry = Geometry.axial((8, 16, 16), (3.0, 2.0, 2.0))
    ct = Volume(voxels=np.zeros((8, 16, 16), dtype=np.int16), geometry=geometry)
    with pytest.raises(LabelError, match="no esophagus"):
        ready_scan(ct, np.zeros((8, 16, 16), dtype=np.uint8), ids=structure_ids)


def test_scan_stored_upside_down_and_mirrored_is_readied_alike(structure_ids: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    structures = np.zeros((10, 40, 40), dtype=np.uint8)
    for organ in ORGANS:
        structures[2:8, 6 + 7 * organ : 11 + 7 * organ, 15:20] = organ
    voxels = (rng.normal(0, 5, structures.shape) - 1000 * (np.indices(structures.shape)[1] < 3)).astype(
        np.int16
    )
    plain = Volume(voxels=voxels, geometry=Geometry.axial((10, 40, 40), (3.0, 2.0, 2.0)))
    turned_geometry = plain.geometry.reordered((0, 1, 2), flipped=(True, False, True))
    turned = Volume(voxels=np.flip(voxels, (0, 2)), geometry=turned_geometry)
    assert to_canonical(turned).geometry.same_grid(plain.geometry)
    one = ready_scan(plain, structures, ids=structure_ids)
    two = ready_scan(turned, np.flip(structures, (0, 2)), ids=structure_ids)
    np.testing.assert_array_equal(one.hu, two.hu)
    np.testing.assert_array_equal(one.organs, two.organs)
