import msgspec
import numpy as np
import pytest

from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.deform import Deformation, OrganShape, draw_deformation
from thoar.phantoms.patient import Patient
from thoar.phantoms.scanning.field import Field, draw_field
from thoar.phantoms.scanning.scanner import Scanner, draw_scanner
from thoar.phantoms.scanning.view import scan_patient

replace = msgspec.structs.replace
COARSE = (6.0, 4.0, 4.0)
STILL = OrganShape(girth_mm=0.0, girth_spread_mm=0.0, shift_spread_mm=0.0)


def still() -> Deformation:
    return replace(
        draw_deformation(rng_for(0, "deformation"), strength=0.0),
        scale_xyz=(1.0, 1.0, 1.0), rotation_xyz_deg=(0.0, 0.0, 0.0), shear=(0.0, 0.0, 0.0),
        heart_scale=1.0, organs=dict.fromkeys(("esophagus", "heart", "trachea", "aorta", "body"), STILL),
        elastic=(),
    )  # fmt: skip


def whole() -> Field:
    drawn = draw_field(rng_for(0, "field"))
    return replace(drawn, bottom=0.0, top=1.0, width_mm=600.0, circle=False, margin_mm=16.0)


def quiet() -> Scanner:
    drawn = draw_scanner(rng_for(0, "scanner"))
    return replace(
        drawn,
        blur_mm=0.0, sharpen=0.0, slice_mm=1.0, increment_mm=1.0, gain=1.0, offset_hu=0.0, step_hu=1.0,
        noise=replace(drawn.noise, hu=0.0),
        streaks=replace(drawn.streaks, cupping_hu=0.0, banding_hu=0.0, starved_hu=0.0),
        motion=replace(drawn.motion, heart=0.0, breath_mm=0.0),
        couch=replace(drawn.couch, kind="none", cushion_mm=0.0, blankets=()),
    )  # fmt: skip


def test_still_patient_under_a_quiet_scanner_is_seen_as_he_is(patient: Patient) -> None:
    volume, labels = scan_patient(
        patient,
        deformation=still(),
        field=whole(),
        scanner=quiet(),
        posture="supine",
        spacing_zyx_mm=patient.spacing_zyx_mm,
    )
    assert volume.voxels.dtype == np.int16
    assert labels.voxels.dtype == np.uint8
    ml = np.bincount(labels.voxels.ravel(), minlength=5)[1:] * labels.geometry.voxel_volume_ml
    source_ml = patient.organs.sum(dim=(1, 2, 3)).numpy() * np.prod(patient.spacing_zyx_mm) / 1000
    np.testing.assert_allclose(ml, source_ml, rtol=0.08)
    for organ, hu in ((1, 40), (2, 350), (3, -1000), (4, 350)):
        assert np.median(volume.voxels[labels.voxels == organ]) == hu


@pytest.mark.parametrize("slice_mm", [1.0, 8.0])
def test_labels_do_not_depend_on_the_scanner(patient: Patient, slice_mm: float) -> None:
    deformation = draw_deformation(rng_for(3, "deformation"))
    loud = replace(draw_scanner(rng_for(1, "scanner")), slice_mm=slice_mm, increment_mm=slice_mm)
    one, two = (
        scan_patient(
            patient,
            deformation=deformation,
            field=whole(),
            scanner=s,
            posture="supine",
            spacing_zyx_mm=COARSE,
        )
        for s in (loud, quiet())
    )
    np.testing.assert_array_equal(one[1].voxels, two[1].voxels)
    assert (one[0].voxels != two[0].voxels).mean() > 0.1


def test_patients_left_stays_left_and_his_head_above(patient: Patient) -> None:
    _, labels = scan_patient(
        patient,
        deformation=still(),
        field=whole(),
        scanner=quiet(),
        posture="prone",
        spacing_zyx_mm=COARSE,
    )
    heart, trachea = (np.argwhere(labels.voxels == organ).mean(axis=0).tolist() for organ in (2, 3))
    at = labels.geometry.position_xyz_mm
    assert at(heart)[0] > at(trachea)[0]
    assert at(heart)[1] < at(trachea)[1]
    assert at(heart)[2] < at(trachea)[2]


def test_short_field_shows_its_levels_at_their_own_places(patient: Patient) -> None:
    def seen(field: Field) -> tuple[Volume, LabelVolume]:
        return scan_patient(
            patient,
            deformation=still(),
            field=field,
            scanner=quiet(),
            posture="supine",
            spacing_zyx_mm=COARSE,
        )

    (_, long), (volume, short) = seen(whole()), seen(replace(whole(), bottom=0.3, top=0.6))
    assert len(short.voxels) == pytest.approx(0.3 * len(long.voxels), abs=1.5)
    places = [np.argwhere(v.voxels == 4).mean(axis=0).tolist() for v in (long, short)]
    x, y = (
        [v.geometry.position_xyz_mm(p)[k] for v, p in zip((long, short), places, strict=True)] for k in (0, 1)
    )
    assert x[0] == pytest.approx(x[1], abs=1)
    assert y[0] == pytest.approx(y[1], abs=1)
    assert volume.geometry.same_grid(short.geometry)


def test_padding_survives_the_scanners_scale(patient: Patient) -> None:
    field = replace(whole(), circle=True, width_mm=250.0, padding_hu=-3024.0)
    volume, _ = scan_patient(
        patient,
        deformation=still(),
        field=field,
        scanner=replace(quiet(), gain=1.03, offset_hu=7.0),
        posture="supine",
        spacing_zyx_mm=COARSE,
    )
    assert (volume.voxels[:, 0, 0] == -3024).all()
    assert max(volume.voxels.shape[1:]) * 4.0 <= 254


def test_no_organ_is_labelled_where_the_circle_leaves_padding(patient: Patient) -> None:
    narrow = replace(
        whole(), width_mm=120.0, circle=True, padding_hu=-2000.0, shift_xy_mm=(50.0, 0.0), rim_hu=0.0
    )
    views = [
        scan_patient(
            patient,
            deformation=still(),
            field=field,
            scanner=quiet(),
            posture="supine",
            spacing_zyx_mm=patient.spacing_zyx_mm,
        )
        for field in (narrow, replace(narrow, circle=False))
    ]
    (volume, labels), (_, square) = views
    padded = volume.voxels == -2000
    assert not labels.voxels[padded].any()
    assert square.voxels[padded].any()  # organs there are
    np.testing.assert_array_equal(labels.voxels[~padded], square.voxels[~padded])
