"""The preparation on real scans; skipped where they are absent."""

from pathlib import Path

import numpy as np
import pytest

from thoar.core import configuration
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume
from thoar.imaging.prepare import prepare, prepare_labels
from thoar.io.formats import read_integers, read_volume

TRACHEA = LabelSet(organs=(Organ(name="trachea", id=1),))


@pytest.mark.parametrize(
    ("image", "body_ml", "reduction"),
    [
        ("pyradiomics_lung1/lung1_image.nrrd", 11100, 1.34),
        ("ts_abdomen/example_ct.nii.gz", 24400, 1.08),
    ],
)
def test_the_body_of_a_real_scan_has_its_known_volume(shared_data: Path, image, body_ml, reduction) -> None:
    prepared = prepare(
        read_volume(shared_data / image),
        preparation=configuration.Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
        body=configuration.Body(),
        multiple_zyx=(2, 8, 8),
    )
    assert prepared.report.threshold_method == "otsu_middle_slice"
    assert prepared.report.body_ml == pytest.approx(body_ml, rel=0.03)
    assert prepared.report.reduction == pytest.approx(reduction, abs=0.03)


def test_the_trachea_of_a_real_scan_holds_air_after_preparation(shared_data: Path) -> None:
    folder = shared_data / "pyradiomics_lung1"
    prepared = prepare(
        read_volume(folder / "lung1_image.nrrd"),
        preparation=configuration.Preparation(),
        body=configuration.Body(),
        multiple_zyx=(2, 8, 8),
    )
    mask = read_integers(folder / "trachea_semi_auto.nii.gz")
    labels = LabelVolume(voxels=(mask.voxels > 0).astype(np.uint8), geometry=mask.geometry, label_set=TRACHEA)
    trachea = prepare_labels(labels, prepared) == 1
    volume_ml = trachea.sum() * prepared.geometry.voxel_volume_ml
    assert volume_ml == pytest.approx((mask.voxels > 0).sum() * mask.geometry.voxel_volume_ml, rel=0.05)
    assert np.median(prepared.voxels[trachea]) < 0.05
