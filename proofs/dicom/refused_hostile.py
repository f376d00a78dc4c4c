# ruff: noqa: E501 (tables: one series a line)
"""Section D of the catalogue of faults: files and archives made to hurt."""

import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from proofs.dicom.cases import Edit, Make, Refused, changed, series, without
from proofs.dicom.refused_files import DAMAGED, relabelled
from proofs.dicom.refused_frames import enhanced
from proofs.dicom.refused_series import second_series
from proofs.dicom.written import Files
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)

from thoar.core.errors import InputError, ThoarError


def _deep(levels: int) -> Callable[[Path], None]:
    """Put so many sequences into one another in front of a slice's pixels; written by hand, as bytes."""
    opening = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

    def spoil(folder: Path) -> None:
        path = folder / "slice_05.dcm"
        data = path.read_bytes()
        cut = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
        path.write_bytes(data[:cut] + opening * levels + closing * levels + data[cut:])

    return spoil


def _endless(folder: Path) -> None:
    """Begin a sequence of undefined length in a slice, and end the file in it."""
    path = folder / "slice_05.dcm"
    data = path.read_bytes()
    cut = data.index(struct.pack("<HH", 0x0028, 0x0002))
    sequence = struct.pack("<HH2sHI", 0x0008, 0x2112, b"SQ", 0, 0xFFFFFFFF)
    path.write_bytes(data[:cut] + sequence + b"\xfe\xff\x00\xe0\xff\xff\xff\xff")


def _bomb(folder: Path) -> None:
    """Make a slice of a megabyte, deflated, that inflates to a gigabyte."""
    path = folder / "slice_05.dcm"
    data = path.read_bytes()
    end = 132 + 12 + struct.unpack("<I", data[140:144])[0]
    meta, body = data[:end], data[end:]
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    private = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 2**30)
    with path.open("wb") as file:
        file.write(meta)
        file.write(deflate.compress(body[:0] + private))
        for _ in range(2**10):
            file.write(deflate.compress(bytes(2**20)))
        file.write(deflate.compress(body) + deflate.flush())


def _deflated(files: Files) -> None:
    files["slice_05.dcm"].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def zipped(spoil: Callable[[zipfile.ZipFile, Path], object] | None = None, edit: Edit | None = None) -> Make:
    """Return a maker of a zip with a series, to which entries are added."""

    def make(folder: Path) -> Path:
        source, path = series(edit)(folder), folder / "series.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for file in sorted(source.iterdir()):
                archive.write(file, file.name)
            if spoil is not None:
                spoil(archive, source)
        return path

    return make


def _entry(
    name: str, data: bytes = b"x" * 200, mode: int = 0o100644
) -> Callable[[zipfile.ZipFile, Path], None]:
    def spoil(archive: zipfile.ZipFile, source: Path) -> None:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, mode << 16
        archive.writestr(entry, data)

    return spoil


def _double_entry(archive: zipfile.ZipFile, source: Path) -> None:
    archive.writestr("slice_05.dcm", (source / "slice_06.dcm").read_bytes())


def _many(archive: zipfile.ZipFile, source: Path) -> None:
    for k in range(30_000):
        archive.writestr(f"{k}", b"")


def _zip_bomb(archive: zipfile.ZipFile, source: Path) -> None:
    with archive.open("slice_99.dcm", "w", force_zip64=True) as file:
        file.write(b"\0" * 128 + b"DICM")
        for _ in range(2**10):
            file.write(bytes(2**20))


def _altered(make: Make, change: Callable[[bytes], bytes]) -> Make:
    def altered(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return altered


def _flipped(data: bytes) -> bytes:
    middle = data.index(b"slice_05.dcm") + 400
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def _encrypted(data: bytes) -> bytes:
    """Set the flag that says "encrypted" in every header, local and central."""
    changed_ = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            changed_[at + offset] |= 1
            at = data.find(signature, at + 4)
    return bytes(changed_)


def _forged(data: bytes) -> bytes:
    """Say in the directory that slice 5 is 10 bytes long."""
    at = data.index(b"PK\x01\x02", data.index(b"PK\x05\x06") - 22 - (46 + 12) * 14)
    while data[at + 46 : at + 58] != b"slice_05.dcm":
        at = data.index(b"PK\x01\x02", at + 4)
    return data[: at + 24] + struct.pack("<I", 10) + data[at + 28 :]


def _nothing_zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w"):
        pass
    return path


HOSTILE = (
    Refused(id="A41", what="Rows and Columns of 60000", make=series(changed(Rows=60000, Columns=60000)), file=r"slice_\d\d\.dcm|series", finding="60000", hostile=True),
    Refused(id="D2a", what="sequences 300 deep", make=series(after=_deep(300)), file=r"slice_05\.dcm", finding="damaged|deep|nested|sequence", hostile=True),
    Refused(id="D2b", what="sequences 5,000 deep", make=series(after=_deep(5000)), file=r"slice_05\.dcm", finding="damaged|deep|nested|sequence", hostile=True),
    Refused(id="D3", what="a deflated file of a megabyte that inflates to a gigabyte", make=series(_deflated, after=_bomb), file=r"slice_05\.dcm", finding="deflate|inflate|Deflate|bytes", hostile=True),
    Refused(id="D4", what="an RLE frame said to be 65535 x 65535", make=series(relabelled(RLELossless, bytes(200), Rows=65535, Columns=65535)), file=r"slice_05\.dcm", finding="65535", hostile=True),
    Refused(id="D5", what="NumberOfFrames of 2 to the 31st", make=enhanced(lambda ds: setattr(ds, "NumberOfFrames", 2**31 - 1)), file=r"enhanced\.dcm", finding="NumberOfFrames|frames|2147483647", hostile=True),
    Refused(id="D6", what="a sequence without end", make=series(after=_endless), file=r"slice_05\.dcm", finding=f"{DAMAGED}|missing|has no|Bits|Samples", hostile=True),
    Refused(id="D10a", what="a zip with ../ in it", make=zipped(_entry("../evil.dcm")), file=r"series\.zip", finding=r"\.\./evil", error=InputError),
    Refused(id="D10b", what="a zip with an absolute name", make=zipped(_entry("/evil.dcm")), file=r"series\.zip", finding="/evil", error=InputError),
    Refused(id="D10c", what="a zip with a symbolic link", make=zipped(_entry("link", b"/etc/passwd", 0o120777)), file=r"series\.zip", finding="link", error=InputError),
    Refused(id="D10d", what="a zip with one name twice", make=zipped(_double_entry), file=r"series\.zip", finding=r"slice_05", error=InputError),
    Refused(id="D10e", what="a zip that is encrypted", make=_altered(zipped(), _encrypted), file=r"series\.zip", finding="encrypt|password", error=InputError),
    Refused(id="D10f", what="a zip bomb of a gigabyte", make=zipped(_zip_bomb), file=r"series\.zip", finding="slice_99|bytes|ratio|GiB|MiB", hostile=True),
    Refused(id="D10g", what="a zip of 30,000 entries", make=zipped(_many), file=r"series\.zip", finding="entries|files|30", hostile=True),
    Refused(id="D10h", what="a zip with a flipped byte", make=_altered(zipped(), _flipped), file=r"series\.zip", finding="slice_05|damaged", error=InputError),
    Refused(id="D10i", what="a zip cut short", make=_altered(zipped(), lambda data: data[: len(data) * 2 // 3]), file=r"series\.zip", finding="zip|damaged", error=InputError),
    Refused(id="D10j", what="a zip that lies about a size", make=_altered(zipped(), _forged), file=r"series\.zip", finding="slice_05|damaged", error=InputError),
    Refused(id="D10k", what="a zip with a gap in its series", make=zipped(edit=without(5)), file=r"slice_04\.dcm.*slice_06\.dcm", finding="10", fix="--fill-gaps", error=InputError),
    Refused(id="D10l", what="a zip of nothing", make=lambda folder: _nothing_zipped(folder / "series.zip"), file=r"series\.zip", finding="no DICOM|empty|nothing|neither DICOM", error=ThoarError),
    Refused(id="D10n", what="a zip with two series", make=zipped(edit=second_series()), file=r"series\.zip", finding="2 series", fix="--series"),
    Refused(id="D10m", what="a backslash in a zip's name", make=zipped(_entry("..\\evil.dcm")), file=r"series\.zip", finding="evil", error=InputError),
)  # fmt: skip
