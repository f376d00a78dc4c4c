import numpy as np
import pytest

from thoar.core.errors import InputError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.imaging.body import Body, find_body
from thoar.imaging.resample import grid_of_spacing, resample_linear

CLIP_HU = (-1024.0, 1000.0)
SHAPE = (20, 128, 128)
GRID = Geometry.axial(SHAPE, (5.0, 3.0, 3.0))
Y, X = np.indices(SHAPE[1:]) - 64
TORSO = (Y / 38) ** 2 + (X / 50) ** 2 < 1
LUNGS = ((Y / 24) ** 2 + ((np.abs(X) - 22) / 15) ** 2) < 1
HEART = (Y / 12) ** 2 + ((X - 8) / 12) ** 2 < 1


def thorax() -> np.ndarray:
    """Return a torso whose lungs are open at the first and last slice, in faintly noisy air."""
    slice_hu = np.full(SHAPE[1:], -1000.0, dtype=np.float32)
    slice_hu[TORSO] = 30
    slice_hu[LUNGS] = -850
    slice_hu[HEART] = 40
    noise = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
    return np.repeat(slice_hu[None], SHAPE[0], axis=0) + noise


def body_of(voxels: np.ndarray, geometry: Geometry = GRID) -> Body:
    return find_body(Volume(voxels=voxels, geometry=geometry), clip_hu=CLIP_HU)


def test_the_mask_is_the_torso_with_its_lungs_in_every_slice() -> None:
    body = body_of(thorax())
    assert body.method == "otsu_middle_slice"
    assert -800 < body.threshold_hu < -200
    assert all(body.mask[z][TORSO].mean() > 0.99 for z in range(SHAPE[0]))
    assert all(body.mask[z][LUNGS].all() for z in (0, SHAPE[0] - 1))
    assert body.mask[:, ~TORSO].mean() < 0.01


@pytest.mark.parametrize("padding_hu", [-2000.0, -3024.0])
def test_scanner_padding_in_the_corners_changes_nothing(padding_hu) -> None:
    voxels = thorax()
    voxels[:, Y**2 + X**2 > 64**2] = padding_hu
    body = body_of(voxels)
    assert body.method == "otsu_middle_slice"
    assert (body.mask == body_of(thorax()).mask).mean() > 0.999


@pytest.mark.parametrize("gap", [0, 2, 6])
def test_a_couch_is_no_part_of_the_body(gap) -> None:
    voxels = thorax()
    top = 64 + 38 + gap
    voxels[:, top : top + 3, 4:-4] = 200
    mask = body_of(voxels).mask
    assert mask[:, TORSO].mean() > 0.99
    couch = np.zeros(SHAPE[1:], dtype=bool)
    couch[top : top + 3, 4:-4] = True
    assert mask[:, couch].mean() < 0.3  # where it touches, a few voxels beside the contact stay
    assert not mask[:, top : top + 3, :30].any()


def test_arms_at_the_sides_leave_the_thorax_whole() -> None:
    voxels = thorax()
    for side in (-57, 57):
        voxels[:, (Y / 12) ** 2 + ((X - side) / 6) ** 2 < 1] = 40
    mask = body_of(voxels).mask
    assert mask[:, TORSO].mean() > 0.99
    assert mask[:, HEART].all()


def test_the_larger_of_two_bodies_is_kept() -> None:
    voxels = np.full((20, 128, 128), -1000.0, dtype=np.float32)
    voxels[:, 10:70, 10:70] = 0
    voxels[:, 90:120, 90:120] = 0
    mask = body_of(voxels).mask
    assert mask[:, 12:68, 12:68].all()
    assert not mask[:, 85:, 85:].any()


def test_an_empty_middle_falls_back_to_the_whole_volume() -> None:
    voxels = thorax()
    voxels[9:11] = -1000
    body = body_of(voxels)
    assert body.method == "otsu_volume"
    assert body.mask[:9][:, TORSO].mean() > 0.99


def test_where_otsu_cannot_part_body_from_air_the_threshold_is_fixed() -> None:
    voxels = np.full(SHAPE, 30.0, dtype=np.float32)
    voxels[:, :64] = -100  # fat and muscle fill the picture: Otsu would part the two
    body = body_of(voxels)
    assert (body.method, body.threshold_hu) == ("fixed", -500.0)
    assert body.mask.all()


def test_metal_does_not_shift_the_threshold() -> None:
    voxels = thorax()
    voxels[8:12, 60:66, 60:66] = 30000
    assert (body_of(voxels).mask == body_of(thorax()).mask).mean() > 0.999


def test_a_lung_behind_a_broken_chest_wall_stays_inside() -> None:
    voxels = thorax()
    voxels[:, 62:66, :64] = -900  # a cut from the lung through the wall to the air outside
    mask = body_of(voxels).mask
    assert mask[:, LUNGS].mean() > 0.98


def test_a_water_cylinder_is_a_body() -> None:
    voxels = np.where(Y**2 + X**2 < 30**2, 0, -1000) * np.ones(SHAPE, dtype=np.int16)
    assert body_of(voxels.astype(np.int16)).mask.mean() == pytest.approx(np.pi * 30**2 / 128**2, rel=0.03)


def test_fine_grids_give_the_same_body() -> None:
    voxels = thorax()
    fine = body_of(voxels, Geometry.axial(SHAPE, (5.0, 1.0, 1.0)))
    assert fine.mask[:, TORSO].mean() > 0.985
    assert fine.mask[:, ~TORSO].mean() < 0.02


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        (np.full(SHAPE, -1000.0), "every voxel has the value -1000"),
        (np.random.default_rng(0).normal(-1000, 20, SHAPE), "nothing body-sized"),
        (np.random.default_rng(0).random(SHAPE), "no Hounsfield units"),
        (np.full(SHAPE, np.nan), "no numbers"),
    ],
    ids=["constant", "air", "zero_to_one", "nan"],
)
def test_volumes_without_a_body_are_refused_with_what_was_found(voxels, reason) -> None:
    with pytest.raises(InputError, match=reason):
        body_of(voxels)


def test_stray_voxels_are_no_body() -> None:
    voxels = np.full(SHAPE, -1000.0, dtype=np.float32)
    voxels[5, 5, 5:9] = 100
    with pytest.raises(InputError, match="nothing body-sized"):
        body_of(voxels)


@pytest.mark.parametrize("padding_hu", [-1024.0, -2000.0])
def test_a_field_of_view_that_cuts_a_lung_open_loses_no_solid_part_of_the_body(padding_hu) -> None:
    voxels = thorax()
    seen = (Y + 22) ** 2 + (X + 16) ** 2 < 46**2  # its edge runs through a lung and through the back
    voxels[:, ~seen] = padding_hu
    assert (LUNGS & ~seen & (X > 0)).any()
    assert (LUNGS & seen & (X > 0)).any()
    mask = body_of(voxels).mask
    assert mask[:, TORSO & seen & ~LUNGS].mean() > 0.995
    assert mask[:, LUNGS & seen].mean() > 0.9  # a chord, not an arc, closes the lung
    air = seen & (((Y / 42) ** 2 + (X / 54) ** 2) > 1)
    assert mask[:, air].mean() < 0.02


@pytest.mark.parametrize("spacing_zyx_mm", [(5.0, 1.5, 1.5), (3.0, 2.0, 2.0), (6.0, 4.0, 3.0)])
def test_the_body_on_a_grid_is_that_of_the_volume_resampled_onto_it(spacing_zyx_mm) -> None:
    volume = Volume(voxels=thorax().astype(np.int16), geometry=GRID)
    grid = grid_of_spacing(GRID, spacing_zyx_mm)
    resampled = resample_linear(volume.voxels, GRID, grid, outside=-1000.0)
    expected = find_body(Volume(voxels=resampled, geometry=grid), clip_hu=CLIP_HU)
    found = find_body(volume, clip_hu=CLIP_HU, grid=grid)
    assert (found.method, found.threshold_hu) == (expected.method, expected.threshold_hu)
    np.testing.assert_array_equal(found.mask, expected.mask)


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_does_not_change_the_body(threads: int) -> None:
    volume = Volume(voxels=thorax(), geometry=GRID)
    one, several = (find_body(volume, clip_hu=CLIP_HU, threads=n) for n in (1, threads))
    assert one.threshold_hu == several.threshold_hu
    np.testing.assert_array_equal(one.mask, several.mask)
