import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import MediaStorageDirectoryStorage, RTPlanStorage

from thoar.core.errors import IncompleteSeriesError, InputError
from thoar.core.volume import Volume
from thoar.io.dicom.files import dicom_files, holds_dicom, is_dicom_file, is_zip, plain_files
from thoar.io.dicom.series import read_series

Write = Callable[..., Path]
HEAD = bytes(128) + b"DICM"


def test_dicom_is_known_by_content_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/b"):
        (tmp_path / name).write_bytes(HEAD)
    (tmp_path / "c").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200))
    (tmp_path / "d").write_bytes(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100" + bytes(200))
    (tmp_path / "LICENSE").write_text("not DICOM at all " * 9)
    (tmp_path / "._a.dcm").write_bytes(bytes(9))
    found = [path.relative_to(tmp_path).as_posix() for path in dicom_files(tmp_path)]
    assert found == ["a.txt", "c", "d", "sub/b"]
    assert holds_dicom(tmp_path)


def test_a_zip_is_known_by_content_and_dicom_with_its_preamble_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\x03\x04" + bytes(200))
    (tmp_path / "none").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "both").write_bytes(b"PK\x03\x04" + bytes(124) + b"DICM")
    assert [is_zip(tmp_path / name) for name in ("a", "none", "both", "absent")] == [True, True, False, False]
    assert is_dicom_file(tmp_path / "both")
    assert not is_dicom_file(tmp_path)


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "IM0005", "1.2.840.113619.5"])
def test_an_empty_file_among_others_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(HEAD)
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}: the file is empty"):
        list(dicom_files(tmp_path))
    assert holds_dicom(tmp_path)


@pytest.mark.parametrize(("name", "size"), [("a.dcm", 1), ("a.dcm", 131), ("IM0005", 100), ("1.2.3", 131)])
def test_a_file_cut_in_its_preamble_is_refused_by_name(name: str, size: int, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(HEAD)
    (tmp_path / name).write_bytes(HEAD[:size])
    with pytest.raises(InputError, match=rf"{name}: is named like DICOM but is none"):
        list(dicom_files(tmp_path))


@pytest.mark.parametrize(("name", "warned"), [("IM0005", True), ("1.2.840.5", True), ("LICENSE", False)])
def test_another_file_named_like_a_slice_is_warned_of(
    name: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "first").write_bytes(HEAD)
    (tmp_path / name).write_text("<html>not found</html>")
    assert list(dicom_files(tmp_path)) == [tmp_path / "first"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(f"no DICOM file, left out: {name}" in line for line in warnings) == warned


def test_a_text_named_like_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("not DICOM at all")
    with pytest.raises(InputError, match=r"notes\.dcm: is named like DICOM but is none.*take it out"):
        list(dicom_files(tmp_path))


@pytest.mark.parametrize("name", [".DS_Store", ".nfs0001", "README.txt", "done.log"])
def test_an_empty_file_that_nobody_takes_for_an_image_is_left_out(name: str, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(HEAD)
    (tmp_path / name).touch()
    assert list(dicom_files(tmp_path)) == [tmp_path / "first"]


def test_pipes_sockets_and_links_are_passed_by_without_blocking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(HEAD)
    (tmp_path / "outside").write_bytes(HEAD)
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "gone").symlink_to(tmp_path / "never was")
    (folder / "within").symlink_to(folder / "a")
    (folder / "folder").symlink_to(tmp_path, target_is_directory=True)
    caplog.set_level("INFO")
    found: list[Path] = []
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)
        listener.bind("socket")
        os.chdir(here)
        reader = threading.Thread(target=lambda: found.extend(dicom_files(folder)), daemon=True)
        reader.start()
        reader.join(10)
    assert not reader.is_alive()
    assert found == [folder / "a", folder / "within"]
    assert "no DICOM file, left out: pipe, socket" in caplog.text
    assert [r.getMessage().split(": ")[-1] for r in caplog.records if r.levelname == "WARNING"] == [
        "folder, gone, null and 1 more"
    ]


def test_a_folder_behind_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(HEAD)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(dicom_files(tmp_path / "link")) == [tmp_path / "link" / "a"]


def test_what_cannot_be_opened_or_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(HEAD)

    def refuse(*args: object, **more: object) -> object:
        raise PermissionError(13, "Permission denied", str(tmp_path / "locked"))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a: cannot be read \(Permission denied\)"):
        list(dicom_files(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"locked: cannot be listed \(Permission denied\)"):
        list(plain_files(tmp_path, []))


def test_truncated_slices_are_named(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    data = (folder / "97").read_bytes()
    for share in (0.16, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        (folder / "97").write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=r"97"):
            read_series(folder)


def test_junk_in_the_folder_is_left_out_and_counted(
    phantom: Volume, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    (folder / "notes.txt").write_text("not DICOM at all")
    (folder / ".DS_Store").write_bytes(bytes(10))
    (folder / "sub").mkdir()
    (folder / "99").rename(folder / "sub" / "99.ima")
    index = pydicom.dcmread(folder / "98", stop_before_pixels=True)
    del index.Modality, index.Rows
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.save_as(folder / "DICOMDIR")
    for name in ("plan1.dcm", "plan2.dcm"):
        plan = pydicom.dcmread(folder / "98", stop_before_pixels=True)
        plan.Modality, plan.SOPClassUID = "RTPLAN", RTPlanStorage
        plan.save_as(folder / name)
    caplog.set_level("INFO")
    assert (read_series(folder).stack.voxels == phantom.voxels).all()
    assert "no DICOM file, left out: .DS_Store, notes.txt" in caplog.text
    assert "left out as no images of a scan: 1 DICOMDIR, 2 RTPLAN" in caplog.text
    assert "Nobody" not in caplog.text


def test_links_out_of_the_folder_are_not_followed(
    phantom: Volume, write_series: Write, tmp_path: Path
) -> None:
    folder = write_series(phantom)
    (folder / "97").rename(tmp_path / "97")
    (folder / "97").symlink_to(tmp_path / "97")
    with pytest.raises(IncompleteSeriesError, match=r"98 and 96"):
        read_series(folder)


def test_files_without_preamble_and_meta_information_are_read(phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        del ds.file_meta
        ds.preamble = None
        ds.save_as(path, implicit_vr=path.name < "97", little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    assert (read_series(folder).stack.voxels == phantom.voxels).all()
