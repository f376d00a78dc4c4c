"""What an image is by its header: no image at all, a localizer, a projection, or dubious as plain CT."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, text
from thoar.io.dicom.parse import SCANS
from thoar.io.dicom.values import shown

_log = logging.getLogger(__name__)

_NO_SCANS = ("RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SEG", "PR", "KO", "SR", "REG", "DOC")
_CT = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_NO_IMAGES = (
    *("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11."),
    *("1.2.840.10008.5.1.4.1.1.104.", "1.3.12.2.1107.5.9.1"),
)
"""Raw data, registrations, reports, presentation states, documents, Siemens' CSA data, of any modality."""
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
_PROJECTIONS = {
    *("MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE", "PROJECTION"),
    *("VRT", "SSD", "VOLUME_RENDER", "VOLUME RENDERING", "SURFACE_RENDER", "CURVED_MPR", "CPR"),
}
_DERIVED = {"DERIVED", "SECONDARY", "MPR", "REFORMATTED", "RESAMPLED", "MIXED"}
_CONE_BEAM = {"CBCT", "CONEBEAM", "CONE_BEAM", "CONE BEAM", "KVCBCT"}
_MAPS = {
    *("MONOENERGETIC", "VMI", "IODINE", "WATER", "CALCIUM", "MATERIAL DENSITY", "EFF_ATOMIC_NUM", "ZEFF"),
    *("ELECTRON_DENSITY", "MAT_SPECIFIC", "MAT_REMOVED", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "MAT_MODIFIED"),
    "PERFUSION",
}
_HOUNSFIELD = ("", "HU")


def image_type(item: Slice) -> str:
    """Return a frame's FrameType, else ImageType (PS3.3 C.7.6.1.1.2, C.8.15.3.1.1)."""
    frame_type = "" if item.frame is None else text(item, "FrameType")
    return frame_type or text(item, "ImageType")


def value_of(item: Slice, keyword: str) -> str:
    """Return an attribute's text, a frame's FrameType for ImageType."""
    return image_type(item) if keyword == "ImageType" else text(item, keyword)


def images(slices: Sequence[Slice], path: Path) -> list[Slice]:
    """Return the images that may be slices of a scan; what else there is, is counted in the log.

    Raises:
        InputError: if a file does not say what it is.
    """
    left_out = [_no_scan(item) for item in slices]
    if any(left_out):
        counted = ", ".join(f"{count} {kind}" for kind, count in Counter(filter(None, left_out)).items())
        _log.info("%s: left out as no images of a scan: %s", path, counted)
    return [item for item, kind in zip(slices, left_out, strict=True) if kind is None]


def without_localizers(slices: Sequence[Slice]) -> list[Slice]:
    """Drop localizers, with a warning."""
    marked = [_says(item, _LOCALIZERS) for item in slices]
    if any(marked):
        _log.warning("%s: localizers (ImageType), left out", first_of(list(compress(slices, marked))))
    return [item for item, localizer in zip(slices, marked, strict=True) if not localizer]


def check_kinds(slices: Sequence[Slice]) -> None:
    """Refuse projections; warn of images that are dubious as plain CT.

    Raises:
        UnsupportedFormatError: for maximum or minimum projections, renderings and curved reformations.
    """
    projections = [item for item in slices if _says(item, _PROJECTIONS)]
    if projections:
        raise UnsupportedFormatError(
            f"{first_of(projections)}: ImageType {shown(image_type(projections[0]))} is a projection or "
            "rendering, no slices of the patient; give the original series"
        )
    for remark, applies in _REMARKS.items():
        dubious = [item for item in slices if applies(item)]
        if dubious:
            kind, values = shown(image_type(dubious[0])), shown(text(dubious[0], "RescaleType"))
            said = f"ImageType {kind}, RescaleType {values}"
            _log.warning("%s: %s (%s)", first_of(dubious), remark, said)


def first_of(items: Sequence[Slice]) -> str:
    """Return how a message names several slices."""
    return items[0].name if len(items) == 1 else f"{items[0].name} and {len(items) - 1} more"


def _no_scan(item: Slice) -> str | None:
    """Return what a file is that is no image of a scan; None for an image."""
    modality, sop_class = text(item, "Modality"), text(item, "SOPClassUID")
    if _is_directory(item):
        return "DICOMDIR"
    if not modality:
        raise InputError(f"{item.path}: has no Modality; it is damaged or cut short: fetch it again")
    if sop_class not in _CT:
        if modality in _NO_SCANS or (modality not in SCANS and attribute(item, "Rows") is None):
            return shown(modality)
        if sop_class.startswith(_NO_IMAGES):
            return UID(sop_class).name
    if item.pixels_at is None:
        raise InputError(f"{item.path}: ends without PixelData; it is damaged or cut short: fetch it again")
    return None


def _is_directory(item: Slice) -> bool:
    if "DirectoryRecordSequence" in item.header:
        return True
    with naming_faults(item.path):
        return item.header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def _says(item: Slice, words: set[str]) -> bool:
    """Say whether one of the words is a value of ImageType or FrameType, or a word of one."""
    values = f"{image_type(item)}\\{text(item, 'VolumeBasedCalculationTechnique')}".upper().split("\\")
    return any(value in words or not words.isdisjoint(value.split()) for value in values)


def _is_secondary_capture(item: Slice) -> bool:
    return text(item, "SOPClassUID").startswith("1.2.840.10008.5.1.4.1.1.7")


_REMARKS: dict[str, Callable[[Slice], bool]] = {
    "a secondary capture, whose HU and place somebody else wrote": _is_secondary_capture,
    "derived from other images; organs may be blurred or its HU changed": lambda item: _says(item, _DERIVED),
    "cone-beam CT, whose HU are not calibrated": lambda item: _says(item, _CONE_BEAM),
    "a computed map (spectral, material, perfusion), not plain CT": lambda item: _says(item, _MAPS),
    "its values are not called Hounsfield units": lambda item: text(item, "RescaleType") not in _HOUNSFIELD,
}
