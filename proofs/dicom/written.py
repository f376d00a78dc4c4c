"""The phantom as DICOM: a file per slice, or one Enhanced CT; data sets can be changed before saving."""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Int16
from proofs.dicom.phantom import Sampling
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

Files = dict[str, Dataset]
"""Data sets by the name of the file that each will be."""


def slice_files(
    sampling: Sampling,
    hu: Int16[np.ndarray, "slice row column"],
    *,
    patient_position: str = "HFS",
    series: str = "",
) -> Files:
    """Return one CT image per slice, called ``slice_00.dcm`` and so on, numbered in the order given.

    Args:
        sampling: where the slices lie.
        hu: their pixels; whole numbers from -1024 upwards.
        patient_position: PatientPosition.
        series: any word; another one makes another series of the same study.
    """
    files: Files = {}
    for k, (origin, plane) in enumerate(zip(sampling.origins_xyz_mm, hu, strict=True)):
        ds = _common(sampling, patient_position=patient_position, series=series)
        _name(ds, CTImageStorage, f"{series} {k}")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.InstanceNumber, ds.AcquisitionNumber = k + 1, 1
        ds.ImagePositionPatient = decimals(origin)
        ds.ImageOrientationPatient = decimals([*sampling.along_row_xyz, *sampling.along_column_xyz])
        ds.PixelSpacing = decimals(sampling.spacing_yx_mm)
        ds.SliceThickness, ds.KVP = "5", "120"
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        ds.PixelData = stored(plane)
        files[f"slice_{k:02d}.dcm"] = ds
    return files


def enhanced_file(
    sampling: Sampling, hu: Int16[np.ndarray, "slice row column"], *, patient_position: str = "HFS"
) -> Dataset:
    """Return one Enhanced CT image whose frames are the slices, in the order given (PS3.3 A.38)."""
    ds = _common(sampling, patient_position=patient_position, series="enhanced")
    _name(ds, EnhancedCTImageStorage, "enhanced")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames, ds.InstanceNumber = len(hu), 1
    ds.ContentDate, ds.ContentTime = "20260101", "120000"
    ds.SharedFunctionalGroupsSequence = [_shared(sampling)]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame(origin, k + 1) for k, origin in enumerate(sampling.origins_xyz_mm)
    ]
    ds.PixelData = b"".join(stored(plane) for plane in hu)
    return ds


def save(files: Mapping[str, Dataset], folder: Path) -> Path:
    """Write every data set under its name, in the transfer syntax that its meta information names."""
    for name, ds in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some values are meant to be wrong
            ds.save_as(path, enforce_file_format=True)
    return folder


def copied(ds: Dataset, name: str) -> Dataset:
    """Return a copy with a SOPInstanceUID of its own."""
    other = copy.deepcopy(ds)
    _name(other, ds.SOPClassUID, name)
    return other


def stored(hu: Int16[np.ndarray, "row column"], *, intercept: int = -1024) -> bytes:
    """Return HU as 16-bit pixels."""
    return (hu.astype(np.int32) - intercept).astype("<u2").tobytes()


def decimals(values: object) -> list[str]:
    """Return numbers as decimal strings of at most 16 characters."""
    return [f"{v:.10f}"[:16] for v in np.asarray(values, dtype=np.float64)]


def uid_of(*words: str) -> UID:
    """Return the UID that words stand for: the same ones each time."""
    return generate_uid(entropy_srcs=["thoar proof", *words])


def _name(ds: Dataset, sop_class: UID, name: str) -> None:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid_of("instance", name)


def _common(sampling: Sampling, *, patient_position: str, series: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Formula", "P-1", "", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid_of("study"), uid_of("series", series)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid_of("frame of reference"), ""
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
    ds.ReferringPhysicianName, ds.Manufacturer, ds.SeriesNumber = "", "formula", 1
    ds.Modality, ds.PatientPosition = "CT", patient_position
    ds.Rows, ds.Columns = sampling.shape_yx
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    return ds


def _shared(sampling: Sampling) -> Dataset:
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = decimals(sampling.spacing_yx_mm), "5"
    orientation.ImageOrientationPatient = decimals([*sampling.along_row_xyz, *sampling.along_column_xyz])
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-1024", "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [values]
    return shared


def _frame(origin_xyz_mm: np.ndarray, number: int) -> Dataset:
    content, position = Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", number
    content.DimensionIndexValues = [1, number]
    position.ImagePositionPatient = decimals(origin_xyz_mm)
    frame = Dataset()
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = [position]
    return frame


def pixels(ds: pydicom.Dataset) -> np.ndarray:
    """Return a slice's stored pixels, to be changed and put back."""
    return np.frombuffer(ds.PixelData, dtype="<u2").reshape(ds.Rows, ds.Columns).copy()
