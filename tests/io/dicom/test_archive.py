import logging
import stat
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.core.errors import GeometryError, InputError, ResourceError, UnsupportedFormatError
from thoar.io.dicom import archive
from thoar.io.dicom.archive import extracted

_log = logging.getLogger("thoar.io.dicom.test")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; a test that leaves one there fails."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Path]:
    """Pack entries, names to contents, into ``scan.zip``."""

    def write(entries: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "scan.zip"
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in entries.items():
                file.writestr(name, content)
        return path

    return write


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in files_of(folder)]


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refused(path: Path, found: str, kind: type[Exception] = InputError) -> None:
    with pytest.raises(kind, match=rf"scan\.zip: .*{found}"), extracted(path):
        pass


def test_files_come_out_under_numbers_and_plain_names(packed: Callable[..., Path], scratch: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345678"
    names = [
        "a b/1.dcm",
        "a b/",
        "b/1.dcm",
        "./.DS_Store",
        f"._{uid}.dcm",
        "ä\u202e $(x).gz",
        "x/.",
        "y" * 200,
    ]
    path = packed({name: b"" if name.endswith("/") else name.encode() for name in names})
    with extracted(path) as folder:
        assert folder.is_relative_to(scratch.resolve())
        assert [p.relative_to(folder).as_posix() for p in files_of(folder)] == [
            "000000/1.dcm",
            "000002/1.dcm",
            "000003/.DS_Store",
            f"000004/._{uid}.dcm",
            "000005/_____x_.gz",
            "000006/_",
            f"000007/{'y' * 80}",
        ]
        assert contents(folder) == [name.encode() for name in names if not name.endswith("/")]
        if sys.platform != "win32":
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(scratch.iterdir())


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "C:\\x", "c:x", "a\\..\\..\\x", "\\x", "..", "a\0b"]
)
def test_names_that_lead_out_are_refused(name: str, packed: Callable[..., Path], scratch: Path) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    path = packed({info: b"evil", "good.dcm": b"good"})
    refused(path, "leads out of it")
    assert not any(scratch.iterdir())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int, packed: Callable[..., Path]) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    refused(packed({info: b"/etc/passwd"}), "entry link is a link or device")


def test_a_name_twice_is_refused(packed: Callable[..., Path]) -> None:
    path = packed({"a/1.dcm": b"one", "a/2.dcm": b"two"})
    path.write_bytes(path.read_bytes().replace(b"a/2.dcm", b"a/1.dcm"))
    refused(path, r"holds a/1\.dcm twice")


def test_encrypted_and_oddly_packed_archives_are_refused(packed: Callable[..., Path]) -> None:
    path = packed({"1.dcm": b"one"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    refused(path, r"1\.dcm is encrypted; unpack it first", UnsupportedFormatError)
    refused(packed({"1.dcm": b"one"}, zipfile.ZIP_LZMA), "packed by method 14", UnsupportedFormatError)


def test_bombs_are_refused_before_they_are_unpacked(
    packed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed({"1.dcm": bytes(1 << 20)})
    with extracted(path):
        pass
    monkeypatch.setattr(archive, "SMALL_BYTES", 1000)
    refused(path, "would unpack to 1 MiB")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAXIMUM_BYTES", 1000)
    refused(path, "would unpack to 1 MiB")


def test_too_many_entries_are_refused(packed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed({f"{k}.dcm": b"" for k in range(20)})
    monkeypatch.setattr(archive, "MAXIMUM_ENTRIES", 10)
    refused(path, "has 20 entries; at most 10")
    monkeypatch.setattr(archive, "_DIRECTORY_BYTES", 500)
    refused(path, "list of entries takes more than")


@pytest.mark.parametrize("declared", [3, 3_000])
def test_forged_sizes_are_refused(declared: int, packed: Callable[..., Path]) -> None:
    path = packed({"1.dcm": bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    for record, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = data.index(record) + offset
        data[at : at + 4] = struct.pack("<I", declared)
    path.write_bytes(data)
    refused(path, "damaged|not of the size declared")


def test_damage_is_refused(packed: Callable[..., Path], tmp_path: Path) -> None:
    path = packed({"1.dcm": bytes(range(256)) * 100, "2.dcm": b"two"})
    data = path.read_bytes()
    for spoiled in (data[:50], data[:-10], data[:100] + bytes(50) + data[150:], b"PK\3\4" + bytes(99)):
        path.write_bytes(spoiled)
        refused(path, "")
    with pytest.raises(InputError, match=r"none\.zip"), extracted(tmp_path / "none.zip"):
        pass


def test_a_full_disk_is_said_to_be_one(packed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = archive.shutil.disk_usage
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage(path)._replace(free=10))
    refused(packed({"1.dcm": bytes(100)}), "needs 0 MiB to unpack", ResourceError)


def test_errors_and_log_lines_name_the_entry(
    packed: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = packed({"in/ä b.dcm": b"one", "in/x\u202ey.dcm": b"two"})

    inside: list[Path] = []

    def complain(folder: Path) -> None:
        first, second = inside[:] = files_of(folder)
        _log.warning("%s: repeats %s, left out of %s, %d times", first, second.name, folder, 3)
        raise GeometryError(f"{first}: differs from {second.name} and {second}.")

    with pytest.raises(GeometryError) as caught, extracted(path) as folder:
        complain(folder)
    assert str(caught.value) == f"{path}/in/ä b.dcm: differs from x_y.dcm and {path}/in/x?y.dcm."
    assert caplog.messages == [f"{path}/in/ä b.dcm: repeats x_y.dcm, left out of {path}, 3 times"]
    _log.warning("%s", inside[0])
    assert caplog.messages[-1] == str(inside[0])


def test_the_folder_goes_whatever_happens(packed: Callable[..., Path], scratch: Path) -> None:
    unpacking = extracted(packed({"1.dcm": b"one"}))
    assert any(unpacking.__enter__().iterdir())
    assert not unpacking.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not any(scratch.iterdir())
