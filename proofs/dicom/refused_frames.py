# ruff: noqa: E501 (tables: one series a line)
"""Section A of the catalogue of faults: multi-frame files whose frames make no one series."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from proofs.dicom.cases import SMALL, Make, Refused
from proofs.dicom.phantom import hounsfield
from proofs.dicom.refused_files import DAMAGED
from proofs.dicom.refused_series import TURNED
from proofs.dicom.written import enhanced_file, save
from pydicom.dataset import Dataset


def enhanced(edit: Callable[[Dataset], object] | None = None) -> Make:
    """Return a maker of one Enhanced CT file."""

    def make(folder: Path) -> Path:
        ds = enhanced_file(SMALL, hounsfield(SMALL.points_xyz_mm))
        if edit is not None:
            edit(ds)
        save({"enhanced.dcm": ds}, folder)
        return folder / "enhanced.dcm"

    return make


def _turned_frame(ds: Dataset) -> None:
    for k, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        orientation = Dataset()
        orientation.ImageOrientationPatient = TURNED if k == 5 else [1, 0, 0, 0, 1, 0]  # noqa: PLR2004
        frame.PlaneOrientationSequence = [orientation]
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def _other_spacing(ds: Dataset) -> None:
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["9.1", "9.1"], "5"
    ds.PerFrameFunctionalGroupsSequence[5].PixelMeasuresSequence = [measures]


def _frames_kept(*kept: int) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        size = ds.Rows * ds.Columns * 2
        ds.PixelData = b"".join(ds.PixelData[k * size : (k + 1) * size] for k in kept)
        ds.PerFrameFunctionalGroupsSequence = [ds.PerFrameFunctionalGroupsSequence[k] for k in kept]
        ds.NumberOfFrames = len(kept)

    return edit


def _no_place(ds: Dataset) -> None:
    del ds.PerFrameFunctionalGroupsSequence[5].PlanePositionSequence


def _no_spacing(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def _no_rescale(ds: Dataset) -> None:
    del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence


def _fewer_groups(ds: Dataset) -> None:
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:-2]


def phases(ds: Dataset) -> None:
    """Put two frames into each place, told apart by TemporalPositionIndex (PS3.3 C.7.6.16.2.2)."""
    second = np.frombuffer(ds.PixelData, dtype="<u2") + np.uint16(5)
    ds.PixelData += second.tobytes()
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    for number in (1, 2):
        for frame in frames:
            frame.FrameContentSequence[0].TemporalPositionIndex = 1
            if number == 2:  # noqa: PLR2004
                other = Dataset.from_json(frame.to_json())
                other.FrameContentSequence[0].TemporalPositionIndex = 2
                ds.PerFrameFunctionalGroupsSequence.append(other)
    ds.NumberOfFrames = len(ds.PerFrameFunctionalGroupsSequence)


def _two_enhanced(folder: Path) -> Path:
    one = enhanced_file(SMALL, hounsfield(SMALL.points_xyz_mm))
    two = enhanced_file(SMALL, hounsfield(SMALL.points_xyz_mm) + np.int16(9))
    two.SOPInstanceUID = two.file_meta.MediaStorageSOPInstanceUID = f"{one.SOPInstanceUID}.2"[-60:].lstrip(
        ".0"
    )
    return save({"one.dcm": one, "two.dcm": two}, folder / "series")


FRAMES = (
    Refused(id="A36a", what="Enhanced CT with a frame left out", make=enhanced(_frames_kept(0, 1, 2, 3, 5, 6, 7, 8)), file=r"enhanced\.dcm", finding="10", fix="--fill-gaps"),
    Refused(id="A36b", what="Enhanced CT, a frame without place", make=enhanced(_no_place), file=r"enhanced\.dcm.*6", finding="ImagePositionPatient"),
    Refused(id="A36c", what="Enhanced CT without pixel spacing", make=enhanced(_no_spacing), file=r"enhanced\.dcm", finding="PixelSpacing"),
    Refused(id="A36d", what="Enhanced CT, fewer places than frames", make=enhanced(_fewer_groups), file=r"enhanced\.dcm", finding="NumberOfFrames|PerFrame|ImagePosition|frame"),
    Refused(id="A36e", what="Enhanced CT of two phases", make=enhanced(phases), file=r"enhanced\.dcm", finding="TemporalPositionIndex|same place", fix="--select|export|leave"),
    Refused(id="A36f", what="Enhanced CT without rescale", make=enhanced(_no_rescale), file=r"enhanced\.dcm", finding="Rescale", fix="--assume-intercept"),
    Refused(id="A36g", what="Enhanced CT, more frames than pixels", make=enhanced(lambda ds: setattr(ds, "PixelData", ds.PixelData[: len(ds.PixelData) // 2])), file=r"enhanced\.dcm", finding=f"{DAMAGED}|pixel|PixelData"),
    Refused(id="A36i", what="Enhanced CT, a frame with another pixel spacing", make=enhanced(_other_spacing), file=r"enhanced\.dcm.*6", finding="PixelSpacing"),
    Refused(id="A36j", what="Enhanced CT, a frame turned by 3°", make=enhanced(_turned_frame), file=r"enhanced\.dcm.*6", finding="ImageOrientationPatient"),
    Refused(id="A36h", what="two Enhanced CTs of one series in the same places", make=_two_enhanced, file=r"one\.dcm|two\.dcm", finding="same place|position|doubled"),
)  # fmt: skip
