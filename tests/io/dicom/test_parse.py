import logging
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RTStructureSetStorage

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.dicom import bounded, parse
from thoar.io.dicom.bounded import BoundedFile
from thoar.io.dicom.parse import read_header, read_slice, slices_of
from thoar.io.dicom.pixels import hu_of

CHARSET = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 10) + b"ISO_IR 100"
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD


@pytest.fixture
def path(phantom: Volume, write_series: Callable[..., Path]) -> Path:
    """Slice 0 of the phantom."""
    return write_series(phantom) / "99"


def mark(element: int, length: int) -> bytes:
    return struct.pack("<HHI", 0xFFFE, element, length)


def long_element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def rewrite(
    path: Path, extra: bytes, *, syntax: str = ExplicitVRLittleEndian, deflated: bool = False
) -> Path:
    """Write a slice again with elements before its own, which begin with group 0008."""
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    meta, body = BytesIO(bytes(128) + b"DICM"), BytesIO()
    meta.seek(132)
    write_file_meta_info(meta, ds.file_meta, enforce_standard=False)
    plain = pydicom.Dataset(ds)
    plain.save_as(body, implicit_vr=False, little_endian=True)
    content = CHARSET + extra + body.getvalue()
    path.write_bytes(meta.getvalue() + (deflate(content) if deflated else content))
    return path


def deflate(*pieces: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(map(compressor.compress, pieces)) + compressor.flush()


def test_a_plain_file_is_one_slice_without_its_private_attributes(path: Path) -> None:
    rewrite(path, struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 4) + b"GEMS")
    (item,) = slices_of(path)
    assert item.frame is None
    assert item.name == str(path)
    assert not [tag for tag in item.header if tag.tag.is_private]
    assert read_header(path).Rows == 6
    assert "PixelData" not in item.header


def test_a_deflated_file_is_read(path: Path, phantom: Volume) -> None:
    rewrite(path, b"", syntax=DeflatedExplicitVRLittleEndian, deflated=True)
    (item,) = slices_of(path)
    assert item.header.buffer is None
    assert np.array_equal(hu_of(item), phantom.voxels[0])
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    with pytest.raises(InputError, match="99: its deflated data are cut short"):
        slices_of(path)
    path.write_bytes(data[:-60] + bytes(60))
    with pytest.raises(InputError, match=r"99: its deflated data are (damaged|cut short)"):
        slices_of(path)


def test_a_deflated_file_without_preamble_is_read(path: Path, phantom: Volume) -> None:
    rewrite(path, b"", syntax=DeflatedExplicitVRLittleEndian, deflated=True)
    path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(hu_of(slices_of(path)[0]), phantom.voxels[0])


def test_a_deflated_file_that_swells_is_refused(path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = BytesIO()
    write_file_meta_info(meta, ds.file_meta, enforce_standard=False)
    zeros = [bytes(1 << 20)] * (bounded.MAXIMUM_INFLATED_BYTES // 2**20 + 1)
    path.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + deflate(CHARSET, *zeros))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"99: is deflated .*TransferSyntaxUID.* more than 64 MiB; store it"):
        slices_of(path)


@pytest.mark.parametrize("depth", [300, 5000])
def test_sequences_too_deep_are_refused(depth: int, path: Path) -> None:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED) + mark(ITEM, UNDEFINED)
    rewrite(path, opening * depth + (mark(ITEM_END, 0) + mark(SEQUENCE_END, 0)) * depth)
    with pytest.raises(InputError, match="99: cannot be read as DICOM"):
        slices_of(path)


def test_deep_sequences_that_nobody_asks_for_are_left_alone(path: Path, phantom: Volume) -> None:
    inner = b""
    for _ in range(1000):
        inner = long_element(0x00081140, b"SQ", mark(ITEM, len(inner)) + inner)
    rewrite(path, inner)
    assert np.array_equal(hu_of(slices_of(path)[0]), phantom.voxels[0])


def test_lengths_that_lie_are_refused(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:132] + long_element(0x00020001, b"OB", b"", length=4_000_000_000) + data[132:])
    with pytest.raises(InputError, match=r"99: is cut short, or .* claims 4000000000 bytes where"):
        slices_of(path)


@pytest.mark.parametrize("lost", [1, 20, 99])
def test_a_file_that_ends_within_an_element_is_refused(lost: int, path: Path) -> None:
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.add_new(0x7FDF0010, "LT", "x" * 100)
    ds.save_as(path)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"99: is cut short, it ends within \(7FDF,0010\); fetch"):
        slices_of(path)


@pytest.mark.parametrize("length", [0, UNDEFINED])
@pytest.mark.parametrize("content", [b"", mark(ITEM, 0)])
def test_a_structure_set_of_too_many_parts_is_refused(
    content: bytes, length: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "_OF_STRUCTURES", (1 << 20, 1 << 20, 3000))
    contours = (mark(ITEM, len(content)) + content) * 3000 + (mark(SEQUENCE_END, 0) if length else b"")
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.save_as(path)
    rewrite(path, long_element(0x30060039, b"SQ", contours, length=length or None))
    with pytest.raises(InputError, match="99: holds more than 1 MiB or 1000 elements"):
        read_header(path)


def test_an_undefined_length_without_end_is_refused(path: Path) -> None:
    rewrite(path, long_element(0x00091010, b"OB", bytes(100), length=UNDEFINED))
    with pytest.raises(InputError, match="99"):
        hu_of(slices_of(path)[0])


def test_too_many_bytes_or_elements_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = path.read_bytes()
    items = mark(ITEM, 0) * 3000
    monkeypatch.setattr(parse, "_OF_IMAGES", (16 << 20, 16 << 20, 2000))
    endless = long_element(0x00081140, b"SQ", items + mark(SEQUENCE_END, 0), length=UNDEFINED)
    with pytest.raises(InputError, match=r"99: holds more than 16 MiB or 666 elements"):
        slices_of(rewrite(path, endless))
    monkeypatch.undo()
    path.write_bytes(sound)
    monkeypatch.setattr(parse, "_MAXIMUM_ITEMS", 2000)
    with pytest.raises(InputError, match="99: its sequences have more than 2000 items"):
        slices_of(rewrite(path, long_element(0x00081140, b"SQ", items)))
    path.write_bytes(sound)
    many = b"".join(long_element(0x00091000 + k, b"OB", bytes(9 << 20)) for k in range(2))
    with pytest.raises(InputError, match=r"99: holds more than 16 MiB"):
        slices_of(rewrite(path, many))


def test_a_huge_element_is_left_in_the_file(path: Path, phantom: Volume) -> None:
    rewrite(path, long_element(0x00091010, b"OB", bytes(17 << 20)))
    assert np.array_equal(hu_of(slices_of(path)[0]), phantom.voxels[0])


def test_a_bounded_file_reads_no_further_than_it_may() -> None:
    file = BoundedFile(BytesIO(bytes(100)), Path("a.dcm"), maximum_bytes=60)
    assert len(file.read(50)) == 50
    with pytest.raises(InputError, match=r"a\.dcm: holds more than") as caught:
        file.read(50)
    assert caught.value is file.fault
    with pytest.raises(InputError):
        BoundedFile(BytesIO(b"abc"), Path("a.dcm")).read()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535 × 65535 pixels"),
        ({"Rows": 0}, "0 × 7 pixels"),
        ({"NumberOfFrames": 2**31 - 1}, "in 2147483647 frames"),
        ({"NumberOfFrames": 0}, "in 0 frames"),
        ({"NumberOfFrames": -1}, "in -1 frames"),
    ],
)
def test_impossible_sizes_are_refused_before_memory_is_taken(
    fields: dict[str, int], found: str, path: Path
) -> None:
    ds = pydicom.dcmread(path)
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    with pytest.raises(InputError, match=rf"99: declares .*{found}.*NumberOfFrames"):
        slices_of(path)


def test_frames_that_contradict_their_groups_are_refused(
    phantom: Volume, write_series: Callable[..., Path], as_frames: Callable[..., Path]
) -> None:
    path = as_frames(write_series(phantom))
    assert [item.frame for item in slices_of(path)] == [0, 1, 2, 3, 4]
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames = 4
    ds.save_as(path)
    with pytest.raises(InputError, match="NumberOfFrames is 4 where PerFrameFunctionalGroupsSequence has 5"):
        slices_of(path)
    del ds.PerFrameFunctionalGroupsSequence
    ds.save_as(path)
    with pytest.raises(UnsupportedFormatError, match="multi-frame image of 4 frames without PerFrame"):
        slices_of(path)


def test_a_single_frame_with_groups_is_a_frame(
    phantom: Volume, write_series: Callable[..., Path], as_frames: Callable[..., Path]
) -> None:
    (item,) = slices_of(as_frames(write_series(phantom), order=[4]))
    assert item.frame == 0
    assert np.array_equal(hu_of(item), phantom.voxels[0])


def test_what_is_no_scan_is_one_slice_whatever_it_says(path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.Modality, ds.NumberOfFrames = "RTDOSE", 100_000_000
    ds.save_as(path)
    assert len(slices_of(path)) == 1
    assert read_slice(path).frame is None


def test_files_without_preamble_and_meta_information_are_read(path: Path, phantom: Volume) -> None:
    for implicit in (True, False):
        ds = pydicom.dcmread(path, force=True)
        del ds.file_meta
        ds.preamble = None
        ds.save_as(path, implicit_vr=implicit, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
        assert np.array_equal(hu_of(slices_of(path)[0]), phantom.voxels[0])


def test_no_file_an_empty_one_and_text_are_refused_by_name(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such file"):
        read_slice(tmp_path / "none")
    path.write_bytes(b"")
    with pytest.raises(InputError, match="99: the file is empty"):
        read_slice(path)
    path.write_bytes(b"\x08\x00\x05\x00CS" + bytes(range(256)) * 4)
    with pytest.raises(InputError, match="99"):
        hu_of(slices_of(path)[0])


def test_a_file_without_pixels_is_known(path: Path) -> None:
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    ds.save_as(path)
    (item,) = slices_of(path)
    assert item.pixels_at is None


def test_turning_to_a_file_is_said_at_debug_level(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "thoar")
    hu_of(slices_of(path)[0])
    assert f"{path}: its attributes" in caplog.text
    assert f"{path}: its pixels" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_structure_set_of_nothing_but_tiny_parts_takes_little_memory(path: Path) -> None:
    item = b"".join(struct.pack("<HH2sH", 0x3007, k, b"IS", 0) for k in range(1000))
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.save_as(path)
    rewrite(path, long_element(0x30060039, b"SQ", (mark(ITEM, len(item)) + item) * 2000))
    code = (
        "import re, sys; from pathlib import Path; from thoar.core.errors import InputError\n"
        "from thoar.io.structures.rtstruct_reader import read_rtstruct\n"
        "try: read_rtstruct(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    refusal, peak_kib = done.stdout.splitlines()
    assert "99: holds more than 256 MiB or 400000 elements" in refusal
    assert int(peak_kib) < 512 << 10
