"""What a path stands for, and that a change in any of it shows."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.digest import digest_of, sha256_of
from thoar.io.formats import VOLUME_SUFFIXES, files_of, read_volume, write_volume


@pytest.fixture(params=[("a.mhd", "a.raw"), ("a.nhdr", "a.raw")], ids=["MetaImage", "NRRD"])
def detached(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A header and its data file, as SimpleITK writes them."""
    header, data = (tmp_path / name for name in request.param)
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5)), str(header))
    return header, data


def test_a_file_s_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert digest_of(tmp_path / "a") == sha256_of(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_a_folder_s_digest_depends_on_every_file_and_not_on_the_order_of_writing(tmp_path: Path) -> None:
    for folder, names in (("one", "abc"), ("two", "cba")):
        (tmp_path / folder / "below").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "below" / name).write_text(name)
    assert files_of(tmp_path / "one") == tuple(tmp_path / "one" / "below" / name for name in "abc")
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    (tmp_path / "two" / "below" / "b").write_text("B")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")


def test_a_detached_header_stands_for_its_data_file_too(detached: tuple[Path, Path]) -> None:
    header, data = detached
    assert read_volume(header).voxels.any()
    assert files_of(header) == detached
    before = digest_of(header)
    data.write_bytes(bytes(data.stat().st_size))
    assert not read_volume(header).voxels.any()
    assert digest_of(header) != before


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
def test_attached_voxels_lie_in_no_other_file(suffix: str, phantom: Volume, tmp_path: Path) -> None:
    written = tmp_path / f"written{ {'.nhdr': '.nrrd', '.mhd': '.mha'}.get(suffix, suffix) }"
    write_volume(written, phantom)
    path = written.rename(tmp_path / f"a{suffix}")
    assert files_of(path) == (path,)
    assert digest_of(path) == sha256_of(path)


def test_a_data_file_outside_the_header_s_folder_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("ObjectType = Image\nElementDataFile = ../secret.raw\n")
    with pytest.raises(UnsupportedFormatError, match="outside its own folder"):
        files_of(tmp_path / "a.mhd")


def test_what_cannot_be_read_is_named(detached: tuple[Path, Path], tmp_path: Path) -> None:
    header, data = detached
    data.unlink()
    for path, named in ((header, data), (tmp_path / "gone.nii", tmp_path / "gone.nii")):
        with pytest.raises(InputError, match=f"{named.name}: cannot be read"):
            digest_of(path)
