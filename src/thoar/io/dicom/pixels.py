"""One DICOM slice's pixels as HU (PS3.3 C.7.6.3 and C.11.1)."""

import logging
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float32, Int16, Integer
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, attribute, naming_faults, numbers
from thoar.io.voxels import narrowed

_log = logging.getLogger(__name__)

IMPLAUSIBLE_HU = 40_000
"""Above metal on the extended CT scale: a negative number read without its sign."""


def hu_of(item: Slice) -> Int16[np.ndarray, "y x"] | Float32[np.ndarray, "y x"]:
    """Decode a slice and apply its own rescale: int16 where exact, else float32.

    Bits beyond BitsStored are masked. Padding pixels keep the HU that their stored value decodes to.

    Raises:
        UnsupportedFormatError: if its transfer syntax has no decoder here, or it holds no plain pixels.
        InputError: if pixels are damaged, or their relation to HU is missing or impossible.
    """
    slope, intercept = _rescale(item)
    stored = _stored(item)
    if slope is None:
        _check_unscaled(stored, item.path)
        slope, intercept = 1.0, 0.0
    hu = narrowed(stored[None], item.path, slope=slope, intercept=intercept)[0]
    if float(hu.max()) > IMPLAUSIBLE_HU:
        _check_plausible(hu, is_padding(item, stored), path=item.path)
    return hu


def is_padding(item: Slice, stored: Integer[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Say which pixels lie outside the reconstructed field (PixelPaddingValue to …RangeLimit).

    The attribute is often written without its sign: 63536 on signed 16-bit pixels means -2000.
    """
    limits = [
        _as_stored(int(numbers(item, keyword, 1)[0]), stored, item=item)
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if attribute(item, keyword) not in (None, "")
    ]
    if not limits:
        return np.zeros(stored.shape, dtype=bool)
    return (stored >= min(limits)) & (stored <= max(limits))


def _as_stored(value: int, stored: np.ndarray, *, item: Slice) -> int:
    span = 1 << int(numbers(item, "BitsAllocated", 1)[0])
    value %= span
    return value - span if stored.dtype.kind == "i" and value >= span // 2 else value


def _rescale(item: Slice) -> tuple[float | None, float]:
    """Return (slope, intercept), or (None, 0) where the file has neither."""
    if attribute(item, "ModalityLUTSequence"):
        raise UnsupportedFormatError(f"{item.path}: uses a ModalityLUTSequence; export it with RescaleSlope")
    if attribute(item, "RescaleSlope") is None and attribute(item, "RescaleIntercept") is None:
        return None, 0.0
    (slope,), (intercept,) = numbers(item, "RescaleSlope", 1), numbers(item, "RescaleIntercept", 1)
    if slope == 0.0:
        raise InputError(f"{item.path}: RescaleSlope is 0; export the series again")
    return slope, intercept


def _check_unscaled(stored: np.ndarray, path: Path) -> None:
    if int(stored.min()) >= 0:
        raise InputError(
            f"{path}: has no RescaleSlope and RescaleIntercept and no negative pixel, so its HU are unknown; "
            "export it again with them"
        )


def _check_plausible(hu: np.ndarray, padding: np.ndarray, *, path: Path) -> None:
    if (hu[~padding] > IMPLAUSIBLE_HU).any():
        raise InputError(
            f"{path}: pixels reach {float(hu[~padding].max()):.0f} HU; negative values seem stored without "
            "their sign (PixelRepresentation): export the series again"
        )
    _log.warning("%s: padding pixels decode to %.0f HU", path, float(hu[padding].max()))


def _stored(item: Slice) -> Integer[np.ndarray, "y x"]:
    with naming_faults(item.path):
        ds = pydicom.dcmread(item.path, force=True)
        _check_plain(ds, item.path)
        _check_decodable(_syntax(ds), item.path)
        stored = ds.pixel_array
        rows_columns = (ds.Rows, ds.Columns)
    if stored.shape != rows_columns:
        raise InputError(f"{item.path}: holds {stored.shape} pixels where Rows, Columns say otherwise")
    return stored


def _check_plain(ds: pydicom.Dataset, path: Path) -> None:
    if "PixelData" not in ds:
        held = [name for name in ("FloatPixelData", "DoubleFloatPixelData") if name in ds]
        raise UnsupportedFormatError(f"{path}: has no PixelData{f' but {held[0]}' if held else ''}")
    if ds.get("SamplesPerPixel", 1) != 1 or ds.get("PhotometricInterpretation") != "MONOCHROME2":
        raise UnsupportedFormatError(
            f"{path}: its pixels are {ds.get('PhotometricInterpretation')}; CT slices are MONOCHROME2: "
            "export the original series"
        )


def _syntax(ds: pydicom.Dataset) -> UID:
    """Return the transfer syntax; a file without meta information tells it by its encoding."""
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return ds.file_meta.TransferSyntaxUID


def _check_decodable(syntax: UID, path: Path) -> None:
    try:
        available = not syntax.is_compressed or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        available = False
    if not available:
        raise UnsupportedFormatError(
            f"{path}: no decoder for {syntax.name} ({syntax}) is installed; install python-gdcm, or store "
            "the series uncompressed"
        )
