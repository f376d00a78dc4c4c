import numpy as np
import pytest
from gstt_slab import filled, places, read_slab

from thoar.core.errors import InputError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume


def test_slices_lie_where_their_positions_say_and_gaps_are_left():
    assert places([-821.001, -819.401, -818.601, -817.801]) == (0, 2, 3, 4)


@pytest.mark.parametrize("positions_mm", [[0.0, 0.8, 1.6, 2.0], [0.0, 0.8, 0.8, 1.6], [1.6, 0.8, 0.0]])
def test_slices_between_the_grids_or_not_rising_are_refused(positions_mm):
    with pytest.raises(InputError, match="no regular grid"):
        places(positions_mm)


def test_a_missing_slice_becomes_the_mean_of_its_neighbours_by_distance():
    scanned = np.stack([np.full((2, 2), hu, dtype=np.int16) for hu in (0, 90, 100)])
    assert filled(scanned, (0, 3, 4))[:, 0, 0].tolist() == [0, 30, 60, 90, 100]


def write_slab(folder, write_series, *, missing=2, mask_shift=0.0):
    """Write a series of six slices with one taken out, and masks whose header says twice the step."""
    import nibabel  # noqa: PLC0415 (the file's own axes are what is tested)

    hu = np.random.default_rng(0).integers(-900, 300, (6, 24, 30)).astype(np.int16)
    volume = Volume(
        voxels=hu, geometry=Geometry.axial(hu.shape, (0.8, 0.7, 0.7), origin_xyz_mm=(-9.0, -8.0, -80.0))
    )
    series = write_series(volume, name="slab")
    (series / f"{99 - missing}").unlink()
    kept = [k for k in range(6) if k != missing]
    names = ["esophagus", "aorta", "heart_myocardium"]
    names += [f"heart_{part}_{side}" for part in ("atrium", "ventricle") for side in ("left", "right")]
    (series / "nii_seg").mkdir()
    affine = np.diag([-0.7, 0.7, 1.6, 1.0])  # RAS: x runs to the left, y to the front
    affine[:3, 3] = 9.0 + mask_shift, 8.0 - 23 * 0.7, -80.0
    for position, name in enumerate(names):
        mask = (hu[kept] > 100) & (np.arange(5) == position % 5)[:, None, None]
        stored = mask[:, ::-1].transpose(2, 1, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(stored, affine), series / "nii_seg" / f"{name}.nii.gz")
    return series, hu, kept


def test_masks_are_paired_with_slices_by_index_whatever_their_header_says_of_z(tmp_path, write_series):
    folder, hu, kept = write_slab(tmp_path, write_series)
    slab = read_slab(folder)
    assert slab.volume.voxels.shape == hu.shape
    assert slab.volume.geometry.spacing_zyx_mm == pytest.approx((0.8, 0.7, 0.7))
    assert slab.interpolated == (2,)
    assert np.array_equal(slab.scanned(slab.volume.voxels), hu[kept])
    assert np.abs(slab.volume.voxels[2] - (hu[1].astype(float) + hu[3]) / 2).max() <= 0.5
    assert np.array_equal(slab.masks["aorta"][1], hu[kept][1] > 100)
    assert not slab.masks["aorta"][2:].any()
    assert slab.masks["heart"].any(axis=(1, 2)).tolist() == [True] * 5


def test_masks_beside_the_slices_are_refused(tmp_path, write_series):
    folder, _, _ = write_slab(tmp_path, write_series, mask_shift=30.0)
    with pytest.raises(InputError, match="lies elsewhere in the plane"):
        read_slab(folder)


def test_the_real_slab_has_one_slice_missing_and_masks_that_lie_on_soft_tissue(shared_data):
    slab = read_slab(shared_data / "gstt_slab")
    assert slab.volume.voxels.shape == (21, 512, 512)
    assert slab.volume.geometry.spacing_zyx_mm == pytest.approx((0.8, 0.683, 0.683), abs=1e-3)
    assert slab.interpolated == (1,)
    scanned = slab.scanned(slab.volume.voxels)
    assert set(slab.masks) == {"esophagus", "aorta", "heart"}
    assert all(-100 < np.median(scanned[mask]) < 100 for mask in slab.masks.values())
