import msgspec
import numpy as np
import pytest
from scipy import ndimage

from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry, Vector3
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.phantoms.copies.copied import CopyParameters, copied, draw_copy
from thoar.phantoms.copies.labelled_scan import LabelledScan, ready_scan
from thoar.phantoms.deform import OrganShape, draw_deformation
from thoar.phantoms.scanning.field import draw_field
from thoar.phantoms.scanning.scanner import draw_scanner
from thoar.phantoms.scanning.view import scan_patient
from thoar.phantoms.smooth import blurred

COARSE = (6.0, 4.0, 4.0)
ORGANS = (1, 2, 3, 4)
replace = msgspec.structs.replace


def calm(parameters: CopyParameters) -> CopyParameters:
    """The same copy without disease."""
    return replace(
        parameters,
        esophagus=replace(parameters.esophagus, open_share=0.0),
        calcium=replace(parameters.calcium, share=0.0),
        lungs=replace(parameters.lungs, tumours=(), fluid_share=0.0, shift_hu=0.0, back_hu=0.0),
        keep_couch=False,
    )


def seen(
    scan: LabelledScan, parameters: CopyParameters, spacing_zyx_mm: Vector3
) -> tuple[Volume, LabelVolume]:
    """The copy as it is: neither deformed nor spoilt by a scanner."""
    rng = rng_for(0, "seen")
    unmoved = OrganShape(girth_mm=0.0, girth_spread_mm=0.0, shift_spread_mm=0.0)
    scanner = draw_scanner(rng)
    return scan_patient(
        copied(scan, parameters),
        deformation=replace(
            draw_deformation(rng, strength=0.0),
            scale_xyz=(1.0, 1.0, 1.0), rotation_xyz_deg=(0.0, 0.0, 0.0), shear=(0.0, 0.0, 0.0),
            heart_scale=1.0, elastic=(),
            organs=dict.fromkeys(("esophagus", "heart", "trachea", "aorta", "body"), unmoved),
        ),
        field=replace(draw_field(rng), bottom=0.0, top=1.0, width_mm=600.0, circle=False),
        scanner=replace(
            scanner,
            blur_mm=0.0, sharpen=0.0, slice_mm=1.0, increment_mm=1.0, gain=1.0, offset_hu=0.0,
            noise=replace(scanner.noise, hu=0.0),
            streaks=replace(scanner.streaks, cupping_hu=0.0, banding_hu=0.0, starved_hu=0.0),
            motion=replace(scanner.motion, heart=0.0, breath_mm=0.0),
            couch=replace(scanner.couch, kind="none", cushion_mm=0.0, blankets=()),
        ),
        posture="supine",
        spacing_zyx_mm=spacing_zyx_mm,
    )  # fmt: skip


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
    one, two, three = (copied(scan, p).hu for p in (first, again, other))
    np.testing.assert_array_equal(one, two)
    assert (one - three).abs().mean() > 1


def test_parameters_come_back_from_a_file(drawn: CopyParameters) -> None:
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=CopyParameters) == drawn


def test_copies_keep_the_scans_labels_to_the_voxel(scan: LabelledScan, drawn: CopyParameters) -> None:
    assert copied(scan, drawn).organs is scan.organs


def test_lungs_fluid_and_chalk_appear_where_they_belong(scan: LabelledScan, drawn: CopyParameters) -> None:
    healthy = calm(drawn)
    wet = replace(healthy, lungs=replace(healthy.lungs, fluid_share=0.3, fluid_left=True, fluid_hu=10.0))
    chalky = replace(healthy, calcium=replace(healthy.calcium, share=0.08, hu=900.0))
    plain, fluid, chalk = (copied(scan, p).hu for p in (healthy, wet, chalky))
    where = ((fluid - plain) > 300).nonzero().float().mean(dim=0)
    assert where[1] > scan.hu.shape[1] / 2
    assert where[2] > scan.hu.shape[2] / 2
    spots = (chalk - plain) > 150
    assert spots.any()
    aorta = scan.organs[scan.label_set.names.index("aorta")]
    assert (blurred(aorta, (1.0, 1.0, 1.0))[spots] > 0).all()


def test_calm_copy_shows_the_scan_where_nothing_is_enhanced(
    scan: LabelledScan, drawn: CopyParameters
) -> None:
    volume, labels = seen(scan, with_blood(calm(drawn), 40.0), scan.spacing_zyx_mm)
    ml = np.bincount(labels.voxels.ravel(), minlength=5)[1:] * labels.geometry.voxel_volume_ml
    source_ml = scan.organs.sum(dim=(1, 2, 3)).numpy() * np.prod(scan.spacing_zyx_mm) / 1000
    np.testing.assert_allclose(ml, source_ml, rtol=0.04)
    trachea = volume.voxels[labels.voxels == 3]
    assert np.median(trachea) < -900


@pytest.mark.parametrize("blood_hu", [40.0, 180.0, 420.0])
def test_blood_takes_the_value_asked_for(scan: LabelledScan, drawn: CopyParameters, blood_hu: float) -> None:
    volume, labels = seen(scan, with_blood(calm(drawn), blood_hu), COARSE)
    assert np.median(volume.voxels[labels.voxels == 4]) == pytest.approx(blood_hu, abs=25)


def test_vessel_without_contrast_leaves_no_bright_rim(scan: LabelledScan, drawn: CopyParameters) -> None:
    volume, labels = seen(scan, with_blood(calm(drawn), 40.0), (3.0, 2.0, 2.0))
    heart = labels.voxels == 2
    rim = ndimage.binary_dilation(heart, iterations=2) & (labels.voxels == 0)
    assert np.percentile(volume.voxels[rim], 90) < 90


def test_open_esophagus_holds_air_within_its_wall(scan: LabelledScan, drawn: CopyParameters) -> None:
    parameters = calm(drawn)
    full = replace(parameters.esophagus, open_share=1.0, content_hu=-900.0, wall_mm=2.0, wall_hu=40.0)
    airy, labels = seen(scan, replace(parameters, esophagus=full), (3.0, 2.0, 2.0))
    none, _ = seen(scan, parameters, (3.0, 2.0, 2.0))
    inside = labels.voxels == 1
    assert np.percentile(airy.voxels[inside], 5) < -500
    assert np.percentile(none.voxels[inside], 5) > -250


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
