# ruff: noqa: E501 (tables: one series a line)
"""Slices in odd company, order, place or folder: each must be found where it lies."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from proofs.dicom.cases import Edit, Readable, Taken, changed
from proofs.dicom.phantom import AXIAL, Orientation, sampled
from proofs.dicom.readable import holding
from proofs.dicom.refused_series import COUNT, RNG
from proofs.dicom.written import Files, copied, uid_of
from pydicom.uid import (
    RTPlanStorage,
)

ALL = list(range(COUNT))

COARSE = (5.0, 9.1, 8.3)


def _absent(k: int) -> tuple[Edit, list[int]]:
    return (lambda files: files.pop(f"slice_{k:02d}.dcm")), [i for i in ALL if i != k]


def _alone(edit_and_kept: tuple[Edit, list[int]]) -> Callable[[Path], Taken]:
    return holding(edit_and_kept[0], kept=edit_and_kept[1])


def _jittered(size_mm: float, *directions: float) -> Edit:
    """Return an edit that writes positions a little off; the phantom was scanned in the right places."""

    def edit(files: Files) -> None:
        for ds in files.values():
            place = np.array(ds.ImagePositionPatient, float) + RNG.uniform(-size_mm, size_mm) * np.array(
                directions
            )
            ds.ImagePositionPatient = [f"{v:.6f}" for v in place]

    return edit


def _same_again(files: Files) -> None:
    files["again.dcm"] = copied(files["slice_05.dcm"], "again")


def _copied_file(folder: Path) -> None:
    (folder / "copy of slice_05.dcm").write_bytes((folder / "slice_05.dcm").read_bytes())


def _localizer(image_type: list[str]) -> Edit:
    def edit(files: Files) -> None:
        ds = copied(files["slice_05.dcm"], "localizer")
        ds.ImageType, ds.ImageOrientationPatient = image_type, ["1", "0", "0", "0", "0", "-1"]
        files["a_localizer.dcm"] = ds

    return edit


def company(files: Files) -> None:
    """Add an RTPLAN to the files."""
    plan = copied(files["slice_05.dcm"], "plan")
    plan.Modality, plan.SOPClassUID = "RTPLAN", RTPlanStorage
    plan.file_meta.MediaStorageSOPClassUID, plan.SeriesInstanceUID = RTPlanStorage, uid_of("plan")
    del plan.PixelData, plan.Rows, plan.Columns
    files["plan.dcm"] = plan


def _litter(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(300))
    (folder / "notes.txt").write_text("a note\n" * 50, encoding="utf-8")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + _DIRECTORY_META)


_CLASS = b"1.2.840.10008.1.3.10\0" + b"\0"

_SYNTAX = b"1.2.840.10008.1.2.1\0"

_DIRECTORY_META = (
    b"".join(
        struct.pack("<HH2sH", 0x0002, element, b"UI", len(value)) + value
        for element, value in ((0x0002, _CLASS[:20]), (0x0003, b"1.2.3\0"), (0x0010, _SYNTAX))
    )
    + struct.pack("<HH2sH", 0x0004, 0x1130, b"CS", 4)
    + b"DISK"
)


def _nested(folder: Path) -> None:
    for k, path in enumerate(sorted(folder.iterdir())):
        target = folder / f"a{k % 3}" / f"b{k % 2}"
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)


def _loop(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "outside").symlink_to(folder.parent, target_is_directory=True)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dcm")


def _numbered(of_index: Callable[[int], int | None]) -> Edit:
    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            ds.InstanceNumber = of_index(k)

    return edit


def _per_slice(**values: Callable[[int], object]) -> Edit:
    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            for keyword, value in values.items():
                setattr(ds, keyword, value(k))

    return edit


def renamed(name_of: Callable[[str], str]) -> Callable[[Path], None]:
    """Return what gives the files of a folder other names."""

    def rename(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            path.rename(folder / name_of(path.name))

    return rename


def _moved(*parts: str) -> Callable[[Path], Path]:
    def move(folder: Path) -> Path:
        target = folder.parent.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        return folder.rename(target)

    return move


def _zipped(*, within: str = "", junk: bool = False) -> Callable[[Path], Path]:
    def pack(folder: Path) -> Path:
        path = folder.parent / "series.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{within}{file.name}")
                if junk:
                    archive.writestr(f"__MACOSX/._{file.name}", b"\0\5\26\7" + bytes(200))
        return path

    return pack


def _patched(old: bytes, new: bytes) -> Callable[[Path], None]:
    def patch(folder: Path) -> None:
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes().replace(old, new))

    return patch


def _with_preamble(head: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for path in folder.iterdir():
            path.write_bytes(head.ljust(128, b"\0")[:128] + path.read_bytes()[128:])

    return write


def _rounded_directions(files: Files) -> None:
    for ds in files.values():
        ds.ImageOrientationPatient = [f"{float(v):.4f}" for v in ds.ImageOrientationPatient]


def _odd_identity(files: Files) -> None:
    for ds in files.values():
        ds.PatientID, ds.AccessionNumber = "../../etc/\n\0x\u202e", "'; rm -rf $(HOME)"
        ds.StudyID, ds.PatientName = "-rf", "^" * 300


_TURNED = Orientation(
    name="couch 10°",
    along_row_xyz=(float(np.cos(0.1745)), float(np.sin(0.1745)), 0.0),
    along_column_xyz=(-float(np.sin(0.1745)), float(np.cos(0.1745)), 0.0),
)

_TIPPED = Orientation(
    name="tipped 12°",
    along_row_xyz=(1.0, 0.0, 0.0),
    along_column_xyz=(0.0, float(np.cos(0.2094)), float(np.sin(0.2094))),
)

_FEET_FIRST = Orientation(
    name="feet first", along_row_xyz=(-1, 0, 0), along_column_xyz=(0, 1, 0), patient_position="FFS"
)

_SAGITTAL = Orientation(name="sagittal", along_row_xyz=(0, 1, 0), along_column_xyz=(0, 0, -1))

CORONAL = Orientation(name="coronal", along_row_xyz=(1, 0, 0), along_column_xyz=(0, 0, -1))

_WIDE = sampled(AXIAL, (7.0, 4.0, 12.0))

PLACED = (
    Readable(id="A0", what="nothing odd", make=holding()),
    Readable(id="A3a", what="the first slice absent", make=_alone(_absent(0))),
    Readable(id="A3b", what="the last slice absent", make=_alone(_absent(COUNT - 1))),
    Readable(id="A5a", what="positions rounded, 0.01 mm off", make=holding(_jittered(0.01, 0, 0, 1))),
    Readable(id="A5b", what="positions 0.04 mm off, sideways too", make=holding(_jittered(0.04, 1, 1, 1))),
    Readable(id="A9", what="an image twice, by another UID", make=holding(_same_again, named=False), warns=r"again\.dcm|slice_05\.dcm"),
    Readable(id="A11", what="a file copied", make=holding(after=_copied_file)),
    Readable(id="A13a", what="a localizer in the series", make=holding(_localizer(["ORIGINAL", "PRIMARY", "LOCALIZER"])), warns="localizer"),
    Readable(id="A13b", what="a localizer that does not say so", make=holding(_localizer(["ORIGINAL", "PRIMARY", "AXIAL"])), warns=r"a_localizer\.dcm"),
    Readable(id="A14", what="RTPLAN, DICOMDIR, .DS_Store and texts beside it", make=holding(company, after=_litter)),
    Readable(id="A15a", what="nested folders", make=holding(after=_nested)),
    Readable(id="A15b", what="a link to itself and one outside", make=holding(after=_loop)),
    Readable(id="A20a", what="InstanceNumber shuffled", make=holding(_numbered(lambda k: (k * 5) % COUNT))),
    Readable(id="A20b", what="InstanceNumber all alike", make=holding(_numbered(lambda k: 1))),
    Readable(id="A20c", what="InstanceNumber absent", make=holding(changed(InstanceNumber=None))),
    Readable(id="A20d", what="file names against the order of slices", make=holding(after=renamed(lambda n: f"{99 - int(n[6:8])}.dcm"))),
    Readable(id="A21", what="SliceLocation of the wrong sign", make=holding(_per_slice(SliceLocation=lambda k: str(-5 * k)))),
    Readable(id="A22", what="SliceThickness lies", make=holding(changed(SliceThickness="77", SpacingBetweenSlices="1"))),
    Readable(id="A32", what="rows 4 mm, columns 12 mm apart", make=holding(sampling=_WIDE)),
    Readable(id="A34", what="another AcquisitionNumber in each half", make=holding(_per_slice(AcquisitionNumber=lambda k: 1 + k // 7))),
    Readable(id="A7", what="GantryDetectorTilt says 15°, the slices stand straight", make=holding(changed(GantryDetectorTilt="15"))),
    Readable(id="A25", what="directions rounded to four decimals", make=holding(_rounded_directions, sampling=sampled(_TURNED, COARSE))),
    Readable(id="A29", what="numbers with spaces and exponents", make=holding(changed(SliceThickness="77"), after=_patched(b"9.1000000000", b"  0.91E+1   "))),
    Readable(id="A43a", what="turned 10° about z", make=holding(sampling=sampled(_TURNED, COARSE))),
    Readable(id="A43b", what="tipped 12° about x, stacked at right angles", make=holding(sampling=sampled(_TIPPED, COARSE))),
    Readable(id="A44a", what="PatientPosition says prone, directions supine", make=holding(changed(PatientPosition="HFP")), warns="PatientPosition"),
    Readable(id="A44b", what="feet first", make=holding(changed(PatientPosition="FFS"), sampling=sampled(_FEET_FIRST, COARSE))),
    Readable(id="C5", what="sagittal", make=holding(sampling=sampled(_SAGITTAL, COARSE))),
    Readable(id="C9", what="coronal", make=holding(sampling=sampled(CORONAL, COARSE))),
)  # fmt: skip

NAMES = (
    Readable(id="D7", what="preambles of a program for Windows", make=holding(after=_with_preamble(b"MZ\x90\0\3\0\0\0"))),
    Readable(id="D8", what="identities like paths, commands and novels", make=holding(_odd_identity)),
    Readable(id="D9a", what="a Japanese name", make=holding(changed(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎"))),
    Readable(id="D9b", what="a character set that nobody knows", make=holding(changed(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"), after=_patched(b"ISO_IR 100", b"ISO_IR 987"))),
    Readable(id="D12", what="a pipe in the folder", make=holding(after=_pipe)),
    Readable(id="D15a", what="spaces, quotes, $() and ; in the path", make=holding(after=_moved("it's a \"dir\"; $(x)", "CT & co"))),
    Readable(id="D15b", what="a path of other alphabets", make=holding(after=_moved("Ωλ・胸部・Brustkorb " + "ö" * 60))),
    Readable(id="D15c", what="names that begin with a dash", make=holding(after=renamed(lambda n: f"--{n}"))),
    Readable(id="D10a", what="a zip", make=holding(after=_zipped())),
    Readable(id="D10b", what="a zip with folders and a Macintosh's litter", make=holding(after=_zipped(within="a/b c/", junk=True))),
)  # fmt: skip
