"""One DICOM slice's pixels as HU (PS3.3 C.7.6.3 and C.11.1)."""

import logging

import numpy as np
from jaxtyping import Bool, Float32, Int16, Integer
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, attribute, numbers
from thoar.io.dicom.pixel_data import stored_pixels, syntax_of
from thoar.io.voxels import narrowed

_log = logging.getLogger(__name__)

IMPLAUSIBLE_HU = 40_000
"""Above metal on the extended CT scale: a negative number read without its sign."""
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)


def hu_of(
    item: Slice, *, assume_intercept: float | None = None
) -> Int16[np.ndarray, "y x"] | Float32[np.ndarray, "y x"]:
    """Decode a slice and apply its own rescale: int16 where exact, else float32.

    Bits beyond BitsStored are masked. Padding pixels keep the HU that their stored value decodes to; one
    stored without its sign gets it back, with a warning. Images compressed with loss are warned of.

    Args:
        item: the slice.
        assume_intercept: RescaleIntercept, with a slope of 1, of a slice that has neither. Without it such
            CT is refused; other modalities keep their stored values.

    Raises:
        UnsupportedFormatError: if its transfer syntax has no decoder here, or it holds no plain pixels.
        InputError: if pixels are damaged, or their relation to HU is missing or impossible.
    """
    slope, intercept = _rescale(item)
    stored = stored_pixels(item)
    _warn_of_loss(item)
    if slope is None:
        slope, intercept = 1.0, _intercept_of(item, assumed=assume_intercept)
    hu = _scaled(stored, item, slope=slope, intercept=intercept)
    if float(hu.max()) <= IMPLAUSIBLE_HU:
        return hu
    padding = is_padding(item, stored)
    _check_plausible(hu, padding, name=item.name)
    _log.warning("%s: padding pixels of %.0f HU lack their sign, which is put back", item.name, hu.max())
    signed = np.where(padding, stored.astype(np.int64) - _span(item), stored)
    return _scaled(signed, item, slope=slope, intercept=intercept)


def is_padding(item: Slice, stored: Integer[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Say which pixels lie outside the reconstructed field (PixelPaddingValue to …RangeLimit).

    The attribute is often written without its sign: 63536 on signed 16-bit pixels means -2000.
    """
    limits = [
        _as_stored(int(numbers(item, keyword, 1)[0]), stored, span=_span(item))
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if attribute(item, keyword) not in (None, "")
    ]
    if not limits:
        return np.zeros(stored.shape, dtype=bool)
    return (stored >= min(limits)) & (stored <= max(limits))


def _span(item: Slice) -> int:
    return 1 << int(numbers(item, "BitsAllocated", 1)[0])


def _as_stored(value: int, stored: np.ndarray, *, span: int) -> int:
    value %= span
    return value - span if stored.dtype.kind == "i" and value >= span // 2 else value


def _scaled(
    stored: np.ndarray, item: Slice, *, slope: float, intercept: float
) -> Int16[np.ndarray, "y x"] | Float32[np.ndarray, "y x"]:
    return narrowed(stored[None], item.path, slope=slope, intercept=intercept)[0]


def _rescale(item: Slice) -> tuple[float | None, float]:
    """Return (slope, intercept), or (None, 0) where the file has neither."""
    if attribute(item, "ModalityLUTSequence"):
        raise UnsupportedFormatError(
            f"{item.name}: uses a ModalityLUTSequence; export it with RescaleSlope and RescaleIntercept"
        )
    if attribute(item, "RescaleSlope") is None and attribute(item, "RescaleIntercept") is None:
        return None, 0.0
    (slope,), (intercept,) = numbers(item, "RescaleSlope", 1), numbers(item, "RescaleIntercept", 1)
    if slope <= 0.0:
        raise InputError(f"{item.name}: RescaleSlope is {slope:g}; export the series again")
    return slope, intercept


def _intercept_of(item: Slice, *, assumed: float | None) -> float:
    """Return the intercept of a slice without rescale; negative pixels prove nothing, they may be padding."""
    if assumed is not None:
        _log.warning("%s: has no RescaleIntercept; %g was assumed, as asked for", item.name, assumed)
        return assumed
    if attribute(item, "Modality") == "CT":
        raise InputError(
            f"{item.name}: has no RescaleSlope and RescaleIntercept, so its HU are unknown; export it again "
            "with them, or give the intercept: --assume-intercept 0 where pixels are HU already, -1024 where "
            "air is 0"
        )
    return 0.0


def _check_plausible(hu: np.ndarray, padding: np.ndarray, *, name: str) -> None:
    if (hu[~padding] > IMPLAUSIBLE_HU).any():
        raise InputError(
            f"{name}: pixels reach {float(hu[~padding].max()):.0f} HU; negative values seem stored without "
            "their sign (PixelRepresentation): export the series again"
        )


def _warn_of_loss(item: Slice) -> None:
    syntax = syntax_of(item)
    if syntax in _LOSSY or str(attribute(item, "LossyImageCompression")) == "01":
        _log.warning("%s: was compressed with loss (%s); its HU are approximate", item.name, syntax.name)
