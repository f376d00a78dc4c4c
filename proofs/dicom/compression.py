"""Slices stored again in other transfer syntaxes."""

from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from proofs.dicom.written import Files, pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

_BY_GDCM = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
}


def stored_as(syntax: UID, *names: str) -> Callable[[Path], None]:
    """Return what stores files of a folder again in a JPEG syntax, all of them by default."""

    def store(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if not names or path.name in names:
                _by_gdcm(path, syntax)

    return store


def _by_gdcm(path: Path, syntax: UID) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(_BY_GDCM[syntax]))
    if not reader.Read():
        raise RuntimeError(f"gdcm cannot read {path}")
    change.SetInput(reader.GetImage())
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    if not change.Change():
        raise RuntimeError(f"gdcm cannot compress {path}")
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise RuntimeError(f"gdcm cannot write {path}")


def run_length(files: Files) -> None:
    """Store every slice run-length encoded."""
    for ds in files.values():
        ds.compress(RLELossless, generate_instance_uid=False)


def deflated(files: Files) -> None:
    """Store every file deflated."""
    for ds in files.values():
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def implicit(files: Files) -> None:
    """Store every file without value representations."""
    for ds in files.values():
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def big_endian(files: Files) -> None:
    """Store every file with the most significant byte first."""
    for ds in files.values():
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = np.asarray(pixels(ds)).astype(">u2").tobytes()


def bare(folder: Path) -> None:
    """Write files again without preamble and meta information, as implicit VR little endian."""
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        del ds.file_meta
        ds.preamble = None
        pydicom.dcmwrite(path, ds, implicit_vr=True, little_endian=True, enforce_file_format=False)
