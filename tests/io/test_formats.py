import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.io import formats

FILES = ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.safetensors"]


def labels_of(phantom: Volume, dtype: type = np.uint8, label_set: LabelSet = SEGTHOR) -> LabelVolume:
    voxels = (phantom.voxels % 5).astype(dtype)
    return LabelVolume(voxels=voxels, geometry=phantom.geometry, label_set=label_set)


@pytest.mark.parametrize("name", FILES)
def test_labels_return_from_every_format(name: str, phantom: Volume, tmp_path: Path) -> None:
    labels = labels_of(phantom, np.uint32)
    formats.write_labels(tmp_path / name, labels)
    found = formats.read_labels(tmp_path / name, SEGTHOR)
    assert found.voxels.dtype == np.uint8
    assert np.array_equal(found.voxels, labels.voxels)
    assert found.geometry.same_grid(labels.geometry)


@pytest.mark.parametrize("name", FILES)
def test_ids_beyond_255_are_kept(name: str, phantom: Volume, tmp_path: Path) -> None:
    label_set = LabelSet(organs=(Organ(name="a", id=255), Organ(name="b", id=65535)))
    voxels = np.choose(phantom.voxels % 3, [0, 255, 65535]).astype(np.uint16)
    labels = LabelVolume(voxels=voxels, geometry=phantom.geometry, label_set=label_set)
    formats.write_labels(tmp_path / name, labels)
    assert np.array_equal(formats.read_labels(tmp_path / name, label_set).voxels, voxels)


def test_strange_ids_are_listed(phantom: Volume, tmp_path: Path) -> None:
    voxels = (phantom.voxels % 5).astype(np.uint8)
    voxels[0, 0, :3] = 7
    formats.write_volume(tmp_path / "a.nii.gz", Volume(voxels=voxels, geometry=phantom.geometry))
    with pytest.raises(LabelError, match=r"a\.nii\.gz: .*7 \(3 voxels\); it has 1 esophagus"):
        formats.read_labels(tmp_path / "a.nii.gz", SEGTHOR)
    assert formats.read_integers(tmp_path / "a.nii.gz").voxels.max() == 7


def test_strange_ids_are_not_written(phantom: Volume, tmp_path: Path) -> None:
    labels = LabelVolume(
        voxels=np.full((5, 6, 7), 9, dtype=np.uint8), geometry=phantom.geometry, label_set=SEGTHOR
    )
    with pytest.raises(LabelError, match=r"9 \(210 voxels\)"):
        formats.write_labels(tmp_path / "a.nii.gz", labels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "found"), [(-1, "from -1 to 4"), (70000, "to 70000")])
def test_ids_outside_the_range_are_refused(value: int, found: str, phantom: Volume, tmp_path: Path) -> None:
    voxels = (phantom.voxels % 5).astype(np.int32)
    voxels[0, 0, 0] = value
    formats.write_volume(tmp_path / "a.nii.gz", Volume(voxels=voxels, geometry=phantom.geometry))
    with pytest.raises(LabelError, match=found):
        formats.read_integers(tmp_path / "a.nii.gz")


def test_labels_a_hair_from_whole_are_rounded_with_a_warning(
    phantom: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = (phantom.voxels % 5).astype(np.float32)
    formats.write_volume(tmp_path / "a.nii", Volume(voxels=voxels - 9e-4, geometry=phantom.geometry))
    assert np.array_equal(formats.read_labels(tmp_path / "a.nii", SEGTHOR).voxels, voxels)
    assert "rounded" in caplog.text


def test_interpolated_labels_are_refused(phantom: Volume, tmp_path: Path) -> None:
    voxels = (phantom.voxels % 5).astype(np.float32)
    voxels[1, 1, 1:3] = 0.5, 0.99
    formats.write_volume(tmp_path / "a.nii", Volume(voxels=voxels, geometry=phantom.geometry))
    with pytest.raises(LabelError, match=r"2 voxels are no whole label ids \(0\.5, 0\.99"):
        formats.read_labels(tmp_path / "a.nii", SEGTHOR)


def test_label_types_of_other_programs_give_the_same_ids(phantom: Volume, tmp_path: Path) -> None:
    ids = phantom.voxels % 5
    for dtype in (np.int8, np.uint8, np.int64, np.float64):
        nib.save(nib.Nifti1Image(ids.T.astype(dtype), np.eye(4), dtype=dtype), tmp_path / "a.nii.gz")
        assert np.array_equal(formats.read_labels(tmp_path / "a.nii.gz", SEGTHOR).voxels, ids)


def test_endings_are_known_in_any_case(phantom: Volume, tmp_path: Path) -> None:
    formats.write_volume(tmp_path / "A.v2.NII.GZ", phantom)
    assert (tmp_path / "A.v2.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"
    assert np.array_equal(formats.read_volume(tmp_path / "A.v2.NII.GZ").voxels, phantom.voxels)
    assert formats.volume_stem(Path("A.v2.NII.GZ")) == "A.v2"
    assert formats.volume_stem(Path("folder")) == "folder"


def test_odd_names_work(phantom: Volume, tmp_path: Path) -> None:
    for name in ("-x $(id) ';' é.nrrd", "-x $(id) ';' é.mha", "-x $(id) ';' é.nii.gz"):
        formats.write_volume(tmp_path / name, phantom)
        assert np.array_equal(formats.read_volume(tmp_path / name).voxels, phantom.voxels)


@pytest.mark.parametrize("name", ["a.txt", "a.dcm", "a"])
def test_unknown_files_are_refused_with_what_is_known(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UnsupportedFormatError, match=r"\.nii\.gz.*\.mha.*DICOM series"):
        formats.read_volume(tmp_path / name)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder"):
        formats.read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.dcm", "a"])
def test_files_we_do_not_write_are_refused(name: str, phantom: Volume, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"end its name in \.nii\.gz"):
        formats.write_volume(tmp_path / name, phantom)


def test_empty_files_and_folders_are_refused(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=r"the file is empty"):
            formats.read_volume(tmp_path / name)
    assert not formats.is_dicom_folder(tmp_path)
    assert not formats.is_dicom_folder(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"holds no DICOM images"):
        formats.read_volume(tmp_path)


def test_dicom_is_read_from_folders_and_zips_by_any_name(
    phantom: Volume, write_series: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_series(phantom, name="a.nii")
    assert formats.is_dicom_folder(folder)
    assert np.array_equal(formats.read_volume(folder).voxels, phantom.voxels)
    with zipfile.ZipFile(tmp_path / "scan.archive", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    found = formats.read_volume(tmp_path / "scan.archive")
    assert np.array_equal(found.voxels, phantom.voxels)
    assert found.geometry.difference_mm(phantom.geometry) < 1e-5


def test_a_lone_slice_is_refused_with_its_folder_as_the_fix(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match=r"97: is one slice or no image; give the folder"):
        formats.read_volume(write_series(phantom) / "97")


def test_a_link_out_of_a_folder_is_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b").write_text("b")
    (tmp_path / "a").write_text("a")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "in" / "c").symlink_to(tmp_path / "in" / "b")
    assert [file.name for file in formats.files_of(tmp_path / "in")] == ["b", "c"]
