"""What the fuzzer starts from: small sound DICOM files of every kind that thoar reads.

A series carries its slices in several files, of which one is then spoilt; whatever follows from the others
(place, spacing, direction, size) must hold against it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import gdcm
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr.coding import CodedConcept
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    RTStructureSetStorage,
)

SIZE = 16
SLICES = 5
STEP_MM, PIXEL_MM = 2.5, 0.75
CANARY = "PHI^CANARY"

SERIES, FILE, RTSTRUCT, SEG = "series", "file", "rtstruct", "seg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One sound starting point.

    Attributes:
        name: what the tables call it.
        kind: which reader is asked: ``series`` for a folder, ``rtstruct``, ``seg``, or ``file`` for an image.
        files: of the folder; for ``rtstruct`` and ``seg`` the first is the object and the rest its series.
        spoilt: which of the files may be spoilt.
    """

    name: str
    kind: str
    files: tuple[bytes, ...]
    spoilt: tuple[int, ...]


def all_seeds() -> list[Seed]:
    """Return every seed, the same bytes each time apart from highdicom's dates."""
    plain = [_slice(k) for k in range(SLICES)]
    series = tuple(_bytes(ds) for ds in plain)
    return [
        *_series_seeds(),
        Seed(name="enhanced", kind=SERIES, files=(_bytes(_enhanced(plain)),), spoilt=(0,)),
        Seed(name="rtstruct", kind=RTSTRUCT, files=(_bytes(_rtstruct(plain)), *series), spoilt=(0,)),
        Seed(name="seg", kind=SEG, files=(_bytes(_segmentation(plain)), *series), spoilt=(0,)),
        *_files_of_pydicom(),
    ]


def _series_seeds() -> Iterator[Seed]:
    writers: dict[str, Callable[[Dataset], bytes]] = {
        "ct": _bytes,
        "ct-implicit": lambda ds: _bytes(ds, ImplicitVRLittleEndian),
        "ct-big-endian": lambda ds: _bytes(ds, ExplicitVRBigEndian),
        "ct-rle": _run_length,
        "ct-jpeg-lossless": lambda ds: _compressed(ds, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        "ct-jpeg-ls": lambda ds: _compressed(ds, gdcm.TransferSyntax.JPEGLSLossless),
        "ct-jpeg-2000": lambda ds: _compressed(ds, gdcm.TransferSyntax.JPEG2000Lossless),
    }
    for name, write in writers.items():
        yield Seed(
            name=name,
            kind=SERIES,
            files=tuple(write(_slice(k)) for k in range(SLICES)),
            spoilt=(0, SLICES // 2, SLICES - 1),
        )


_OF_PYDICOM = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"),
    *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "JPEG2000.dcm"),
    *("JPEG-lossy.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_rle_16bit_2frame.dcm"),
    *("UN_sequence.dcm", "badVR.dcm", "no_meta.dcm", "nested_priv_SQ.dcm", "reportsi.dcm", "rtplan.dcm"),
    *(
        "rtstruct.dcm",
        "rtdose_rle_1frame.dcm",
        "image_dfl.dcm",
        "liver_1frame.dcm",
        "zipMR.gz",
        "priv_SQ.dcm",
    ),
    *("empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "693_J2KI.dcm", "DICOMDIR"),
)
"""Test files that the pydicom package carries."""


def _files_of_pydicom() -> Iterator[Seed]:
    for name in _OF_PYDICOM:
        found = get_testdata_file(name, download=False)
        if found:
            yield Seed(name=f"pydicom/{name}", kind=FILE, files=(Path(str(found)).read_bytes(),), spoilt=(0,))


def _bytes(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    buffer = BytesIO()
    _undefine_lengths(ds)
    little = syntax != ExplicitVRBigEndian
    if not little:
        kept, ds.PixelData = ds.PixelData, np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    pydicom.dcmwrite(buffer, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little,
                     enforce_file_format=True)  # fmt: skip
    if not little:
        ds.PixelData = kept
    return buffer.getvalue()


def _undefine_lengths(ds: Dataset) -> None:
    """Let no sequence state its length, so that an element inside may change its own."""
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _undefine_lengths(item)


def _run_length(ds: Dataset) -> bytes:
    packed = pydicom.dcmread(BytesIO(_bytes(ds)))
    packed.compress(RLELossless, generate_instance_uid=False)
    buffer = BytesIO()
    packed.save_as(buffer)
    return buffer.getvalue()


def _compressed(ds: Dataset, syntax: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "slice.dcm")
        path.write_bytes(_bytes(ds))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        done = [reader.Read()]
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        done.append(change.Change())
        writer.SetFileName(str(path))  # this empties the file
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        done.append(writer.Write())
        if not all(done):
            raise RuntimeError(f"gdcm could not read, compress, write: {done}")
        return path.read_bytes()


def _hu() -> np.ndarray:
    z, y, x = np.indices((SLICES, SIZE, SIZE))
    return (40 * z + 9 * y - 7 * x - 300).astype(np.int16)


def _uid(*numbers: int) -> str:
    return ".".join(["1.2.826.0.1.3680043.10.1541", *map(str, numbers)])


def _common(ds: Dataset, sop_class: str, instance: int) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = _uid(9, instance)
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = _uid(1), _uid(3)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = CANARY, CANARY, "", ""
    ds.StudyDate = ds.StudyTime = ds.StudyID = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.SpecificCharacterSet = "ISO_IR 100"


def _image(ds: Dataset) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIZE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1


def _slice(k: int) -> Dataset:
    ds = Dataset()
    _common(ds, CTImageStorage, k)
    _image(ds)
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber = "CT", _uid(2), 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber, ds.AcquisitionNumber = k + 1, 1
    ds.ImagePositionPatient = [-6, -5.5, -100 + STEP_MM * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [PIXEL_MM, PIXEL_MM], STEP_MM
    ds.PatientPosition = "HFS"
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -24, "HU"
    ds.PixelData = (_hu()[k] + 24).astype("<i2").tobytes()
    return ds


def _item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _enhanced(plain: list[Dataset]) -> Dataset:
    ds = Dataset()
    _common(ds, EnhancedCTImageStorage, 100)
    _image(ds)
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = "CT", _uid(2), 1, 1
    ds.ImageType, ds.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SLICES
    measures = _item(PixelSpacing=[PIXEL_MM, PIXEL_MM], SliceThickness=STEP_MM)
    rescale = _item(RescaleSlope=1, RescaleIntercept=-24, RescaleType="HU")
    turned = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    kind = _item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    ds.SharedFunctionalGroupsSequence = [
        _item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turned],
              PixelValueTransformationSequence=[rescale], CTImageFrameTypeSequence=[kind])
    ]  # fmt: skip
    ds.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
            FrameContentSequence=[_item(StackID="1", InStackPositionNumber=k, DimensionIndexValues=[k])],
        )
        for k, one in enumerate(plain, 1)
    ]
    ds.PixelData = b"".join(one.PixelData for one in plain)
    return ds


def _rtstruct(plain: list[Dataset]) -> Dataset:
    ds = Dataset()
    _common(ds, RTStructureSetStorage, 200)
    ds.Modality, ds.SeriesInstanceUID, ds.StructureSetLabel = "RTSTRUCT", _uid(4), "fuzz"
    images = [
        _item(ReferencedSOPClassUID=one.SOPClassUID, ReferencedSOPInstanceUID=one.SOPInstanceUID)
        for one in plain
    ]
    series = _item(SeriesInstanceUID=_uid(2), ContourImageSequence=images)
    study = _item(ReferencedSOPInstanceUID=_uid(1), RTReferencedSeriesSequence=[series])
    ds.ReferencedFrameOfReferenceSequence = [
        _item(FrameOfReferenceUID=_uid(3), RTReferencedStudySequence=[study])
    ]
    names = ("Heart", "Esophagus")
    ds.StructureSetROISequence = [
        _item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=_uid(3), ROIGenerationAlgorithm="")
        for n, name in enumerate(names, 1)
    ]
    drawn = list(zip(plain, images, strict=True))
    ds.ROIContourSequence = [
        _item(ReferencedROINumber=n, ROIDisplayColor=[255, 0, 0],
              ContourSequence=[_contour(one, image, 1.0 + n) for one, image in drawn])
        for n, _ in enumerate(names, 1)
    ]  # fmt: skip
    ds.RTROIObservationsSequence = [
        _item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        for n, _ in enumerate(names, 1)
    ]
    return ds


def _contour(one: Dataset, image: Dataset, radius_mm: float) -> Dataset:
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    z = float(one.ImagePositionPatient[2])
    points = [v for t in turns for v in (round(radius_mm * np.cos(t), 3), round(radius_mm * np.sin(t), 3), z)]
    return _item(ContourImageSequence=[image], ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=8,
                 ContourData=points)  # fmt: skip


def _segmentation(plain: list[Dataset]) -> Dataset:
    mask = np.zeros((SLICES, SIZE, SIZE, 2), np.uint8)
    mask[1:4, 4:9, 5:12, 0] = 1
    mask[2:, 8:12, 3:6, 1] = 1
    described = [
        SegmentDescription(n, label, CodedConcept("123037004", "SCT", "Anatomical Structure"),
                           CodedConcept(code, "SCT", label), "MANUAL")
        for n, (label, code) in enumerate((("Heart", "80891009"), ("Esophagus", "32849002")), 1)
    ]  # fmt: skip
    return Segmentation(
        plain, mask, SegmentationTypeValues.BINARY, described,
        series_instance_uid=_uid(5), series_number=5, sop_instance_uid=_uid(9, 300), instance_number=1,
        manufacturer="fuzz", manufacturer_model_name="fuzz", software_versions="0", device_serial_number="0",
        omit_empty_frames=True,
    )  # fmt: skip
