import msgspec
import numpy as np
import pytest

from thoar.core.errors import ConfigError
from thoar.core.labels import THORAX
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.copies.labelled_scan import LabelledScan
from thoar.phantoms.scanning.site import SHIFTED
from thoar.phantoms.synthesis import (
    CaseParameters,
    SourceName,
    draw_case,
    make_case,
    name_of,
    with_site,
)

COARSE = (8.0, 5.0, 5.0)
GOLDEN_SHAPE, GOLDEN_COUNTS, GOLDEN_MEAN_HU = (52, 79, 99), [290, 5764, 208, 2030], -640.06
"""Of the parametric case below, when there were no other organs yet; sums differ between machines."""
KINDS: tuple[SourceName, ...] = ("thorax", "label_map", "copy")


def drawn(kind: SourceName, number: int = 0) -> CaseParameters:
    return draw_case(rng_for(4, kind, number), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_come_back_from_a_file(kind: SourceName) -> None:
    parameters = drawn(kind)
    assert parameters == drawn(kind) != drawn(kind, 1)
    assert msgspec.json.decode(msgspec.json.encode(parameters), type=CaseParameters) == parameters


def test_copies_are_deterministic_and_differ(scan: LabelledScan) -> None:
    parameters = [drawn("copy", number) for number in (0, 0, 1)]
    one, two, three = (make_case(scan, p, spacing_zyx_mm=COARSE) for p in parameters)
    np.testing.assert_array_equal(one[0].voxels, two[0].voxels)
    np.testing.assert_array_equal(one[1].voxels, two[1].voxels)
    assert one[0].voxels.shape != three[0].voxels.shape or (one[0].voxels != three[0].voxels).any()


def test_copies_have_organs_of_differing_sizes(scan: LabelledScan) -> None:
    volumes = []
    for number in range(8):
        parameters = drawn("copy", number)
        field = msgspec.structs.replace(parameters.field, bottom=0.0, top=1.0, width_mm=600.0)
        volume, labels = make_case(
            scan, msgspec.structs.replace(parameters, field=field), spacing_zyx_mm=COARSE
        )
        assert volume.voxels.dtype == np.int16
        counts = np.bincount(labels.voxels.ravel(), minlength=5)[1:]
        volumes.append(counts * labels.geometry.voxel_volume_ml)
    assert np.min(volumes) > 0
    assert (np.std(volumes, axis=0) / np.mean(volumes, axis=0) > 0.08).all()


@pytest.fixture(scope="module")
def whole() -> CaseParameters:
    """A parametric case in full view."""
    parameters = drawn("thorax")
    field = msgspec.structs.replace(parameters.field, bottom=0.0, top=1.0, width_mm=600.0)
    return msgspec.structs.replace(parameters, field=field)


@pytest.fixture(scope="module")
def chest(whole: CaseParameters) -> tuple[Volume, LabelVolume]:
    """The same, made with SegTHOR's four organs."""
    return make_case("thorax", whole, spacing_zyx_mm=COARSE)


def test_parametric_case_has_a_chest_in_it(chest: tuple[Volume, LabelVolume]) -> None:
    volume, labels = chest
    assert set(np.unique(labels.voxels)) == {0, 1, 2, 3, 4}
    assert volume.geometry.same_grid(labels.geometry)
    assert (volume.voxels < -700).mean() > 0.1
    assert ((volume.voxels > -200) & (volume.voxels < 200)).mean() > 0.1


def test_labelling_more_organs_changes_neither_the_picture_nor_the_other_labels(
    whole: CaseParameters, chest: tuple[Volume, LabelVolume]
) -> None:
    volume, labels = make_case("thorax", whole, spacing_zyx_mm=COARSE, label_set=THORAX)
    np.testing.assert_array_equal(volume.voxels, chest[0].voxels)
    np.testing.assert_array_equal(np.where(labels.voxels > 4, 0, labels.voxels), chest[1].voxels)
    counts = np.bincount(labels.voxels.ravel(), minlength=8) * labels.geometry.voxel_volume_ml
    for organ in THORAX.organs[4:]:
        least, most = organ.usual_volume_ml or (0, 0)
        assert least < counts[organ.id] < most
    x = [np.argwhere(labels.voxels == organ.id)[:, 2].mean() for organ in THORAX.organs[4:]]
    assert x[2] < x[0] < x[1]  # right lung, cord, left lung; x runs to the left


def test_a_case_is_still_what_it_was(chest: tuple[Volume, LabelVolume]) -> None:
    volume, labels = chest
    counts = np.bincount(labels.voxels.ravel(), minlength=5)
    assert volume.voxels.shape == GOLDEN_SHAPE
    assert counts[1:].tolist() == pytest.approx(GOLDEN_COUNTS, rel=0.01)
    assert float(volume.voxels.mean()) == pytest.approx(GOLDEN_MEAN_HU, abs=0.1)


def test_organs_that_a_scan_has_no_labels_of_are_refused(scan: LabelledScan) -> None:
    with pytest.raises(ConfigError, match="no labels of spinal_cord"):
        make_case(scan, drawn("copy"), spacing_zyx_mm=COARSE, label_set=THORAX.subset(("spinal_cord",)))


def test_another_site_scans_the_same_patient(whole: CaseParameters) -> None:
    there = with_site(whole, SHIFTED, rng=np.random.default_rng(0))
    assert there != whole
    moved = msgspec.structs.replace(there, scanner=whole.scanner, field=whole.field)
    assert moved == whole


def test_a_scans_patient_lies_as_he_was_scanned_and_others_mostly_on_their_backs() -> None:
    assert {drawn("copy", n).posture for n in range(60)} == {"supine"}
    postures = [drawn("label_map", n).posture for n in range(300)]
    assert postures.count("supine") > 240
    assert {"prone", "left_side", "right_side"} < set(postures)


def test_parameters_of_another_source_are_refused(scan: LabelledScan) -> None:
    assert name_of(scan) == "copy"
    assert name_of("thorax") == "thorax"
    with pytest.raises(ConfigError, match="'thorax', the source is 'copy'"):
        make_case(scan, drawn("thorax"), spacing_zyx_mm=COARSE)
    with pytest.raises(ConfigError, match="'copy', the source is 'thorax'"):
        make_case("thorax", drawn("copy"), spacing_zyx_mm=COARSE)
