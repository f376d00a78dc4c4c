"""One phantom through every writable format in every orientation, read back by us and by SimpleITK."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume, to_canonical
from thoar.io.formats import read_volume, write_volume

CODES = [
    (axes, flipped)
    for axes in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
FILES = ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.safetensors"]


def turned(volume: Volume, axes: tuple[int, ...], flipped: tuple[bool, ...]) -> Volume:
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    return Volume(
        voxels=np.flip(volume.voxels.transpose(axes), backwards),
        geometry=volume.geometry.reordered(axes, flipped=flipped),
    )


def oblique(volume: Volume) -> Volume:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    about_z = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    matrix = np.array(volume.geometry.lps_from_index)
    matrix[:3, :3] = about_x @ about_z @ matrix[:3, :3]
    return Volume(
        voxels=volume.voxels, geometry=Geometry(shape_zyx=volume.geometry.shape_zyx, lps_from_index=matrix)
    )


def check_round_trip(volume: Volume, path: Path) -> None:
    write_volume(path, volume)
    found = read_volume(path)
    assert found.voxels.dtype == np.int16
    assert np.array_equal(found.voxels, volume.voxels)
    assert found.geometry.difference_mm(volume.geometry) < 1e-4
    if path.suffix != ".safetensors":  # SimpleITK knows no such file
        check_by_simpleitk(volume, path)


def check_by_simpleitk(volume: Volume, path: Path) -> None:
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    for index_zyx in itertools.product((0, 3), (0, 4), (0, 4)):
        place = image.TransformIndexToPhysicalPoint(index_zyx[::-1])
        assert np.allclose(place, volume.geometry.position_xyz_mm(index_zyx), atol=1e-3)


@pytest.mark.parametrize("name", FILES)
def test_all_48_orientations_return_from_every_format(name: str, phantom: Volume, tmp_path: Path) -> None:
    for axes, flipped in CODES:
        volume = turned(phantom, axes, flipped)
        check_round_trip(volume, tmp_path / name)
        canonical = to_canonical(read_volume(tmp_path / name))
        assert np.array_equal(canonical.voxels, phantom.voxels)
        assert canonical.geometry.difference_mm(phantom.geometry) < 1e-4


@pytest.mark.parametrize("name", FILES)
def test_oblique_grids_return_from_every_format(name: str, phantom: Volume, tmp_path: Path) -> None:
    for axes, flipped in CODES[::5]:
        check_round_trip(oblique(turned(phantom, axes, flipped)), tmp_path / name)


def test_the_same_place_is_meant_by_nibabel(phantom: Volume, tmp_path: Path) -> None:
    volume = oblique(phantom)
    write_volume(tmp_path / "a.nii.gz", volume)
    image = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    x, y, z = volume.geometry.position_xyz_mm((1, 2, 3))
    assert np.allclose(image.affine @ (3, 2, 1, 1), (-x, -y, z, 1), atol=1e-4)
    assert image.dataobj[3, 2, 1] == volume.voxels[1, 2, 3]


def affines(volume: Volume, form: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write with nibabel, by sform and qform or qform alone; return its affine and that of our copy."""
    ras = np.diag([-1.0, -1, 1, 1]) @ volume.geometry.lps_from_index[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(volume.voxels.T, ras)
    image.header.set_qform(ras, 1)
    image.header.set_sform(*((ras, 1) if form == "sform" else (None, 0)))
    nib.save(nib.Nifti1Image(volume.voxels.T, None, image.header), folder / "in.nii")
    write_volume(folder / "out.nii.gz", read_volume(folder / "in.nii"))
    before, after = (nib.Nifti1Image.from_filename(folder / n).affine for n in ("in.nii", "out.nii.gz"))
    return before, after


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_affine_of_a_nifti_file_returns_to_the_bit(form: str, phantom: Volume, tmp_path: Path) -> None:
    for axes, flipped in CODES:
        volume = turned(phantom, axes, flipped)
        assert np.array_equal(*affines(volume, form, tmp_path))
        before, after = affines(oblique(volume), form, tmp_path)
        if form == "sform":
            assert np.array_equal(before, after)
        else:
            assert np.allclose(before, after, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.int64])
def test_every_number_type_returns_with_its_values(
    name: str, dtype: type, phantom: Volume, tmp_path: Path
) -> None:
    voxels = (np.abs(phantom.voxels) % 200).astype(dtype)
    voxels[0, 0, 0] = {np.uint16: 65535, np.int32: 2**20, np.float32: 0.5, np.float64: 0.5}.get(dtype, 7)
    write_volume(tmp_path / name, Volume(voxels=voxels, geometry=phantom.geometry))
    found = read_volume(tmp_path / name).voxels
    assert np.array_equal(found, voxels)
    assert found.dtype == (np.int16 if voxels[0, 0, 0] == 7 else np.float32)


@pytest.mark.parametrize("name", FILES)
def test_the_same_volume_gives_the_same_bytes(name: str, phantom: Volume, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_volume(tmp_path / name, phantom)
    write_volume(tmp_path / "b" / f"other-{name}", phantom)
    assert (tmp_path / name).read_bytes() == (tmp_path / "b" / f"other-{name}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "b"]


@pytest.mark.parametrize("name", FILES)
def test_nan_is_not_written(name: str, phantom: Volume, tmp_path: Path) -> None:
    voxels = phantom.voxels.astype(np.float32)
    voxels[1, 2, 3] = np.nan
    with pytest.raises(Exception, match=r"1 voxels are NaN or infinite.*\(1, 2, 3\)"):
        write_volume(tmp_path / name, Volume(voxels=voxels, geometry=phantom.geometry))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("space", ["RAS", "LAS", "LPS"])
def test_nrrd_spaces_are_read_as_what_they_say(space: str, phantom: Volume, tmp_path: Path) -> None:
    signs = np.array([{"R": -1, "L": 1}[space[0]], {"A": -1, "P": 1}[space[1]], 1.0])
    names = {"R": "right", "L": "left", "A": "anterior", "P": "posterior"}
    matrix = phantom.geometry.lps_from_index[:3] * signs[:, None]
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"
        f"space: {names[space[0]]}-{names[space[1]]}-superior\n"
        f"space directions: {' '.join(str(tuple(c)).replace(' ', '') for c in matrix.T[2::-1].tolist())}\n"
        f"space origin: {tuple(matrix[:, 3].tolist())}\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + phantom.voxels.tobytes())
    found = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(found.voxels, phantom.voxels)
    assert found.geometry.difference_mm(phantom.geometry) < 1e-9
