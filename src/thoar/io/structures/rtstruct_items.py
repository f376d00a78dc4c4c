"""Structures of an RTSTRUCT (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8), from contours that are already drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from jaxtyping import Float
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from thoar.core.labels import Organ
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series, SliceReference
from thoar.io.structures.derived import software_versions
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.verbatim import text_of

DECIMALS = 4
"""Of a millimetre; with them a coordinate within a thousand kilometres fits into a decimal string's 16
characters."""
_LONGEST = 64
"""Characters of an LO."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contour:
    """One closed polygon.

    Attributes:
        slice_index: which slice of the series it lies on.
        points_xyz_mm: in the patient, rounded to ``DECIMALS``.
    """

    slice_index: int
    points_xyz_mm: Float[np.ndarray, "point 3"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnOrgan:
    """One structure to write.

    Attributes:
        organ: whose colour it gets.
        name: its ROIName.
        contours: at least one.
        geometric_type: of all its contours: CLOSED_PLANAR, or CLOSEDPLANAR_XOR.
    """

    organ: Organ
    name: str
    contours: tuple[Contour, ...]
    geometric_type: str


def add_structures(
    ds: pydicom.Dataset, organs: Sequence[DrawnOrgan], *, series: Series, maker: Maker
) -> None:
    """Add structures to a structure set, numbered on from those that it has."""
    frame = text_of(read_identity(series.identity), "FrameOfReferenceUID")
    number, observed = highest_numbers(ds)
    for offset, organ in enumerate(organs, start=1):
        ds.StructureSetROISequence.append(_roi(organ, number + offset, frame=frame, maker=maker))
        ds.ROIContourSequence.append(_roi_contour(organ, number + offset, references=series.references))
        ds.RTROIObservationsSequence.append(_observation(observed + offset, number + offset))


def highest_numbers(ds: pydicom.Dataset) -> tuple[int, int]:
    """Return the highest ROINumber and the highest ObservationNumber of a structure set, or 0."""
    numbers = [int(text_of(item, "ROINumber")) for item in ds.StructureSetROISequence]
    observed = [int(text_of(item, "ObservationNumber") or 0) for item in ds.RTROIObservationsSequence]
    return max(numbers, default=0), max(observed, default=0)


def image_item(reference: SliceReference) -> pydicom.Dataset:
    """Return a reference to one slice, as ContourImageSequence holds it."""
    ds = pydicom.Dataset()
    ds.ReferencedSOPClassUID = reference.sop_class_uid or CTImageStorage
    ds.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frame is not None:
        ds.ReferencedFrameNumber = reference.frame
    return ds


def _roi(organ: DrawnOrgan, number: int, *, frame: str, maker: Maker) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.ROINumber, ds.ROIName = number, organ.name
    ds.ReferencedFrameOfReferenceUID = frame
    ds.ROIGenerationAlgorithm = "AUTOMATIC" if maker.automatic else ""
    ds.ROIGenerationDescription = ", ".join(software_versions(maker))[:_LONGEST]
    return ds


def _observation(number: int, roi_number: int) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.ObservationNumber, ds.ReferencedROINumber = number, roi_number
    ds.RTROIInterpretedType, ds.ROIInterpreter = "ORGAN", None
    return ds


def _roi_contour(organ: DrawnOrgan, number: int, *, references: Sequence[SliceReference]) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.ReferencedROINumber, ds.ROIDisplayColor = number, list(organ.organ.color_rgb)
    ds.ContourSequence = [
        _contour(contour, organ.geometric_type, references[contour.slice_index]) for contour in organ.contours
    ]
    return ds


def _contour(contour: Contour, geometric_type: str, reference: SliceReference) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.ContourImageSequence = [image_item(reference)]
    ds.ContourGeometricType = geometric_type
    ds.NumberOfContourPoints = len(contour.points_xyz_mm)
    ds[Tag("ContourData")] = _decimals("ContourData", contour.points_xyz_mm.ravel().tolist())
    return ds


def _decimals(keyword: str, values: Iterable[float]) -> RawDataElement:
    """Return decimal strings as they stand in the file: pydicom would make an object of each number."""
    text = "\\".join([f"{value:.{DECIMALS}f}" for value in values]).encode()
    text += b" " * (len(text) % 2)
    return RawDataElement(Tag(keyword), "DS", len(text), text, 0, True, True)
