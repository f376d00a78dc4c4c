# ruff: noqa: E501 (tables: one series a line)
"""Section A of the catalogue of faults: files that are absent, damaged or foreign."""

import struct
from collections.abc import Callable
from pathlib import Path

from proofs.dicom.cases import ANY_FILE, SMALL, Edit, Make, Refused, changed, series
from proofs.dicom.written import Files
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    HTJ2KLossless,
    RTPlanStorage,
    SecondaryCaptureImageStorage,
)

from thoar.core.errors import IncompleteSeriesError, InputError, UnsupportedFormatError

DAMAGED = "damaged|cut short|empty|truncated|bytes"

LACKS = f"{DAMAGED}|missing|absent|differs|has no"

COUNT = len(SMALL.origins_xyz_mm)


def _cut(name: str, keep: Callable[[int], int]) -> Make:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: keep(path.stat().st_size)])

    return series(after=spoil)


def _empty(old: str, new: str) -> Make:
    def spoil(folder: Path) -> None:
        (folder / old).unlink()
        (folder / new).write_bytes(b"")

    return series(after=spoil)


def _only(*names: str) -> Edit:
    return lambda files: [files.pop(name) for name in list(files) if name not in names]


def _nothing_but_a_text(folder: Path) -> None:
    (folder / "readme.txt").write_text("no series here\n" * 20, encoding="utf-8")


def _plans(files: Files) -> None:
    for ds in files.values():
        for keyword in ("PixelData", "Rows", "Columns"):
            delattr(ds, keyword)
        ds.Modality, ds.SOPClassUID = "RTPLAN", RTPlanStorage
        ds.file_meta.MediaStorageSOPClassUID = RTPlanStorage


def _suffixless(files: Files) -> None:
    for name in list(files):
        files[f"IM{name[6:8]}"] = files.pop(name)


def _secondary_capture(files: Files) -> None:
    for ds in files.values():
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        ds.ImageType = ["DERIVED", "SECONDARY"]
        del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing


_J2K_HEADER = (
    b"\xff\x4f\xff\x51"
    + struct.pack(
        ">HH8IH3B",
        41,
        0x4000,
        SMALL.shape_yx[1],
        SMALL.shape_yx[0],
        0,
        0,
        SMALL.shape_yx[1],
        SMALL.shape_yx[0],
        0,
        0,
        1,
        15,
        1,
        1,
    )
    + b"\xff\xd9"
)


def relabelled(syntax: str, frame: bytes, **values: object) -> Edit:
    """Return an edit that says that slice 5 is in a transfer syntax, and puts one frame of it."""

    def edit(files: Files) -> None:
        ds = files["slice_05.dcm"]
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].is_undefined_length = True
        changed([5], **values)(files)

    return edit


def _unknown_syntax(folder: Path) -> None:
    path = folder / "slice_05.dcm"
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.1\0", 1))


ABSENT = (
    Refused(id="A16a", what="an empty folder", make=series(_only()), file="series", finding="no DICOM"),
    Refused(id="A16b", what="a folder with a text", make=series(_only(), after=_nothing_but_a_text), file="series", finding="no DICOM"),
    Refused(id="A16c", what="RTPLANs and no image", make=series(_plans), file="series", finding="no DICOM|RTPLAN"),
    Refused(id="A16d", what="localizers and nothing else", make=series(changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])), file="series", finding="no DICOM|LOCALIZER|localizer"),
    Refused(id="A16e", what="no such folder", make=lambda folder: folder / "absent", file="absent", finding="no such", fix="check|give|no such"),
    Refused(id="A17a", what="one slice", make=series(_only("slice_05.dcm")), file="series|slice_05", finding="1 slice", error=IncompleteSeriesError),
    Refused(id="A17b", what="two slices", make=series(_only("slice_05.dcm", "slice_06.dcm")), file="series|slice_05", finding="2 slice", error=IncompleteSeriesError),
    Refused(id="A17c", what="one file of a series given", make=lambda folder: series()(folder) / "slice_05.dcm", file=r"slice_05\.dcm", finding="1 slice|one slice|folder", fix="folder|give", error=InputError),
    Refused(id="A18a", what="a file of no bytes", make=_empty("slice_05.dcm", "slice_05.dcm"), file=r"slice_05\.dcm", finding="empty"),
    Refused(id="A18b", what="the last file of no bytes", make=_empty("slice_12.dcm", "slice_12.dcm"), file=r"slice_12\.dcm", finding="empty"),
    Refused(id="A18c", what="the last of files without suffix, of no bytes", make=series(_suffixless, after=lambda folder: (folder / "IM12").write_bytes(b"")), file="IM12", finding="empty"),
    Refused(id="A19a", what="a file cut in the middle of its pixels", make=_cut("slice_05.dcm", lambda size: size - 330), file=r"slice_05\.dcm", finding=DAMAGED),
    Refused(id="A19b", what="a file cut before its position", make=_cut("slice_05.dcm", lambda size: 700), file=r"slice_05\.dcm", finding=LACKS),
    Refused(id="A19c", what="a file cut after its preamble", make=_cut("slice_05.dcm", lambda size: 132), file=r"slice_05\.dcm", finding=LACKS),
    Refused(id="A19d", what="the last file cut in the middle of its pixels", make=_cut("slice_12.dcm", lambda size: size - 330), file=r"slice_12\.dcm", finding=DAMAGED),
    Refused(id="A19e", what="a file with two bytes less", make=_cut("slice_05.dcm", lambda size: size - 2), file=r"slice_05\.dcm", finding=f"{DAMAGED}|pixel"),
    Refused(id="A19f", what="the last file cut after its preamble", make=_cut("slice_12.dcm", lambda size: 132), file=r"slice_12\.dcm", finding=LACKS),
    Refused(id="A19g", what="a file cut in the middle of its header", make=_cut("slice_05.dcm", lambda size: size // 2), file=r"slice_05\.dcm", finding=LACKS),
    Refused(id="A37b", what="a secondary capture without geometry", make=series(_secondary_capture), file=ANY_FILE, finding="ImagePositionPatient|ImageOrientationPatient|Secondary"),
    Refused(id="A39a", what="a syntax without decoder (HTJ2K)", make=series(relabelled(HTJ2KLossless, _J2K_HEADER)), file=r"slice_05\.dcm", finding="High-Throughput|HTJ2K", fix="install|store", error=UnsupportedFormatError),
    Refused(id="A39b", what="video (MPEG-2)", make=series(relabelled(MPEG2MPML, bytes(64))), file=r"slice_05\.dcm", finding="MPEG", error=UnsupportedFormatError),
    Refused(id="A39c", what="a transfer syntax that nobody knows", make=series(after=_unknown_syntax), file=r"slice_05\.dcm", finding=r"1\.2\.3\.4\.5", error=InputError),
)  # fmt: skip
