import msgspec
import numpy as np
import pytest

from thoar.core.errors import ConfigError
from thoar.core.random import rng_for
from thoar.phantoms.copies.labelled_scan import LabelledScan
from thoar.phantoms.synthesis import (
    CaseParameters,
    SourceName,
    draw_case,
    make_case,
    name_of,
)

COARSE = (8.0, 5.0, 5.0)
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


def test_parametric_case_has_a_chest_in_it() -> None:
    parameters = drawn("thorax")
    field = msgspec.structs.replace(parameters.field, bottom=0.0, top=1.0, width_mm=600.0)
    parameters = msgspec.structs.replace(parameters, field=field)
    volume, labels = make_case("thorax", parameters, spacing_zyx_mm=COARSE)
    assert set(np.unique(labels.voxels)) == {0, 1, 2, 3, 4}
    assert volume.geometry.same_grid(labels.geometry)
    assert (volume.voxels < -700).mean() > 0.1
    assert ((volume.voxels > -200) & (volume.voxels < 200)).mean() > 0.1


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
