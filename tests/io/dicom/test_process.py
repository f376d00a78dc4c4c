import logging
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from thoar.core.errors import GeometryError, IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.io.dicom import process, series
from thoar.io.dicom.process import read_series
from thoar.io.dicom.process_messages import MAXIMUM_MESSAGE_BYTES, Done, Fault, Opened, Voxels, receive, send
from thoar.io.dicom.records import ReadOptions

Write = Callable[..., Path]

MEMORY_BYTES = 512 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module and signals")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def worker_that(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader process run other code after its imports."""
    start = process._START.replace("; serve()", f"; {code}")
    monkeypatch.setattr(process, "_START", start)


def readers_marked(mark: str) -> int:
    """Count the running reader processes whose code holds a mark."""
    count = 0
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            words = line.read_bytes().split(b"\0")
            count += mark.encode() in b" ".join(words) and b"-P" in words
    return count


def test_a_series_comes_as_it_would_in_this_process(
    phantom: Volume, write_series: Write, scratch: Path
) -> None:
    folder = write_series(phantom)
    there, here = read_series(folder), series.read_series(folder)
    assert there.stack.voxels.dtype == np.int16
    assert np.array_equal(there.stack.voxels, here.stack.voxels)
    for name in ("origins_xyz_mm", "along_row_xyz", "along_column_xyz", "spacing_yx_mm", "shape_yx"):
        assert np.array_equal(getattr(there.stack.planes, name), getattr(here.stack.planes, name))
    assert there.references == here.references
    assert there.identity == here.identity
    assert there.volume is not None
    assert not any(scratch.iterdir())


def test_float_slices_come_as_float(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.RescaleSlope = "0.5" if k == 3 else "1"

    folder = write_series(phantom, edit=edit)
    found = read_series(folder).stack.voxels
    assert found.dtype == np.float32
    assert np.array_equal(found, series.read_series(folder).stack.voxels)


def test_a_path_and_options_of_any_kind_arrive(phantom: Volume, write_series: Write, tmp_path: Path) -> None:
    name = "-r $(x); 'ä\u202e" if sys.platform == "win32" else os.fsdecode(b"-r $(x); 'a\xff\xe4\n")
    folder = write_series(phantom).rename(tmp_path / name)
    (folder / "99").rename(folder / name.replace("\n", "-"))
    assert len(read_series(folder).references) == 5
    uid = pydicom.dcmread(folder / "98").SeriesInstanceUID
    assert len(read_series(folder, ReadOptions(series=uid[-8:])).references) == 5
    with pytest.raises(InputError, match="--series") as caught:
        read_series(folder, ReadOptions(series="9.9.9"))
    assert str(caught.value).startswith(str(folder))


def test_a_zip_is_read_and_its_entries_are_named(
    phantom: Volume, write_series: Write, tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    pydicom.dcmread(folder / "97").save_as(folder / "copy")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"CT/{path.name}.dcm")
    found = read_series(tmp_path / "scan.zip")
    assert np.array_equal(found.stack.voxels, phantom.voxels)
    assert f"{tmp_path}/scan.zip/CT/" in caplog.text
    assert "thoar-zip-" not in caplog.text
    assert {reference.file for reference in found.references} <= {
        f"{k}.dcm" for k in (*range(95, 100), "copy")
    }
    with zipfile.ZipFile(tmp_path / "scan.zip", "a") as archive:
        archive.writestr("CT/bad.dcm", (folder / "97").read_bytes()[:600])
    with pytest.raises(InputError, match=r"scan\.zip/CT/bad\.dcm: "):
        read_series(tmp_path / "scan.zip")
    assert not any(scratch.iterdir())


@pytest.mark.parametrize(
    ("keyword", "kind"),
    [
        ("ImagePositionPatient", GeometryError),
        ("PatientID", IncompleteSeriesError),
        (None, UnsupportedFormatError),
    ],
)
def test_an_error_comes_back_as_its_own_class(
    keyword: str | None, kind: type[InputError], phantom: Volume, write_series: Write
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if keyword == "ImagePositionPatient" and k == 2:
            del ds.ImagePositionPatient
        elif keyword == "PatientID":
            ds.PatientID = f"Secret{k}"
        elif keyword is None:
            ds.Modality = "MR"

    with pytest.raises(kind) as caught:
        read_series(write_series(phantom, edit=edit))
    assert type(caught.value) is kind
    assert "Secret" not in str(caught.value)


def test_warnings_come_here_and_many_alike_are_counted(
    write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = np.zeros((9, 4, 5), dtype=np.int16)
    voxels[:] = np.arange(9)[:, None, None]

    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.LossyImageCompression = "01"

    volume = Volume(voxels=voxels, geometry=Geometry.axial((9, 4, 5), (1.0, 1.0, 1.0)))
    read_series(write_series(volume, edit=edit))
    lossy = [r for r in caplog.records if "was compressed with loss" in r.getMessage()]
    assert len(lossy) == 4
    assert {(r.name, r.levelno, r.thread) for r in lossy} == {
        ("thoar.io.dicom.pixels", logging.WARNING, threading.get_ident())
    }
    assert "the last of 9 such remarks" in lossy[-1].getMessage()
    assert "Nobody" not in caplog.text


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import sys; sys.exit(7)", "its reader process ended with status 7, at its start"),
        pytest.param("import os; os.kill(os.getpid(), 11)", "ended by signal 11, at its start", marks=posix),
        ("import os; os.write(1, b'x' * 99)", "the reader process announced a message of"),
        ("import os; os.write(1, b'\\x05' + bytes(7) + b'x' * 5)", "sent what is no message"),
        ("import os; os.write(1, b'\\x50' + bytes(7) + b'x' * 5)", "the reader process was cut short"),
        ("import time; time.sleep(60)", "its reader stood still for 0.5 s at its start"),
    ],
)
def test_a_reader_that_fails_is_an_error_that_names_the_path(
    code: str, found: str, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    worker_that(code, monkeypatch)
    with pytest.raises(InputError, match=f"^scan: .*{found}"):
        read_series(Path("scan"), patience_s=0.5 if "sleep" in code else 30.0)
    assert not any(scratch.iterdir())


def test_what_stood_still_is_named(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(phantom)
    stuck = (
        "import thoar.io.dicom.pixels as p, time; "
        "p.stored_pixels = lambda item: (p._log.debug('%s: here', item.name), time.sleep(60)); serve()"
    )
    worker_that(stuck, monkeypatch)
    with pytest.raises(InputError, match=rf"stood still for 6 s at {folder}/\d\d: here; the file is damaged"):
        read_series(folder, patience_s=6)


def test_an_error_that_nobody_foresaw_is_an_input_error_without_its_text(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(phantom)
    broken = "import thoar.io.dicom.series as s; s.open_series = lambda *_: {}['Secret']; serve()"
    worker_that(broken, monkeypatch)
    with pytest.raises(InputError, match=r"cannot be read as a DICOM series \(KeyError\)") as caught:
        read_series(folder)
    assert "Secret" not in str(caught.value)


def test_prints_of_libraries_are_no_messages(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = (
        "import thoar.io.dicom.pixels as p, os; "
        "real = p.stored_pixels; "
        "p.stored_pixels = lambda item: (os.write(1, b'noise'), print('noise'), real(item))[-1]; serve()"
    )
    worker_that(noisy, monkeypatch)
    assert len(read_series(write_series(phantom)).references) == 5


def test_more_voxels_than_are_read_are_refused_before_memory_is_taken(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAXIMUM_VOXELS", 200)
    with pytest.raises(InputError, match=r"holds 5 × 6 × 7 voxels"):
        read_series(write_series(phantom))


def slices_of_a_lie(*messages: Opened | Voxels | Fault | Done) -> bytes:
    stream = BytesIO()
    for message in messages:
        send(stream, message)
    return stream.getvalue()


OPENED = Opened(
    origins_xyz_mm=((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    along_row_xyz=(1.0, 0.0, 0.0),
    along_column_xyz=(0.0, 1.0, 0.0),
    spacing_yx_mm=(1.0, 1.0),
    shape_yx=(2, 2),
    references=(),
    identity=b"",
)
PLANE = Voxels(whole=True, data=bytes(8))


@pytest.mark.parametrize(
    ("messages", "found", "kind"),
    [
        ((PLANE, Done()), "sent no series", InputError),
        ((Done(),), "sent no series", InputError),
        ((OPENED, PLANE, Done()), "sent 1 of 2 slices", InputError),
        ((OPENED, PLANE, PLANE, PLANE, Done()), "other slices than it announced", InputError),
        ((OPENED, Voxels(whole=False, data=bytes(8)), Done()), "other slices than", InputError),
        ((OPENED, OPENED, Done()), "other slices than", InputError),
        ((OPENED, PLANE), "ended with status 0", InputError),
        ((Fault(kind="GeometryError", text=b"ours"),), "ours", GeometryError),
        ((Fault(kind="ThoarError", text=b"ours"),), "ours", Exception),
        ((Fault(kind="Path", text=b"theirs"),), "theirs", InputError),
        ((Fault(kind="exit_code_of", text=b"theirs"),), "theirs", InputError),
        ((Fault(kind="__class__", text=b"theirs"),), "theirs", InputError),
    ],
)
def test_a_reader_that_lies_is_not_believed(
    messages: tuple, found: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lie").write_bytes(slices_of_a_lie(*messages))
    worker_that(
        f"import sys; sys.stdout.buffer.write(open({str(tmp_path / 'lie')!r}, 'rb').read())", monkeypatch
    )
    with pytest.raises(kind, match=found):
        read_series(Path("scan"))


def test_a_message_longer_than_any_slice_is_refused() -> None:
    with pytest.raises(InputError, match="announced a message"):
        receive(BytesIO((MAXIMUM_MESSAGE_BYTES + 1).to_bytes(8, "little")))


@linux
def test_an_interrupt_leaves_no_reader_behind(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    worker_that(f"import time; mark = {str(scratch)!r}; time.sleep(60)", monkeypatch)
    seen: list[int] = []

    def interrupt() -> None:
        seen.append(readers_marked(str(scratch)))
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    try:
        threading.Timer(1.0, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            read_series(write_series(phantom))
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]
    assert not readers_marked(str(scratch))
    assert not any(scratch.iterdir())


@linux
def test_a_reader_whose_parent_is_gone_ends(phantom: Volume, write_series: Write, tmp_path: Path) -> None:
    mark = f"{tmp_path}/mark"
    code = f"""
import os
from pathlib import Path
from thoar.io.dicom import process
process._START = process._START.replace("serve()", "import time; {mark!r}; time.sleep(1); serve()")
process.queue.Queue.get = lambda *_, **__: os.kill(os.getpid(), 9)
process.read_series(Path({str(write_series(phantom))!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == -signal.SIGKILL
    patience = time.monotonic() + 30
    while readers_marked(mark):
        assert time.monotonic() < patience
        time.sleep(0.1)


def deflated_bomb(folder: Path) -> None:
    meta = (folder / "97").read_bytes()
    ds = pydicom.dcmread(folder / "97")
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = BytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, ds.file_meta, enforce_standard=False)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = compressor.compress(struct.pack("<HH2sH", 8, 5, b"CS", 10) + b"ISO_IR 100")
    body += compressor.flush(zlib.Z_FULL_FLUSH)
    body += (compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)) * 1024
    body += compressor.flush()
    (folder / "97").write_bytes(meta[:132] + buffer.getvalue() + body)
    assert (folder / "97").stat().st_size < 2 << 20


def before_the_elements(folder: Path, extra: bytes) -> None:
    ds = pydicom.dcmread(folder / "97")
    data = (folder / "97").read_bytes()
    start = 132 + 12 + ds.file_meta.FileMetaInformationGroupLength
    (folder / "97").write_bytes(data[:start] + extra + data[start:])


def deep_sequences(folder: Path) -> None:
    opening = struct.pack("<HH2sHIHHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    before_the_elements(folder, opening * 5000 + closing * 5000)


def many_items(folder: Path) -> None:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2_000_000
    before_the_elements(folder, struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, 0xFFFFFFFF) + items)


def many_items_of_defined_length(folder: Path) -> None:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_900_000
    before_the_elements(folder, struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, len(items)) + items)


def spoiling(edit: Callable[[pydicom.Dataset], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        ds = pydicom.dcmread(folder / "97")
        edit(ds)
        ds.save_as(folder / "97")

    return spoil


def huge_rows(ds: pydicom.Dataset) -> None:
    ds.Rows = ds.Columns = 65535


def huge_frames(ds: pydicom.Dataset) -> None:
    ds.NumberOfFrames = 2**31 - 1


def huge_run_length(ds: pydicom.Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = RLELossless
    runs = b"\x81\x00" * (4 << 20)
    segments = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs * 2
    ds.PixelData = pydicom.encaps.encapsulate([segments])
    ds["PixelData"].VR = "OB"


BOMBS = {
    "deflated, 1 MB to 1 GiB": (deflated_bomb, "97: is deflated .* more than 64 MiB"),
    "Rows and Columns": (spoiling(huge_rows), "97: declares 65535 × 65535 pixels"),
    "NumberOfFrames": (spoiling(huge_frames), "97: declares .* 2147483647 frames"),
    "sequences 5,000 deep": (deep_sequences, "97: cannot be read as DICOM"),
    "two million items": (many_items, "97: holds more than"),
    "two million items of defined length": (many_items_of_defined_length, "97: its sequences have more than"),
    "run length, 16 MB to 1 GiB": (spoiling(huge_run_length), "97: "),
}


def peak_of(path: Path) -> tuple[str, int]:
    """Return what reading a path raises, and how much memory the reader took at most."""
    code = (
        "import resource, sys; from pathlib import Path; from thoar.io.dicom.process import read_series\n"
        "from thoar.core.errors import InputError\n"
        "try: read_series(Path(sys.argv[1])); found = 'read'\n"
        "except InputError as error: found = str(error)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, found)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    peak, _, found = done.stdout.partition(" ")
    return found.strip(), int(peak) * (1 if sys.platform == "darwin" else 1024)


@posix
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_a_typed_error_within_little_memory(
    name: str, phantom: Volume, write_series: Write
) -> None:
    spoil, expected = BOMBS[name]
    folder = write_series(phantom)
    spoil(folder)
    found, peak = peak_of(folder)
    assert found != "read"
    assert str(folder) in found
    assert re.search(expected, found)
    assert peak < MEMORY_BYTES


@posix
def test_a_zip_bomb_ends_in_a_typed_error_within_little_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.dcm", bytes(100 << 20), compresslevel=1)
    found, peak = peak_of(tmp_path / "bomb.zip")
    assert "would unpack to 300 MiB" in found
    assert peak < MEMORY_BYTES


@posix
def test_memory_beyond_the_bound_is_refused_by_the_system(
    phantom: Volume, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(phantom)
    greedy = "import thoar.io.dicom.pixels as p; p.stored_pixels = lambda item: b'x' * (1 << 30); serve()"
    worker_that(greedy, monkeypatch)
    with pytest.raises(InputError, match=r"MemoryError|takes more memory"):
        read_series(folder)
