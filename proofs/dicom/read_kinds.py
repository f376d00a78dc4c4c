# ruff: noqa: E501 (tables: one series a line)
"""Files of every kind that holds a CT: Enhanced, compressed, bare, large, stripped of identity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from proofs.dicom.cases import SMALL, Readable, Taken, changed
from proofs.dicom.compression import bare, big_endian, deflated, implicit, run_length, stored_as
from proofs.dicom.phantom import AXIAL, Orientation, hounsfield, sampled
from proofs.dicom.read_places import ALL, COARSE, CORONAL, company, renamed
from proofs.dicom.readable import holding
from proofs.dicom.written import Files, enhanced_file, save, slice_files
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)


def enhanced(
    order: list[int] | None = None,
    *,
    edit: Callable[[Dataset], object] | None = None,
    orientation: Orientation = AXIAL,
) -> Callable[[Path], Taken]:
    """Return a maker of one Enhanced CT that can be read, its frames in any order."""

    def make(folder: Path) -> Taken:
        sampling = SMALL if orientation is AXIAL else sampled(orientation, COARSE)
        sampling = sampling.taking(order or list(range(len(sampling.origins_xyz_mm))))
        hu = hounsfield(sampling.points_xyz_mm)
        ds = enhanced_file(sampling, hu)
        if edit is not None:
            edit(ds)
        save({"enhanced.dcm": ds}, folder)
        return Taken(path=folder / "enhanced.dcm", sampling=sampling, hu=hu)

    return make


def _own_rescale(ds: Dataset) -> None:
    """Give every frame an intercept of its own, in its own functional group."""
    del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    planes = np.frombuffer(ds.PixelData, dtype="<u2").reshape(-1, ds.Rows, ds.Columns).astype(np.int64)
    for k, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", str(-1024 - 10 * k), "HU"
        frame.PixelValueTransformationSequence = [values]
        planes[k] += 10 * k
    ds.PixelData = planes.astype("<u2").tobytes()


def _legacy(ds: Dataset) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage


def _secondary_capture(files: Files) -> None:
    for ds in files.values():
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        ds.ImageType = ["DERIVED", "SECONDARY"]


def _enhanced_in_folder(folder: Path) -> Taken:
    hu = hounsfield(SMALL.points_xyz_mm)
    files = {"enhanced.dcm": enhanced_file(SMALL, hu)}
    slices = slice_files(SMALL, hu)
    company(slices)
    files["plan.dcm"] = slices["plan.dcm"]
    return Taken(path=save(files, folder / "series"), sampling=SMALL, hu=hu)


def _grown_apart(files: Files) -> None:
    for keyword in (
        "PatientID",
        "PatientName",
        "SOPClassUID",
        "PatientPosition",
        "SliceThickness",
        "StudyDate",
    ):
        changed(**{keyword: None})(files)


def _large(folder: Path) -> Taken:
    sampling = sampled(AXIAL, (30.0, 0.13, 0.173)).taking([1, 2, 3])
    return holding(sampling=sampling)(folder)


_MPR = ["DERIVED", "SECONDARY", "AXIAL", "MPR"]

KINDS = (
    Readable(id="A36a", what="Enhanced CT", make=enhanced()),
    Readable(id="A36b", what="Enhanced CT, frames from head to feet", make=enhanced(ALL[::-1])),
    Readable(id="A36c", what="Enhanced CT, frames in any order", make=enhanced([5, 0, 9, 3, 12, 7, 1, 11, 4, 10, 2, 8, 6])),
    Readable(id="A36d", what="Enhanced CT, an intercept of every frame's own", make=enhanced(edit=_own_rescale)),
    Readable(id="A36e", what="Legacy Converted Enhanced CT", make=enhanced(edit=_legacy)),
    Readable(id="A36f", what="Enhanced CT, coronal", make=enhanced(orientation=CORONAL)),
    Readable(id="A37", what="a derived reconstruction (MPR)", make=holding(changed(ImageType=_MPR)), warns="ImageType|DERIVED"),
    Readable(id="A37b", what="a secondary capture with geometry", make=holding(_secondary_capture), warns="Secondary|SOPClassUID|DERIVED|ImageType"),
    Readable(id="A38", what="RescaleType other than HU", make=holding(changed(RescaleType="US")), warns="RescaleType"),
    Readable(id="A39a", what="RLE", make=holding(run_length)),
    Readable(id="A39b", what="JPEG lossless", make=holding(after=stored_as(JPEGLosslessSV1))),
    Readable(id="A39c", what="JPEG-LS lossless", make=holding(after=stored_as(JPEGLSLossless))),
    Readable(id="A39d", what="JPEG 2000 lossless", make=holding(after=stored_as(JPEG2000Lossless))),
    Readable(id="A39e", what="transfer syntaxes mixed", make=holding(after=stored_as(JPEGLSLossless, "slice_03.dcm", "slice_07.dcm"))),
    Readable(id="A39f", what="deflated", make=holding(deflated)),
    Readable(id="A39g", what="implicit VR", make=holding(implicit)),
    Readable(id="B21", what="big endian", make=holding(big_endian)),
    Readable(id="A40a", what="no preamble, no meta information", make=holding(after=bare)),
    Readable(id="A40b", what="names that end in .ima", make=holding(after=renamed(lambda n: n.replace("slice_", "CT.1.").replace(".dcm", ".IMA")))),
    Readable(id="A40c", what="names without ending", make=holding(after=renamed(lambda n: f"I{n[6:8]}"))),
    Readable(id="A41", what="1015 x 1018 pixels of 0.13 x 0.17 mm", make=_large),
    Readable(id="A36g", what="NumberOfFrames 1 in files of one slice", make=holding(changed(NumberOfFrames=1))),
    Readable(id="A36h", what="Enhanced CT beside an RTPLAN, in a folder", make=_enhanced_in_folder),
    Readable(id="I12b", what="no FrameOfReferenceUID anywhere", make=holding(changed(FrameOfReferenceUID=None)), warns="FrameOfReferenceUID"),
    Readable(id="I12c", what="no SeriesInstanceUID anywhere", make=holding(changed(SeriesInstanceUID=None))),
    Readable(id="I12", what="no PatientID, name, SOPClassUID, date", make=holding(_grown_apart)),
)  # fmt: skip
