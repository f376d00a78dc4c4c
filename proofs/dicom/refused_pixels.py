# ruff: noqa: E501 (tables: one series a line)
"""Section B of the catalogue of faults: pixels that are damaged, or whose relation to HU is not to be known."""

from collections.abc import Callable

import numpy as np
from proofs.dicom.cases import ANY_FILE, Edit, Refused, changed, series
from proofs.dicom.written import Files, pixels
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from thoar.core.errors import InputError, UnsupportedFormatError


def restored(of_stored: Callable[[np.ndarray], np.ndarray], on: int | None = None, **values: object) -> Edit:
    """Return an edit that puts other pixels, of stored values, and sets attributes."""

    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            if on is None or k == on:
                ds.PixelData = of_stored(pixels(ds)).tobytes()
        changed(None if on is None else [on], **values)(files)

    return edit


def compressed(syntax: str, **options: object) -> Edit:
    """Return an edit that stores every slice in a compressed transfer syntax."""

    def edit(files: Files) -> None:
        for ds in files.values():
            ds.compress(syntax, generate_instance_uid=False, **options)

    return edit


def _cut(syntax: str) -> Edit:
    def edit(files: Files) -> None:
        compressed(syntax)(files)
        ds = files["slice_05.dcm"]
        ds.PixelData = ds.PixelData[: len(ds.PixelData) // 4 * 2]

    return edit


def _swapped_frame(files: Files) -> None:
    ds = files["slice_05.dcm"]
    ds.PixelData, rows, columns = np.ascontiguousarray(pixels(ds).T).tobytes(), ds.Rows, ds.Columns
    ds.Rows, ds.Columns = columns, rows
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.Rows, ds.Columns = rows, columns


def _float_pixels(keyword: str, dtype: str, bits: int) -> Edit:
    def edit(files: Files) -> None:
        for ds in files.values():
            values = pixels(ds).astype(dtype)
            del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
            setattr(ds, keyword, values.tobytes())
            ds.BitsAllocated = bits

    return edit


def _modality_lut(files: Files) -> None:
    table = Dataset()
    table.add(DataElement("LUTDescriptor", "US", [256, 0, 16]))
    table.ModalityLUTType = "HU"
    table.add(DataElement("LUTData", "US", list(range(256))))
    changed(RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[table])(files)


def _coloured(files: Files) -> None:
    for ds in files.values():
        grey = np.clip(pixels(ds) // 8, 0, 255).astype(np.uint8)
        ds.PixelData = np.repeat(grey[..., None], 3, axis=2).tobytes()
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7


def _padded_without_rescale(files: Files) -> None:
    def cornered(stored: np.ndarray) -> np.ndarray:
        signed = stored.astype("<i2")
        signed[:4, :4] = -2000
        return signed

    restored(cornered, PixelRepresentation=1, RescaleSlope=None, RescaleIntercept=None)(files)


REFUSED_PIXELS = (
    Refused(id="B1a", what="no rescale, stored from 0 upwards", make=series(changed(RescaleSlope=None, RescaleIntercept=None)), file=ANY_FILE, finding="Rescale(Slope|Intercept)", fix="--assume-intercept"),
    Refused(id="B1b", what="no rescale on one slice", make=series(changed([5], RescaleSlope=None, RescaleIntercept=None)), file=r"slice_05\.dcm", finding="Rescale(Slope|Intercept)"),
    Refused(id="B1c", what="RescaleIntercept alone absent", make=series(changed(RescaleIntercept=None)), file=ANY_FILE, finding="RescaleIntercept"),
    Refused(id="B1d", what="RescaleSlope alone absent", make=series(changed(RescaleSlope=None)), file=ANY_FILE, finding="RescaleSlope"),
    Refused(id="B1e", what="no rescale, stored from 0 upwards but for padding of -2000", make=series(_padded_without_rescale), file=ANY_FILE, finding="Rescale(Slope|Intercept)", fix="--assume-intercept"),
    Refused(id="B2a", what="RescaleSlope 0", make=series(changed(RescaleSlope="0")), file=ANY_FILE, finding="RescaleSlope.*0"),
    Refused(id="B2b", what="RescaleSlope NaN on one slice", make=series(changed([5], RescaleSlope="nan")), file=r"slice_05\.dcm", finding="RescaleSlope.*nan"),
    Refused(id="B2c", what="RescaleSlope empty on one slice", make=series(changed([5], RescaleSlope="")), file=r"slice_05\.dcm", finding="RescaleSlope"),
    Refused(id="B2d", what="RescaleIntercept of two values", make=series(changed([5], RescaleIntercept=["-1024", "0"])), file=r"slice_05\.dcm", finding="RescaleIntercept"),
    Refused(id="B8a", what="negative HU stored without their sign", make=series(restored(lambda s: (s.astype(np.int32) - 1024).astype("<i2"), RescaleIntercept="0")), file=ANY_FILE, finding="HU|PixelRepresentation"),
    Refused(id="B8b", what="the same on one slice", make=series(restored(lambda s: (s.astype(np.int32) - 1024).astype("<i2"), 5, RescaleIntercept="0")), file=r"slice_05\.dcm", finding="HU|PixelRepresentation"),
    Refused(id="B10a", what="MONOCHROME1", make=series(changed(PhotometricInterpretation="MONOCHROME1")), file=ANY_FILE, finding="MONOCHROME1"),
    Refused(id="B10b", what="MONOCHROME1 on one slice", make=series(changed([5], PhotometricInterpretation="MONOCHROME1")), file=r"slice_05\.dcm", finding="MONOCHROME1"),
    Refused(id="B11a", what="PixelData 200 bytes short", make=series(restored(lambda s: s.ravel()[:-100], 5)), file=r"slice_05\.dcm", finding="pixel|PixelData|damaged|cut short"),
    Refused(id="B11b", what="PixelData empty", make=series(changed([5], PixelData=b"")), file=r"slice_05\.dcm", finding="pixel|PixelData|damaged|cut short"),
    Refused(id="B11c", what="PixelData absent", make=series(changed([5], PixelData=None)), file=r"slice_05\.dcm", finding="PixelData"),
    Refused(id="B11d", what="a JPEG-LS frame cut in half", make=series(_cut(JPEGLSLossless)), file=r"slice_05\.dcm", finding="pixel|PixelData|damaged|cut short"),
    Refused(id="B11e", what="an RLE frame cut in half", make=series(_cut(RLELossless)), file=r"slice_05\.dcm", finding="pixel|PixelData|damaged|cut short"),
    Refused(id="B13a", what="FloatPixelData", make=series(_float_pixels("FloatPixelData", "<f4", 32)), file=ANY_FILE, finding="FloatPixelData", error=UnsupportedFormatError),
    Refused(id="B13b", what="DoubleFloatPixelData", make=series(_float_pixels("DoubleFloatPixelData", "<f8", 64)), file=ANY_FILE, finding="DoubleFloatPixelData", error=UnsupportedFormatError),
    Refused(id="B14", what="ModalityLUTSequence", make=series(_modality_lut), file=ANY_FILE, finding="ModalityLUTSequence", error=UnsupportedFormatError),
    Refused(id="B15a", what="all pixels of one value", make=series(restored(lambda s: np.full_like(s, 1064))), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B15b", what="nothing but air", make=series(restored(lambda s: np.minimum(s, 30))), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B15c", what="all stored values 0", make=series(restored(np.zeros_like)), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B16", what="HU from 0 to 1, as if normalised", make=series(changed(RescaleSlope="0.0007", RescaleIntercept="0")), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B17a", what="air at 24 HU: the intercept is missing its value", make=series(changed(RescaleIntercept="0")), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B17b", what="air at -2000 HU: the intercept was applied twice", make=series(changed(RescaleIntercept="-2048")), file="", finding="HU|body|value", fix="chest|re-export|rescale|value", by_body=True),
    Refused(id="B20a", what="colour, three samples a pixel", make=series(_coloured), file=ANY_FILE, finding="RGB|SamplesPerPixel", error=UnsupportedFormatError),
    Refused(id="B20b", what="PALETTE COLOR", make=series(changed(PhotometricInterpretation="PALETTE COLOR")), file=ANY_FILE, finding="PALETTE COLOR", error=UnsupportedFormatError),
    Refused(id="B22a", what="BitsStored above BitsAllocated", make=series(changed([5], BitsStored=17, HighBit=16)), file=r"slice_05\.dcm", finding="Bits|pixel|damaged"),
    Refused(id="B22b", what="BitsAllocated 8 with pixels of 16", make=series(changed([5], BitsAllocated=8, BitsStored=8, HighBit=7)), file=r"slice_05\.dcm", finding="Bits|pixel|damaged|HU"),
    Refused(id="B9", what="12 bits at the upper end of 16 (HighBit 15)", make=series(restored(lambda s: s << 4, BitsStored=12, HighBit=15)), file=ANY_FILE, finding="HighBit|HU"),
    Refused(id="B11f", what="a JPEG-LS frame with rows and columns swapped", make=series(_swapped_frame), file=r"slice_05\.dcm", finding="Rows|Columns|pixel"),
    Refused(id="B22c", what="Rows 0", make=series(changed([5], Rows=0)), file=r"slice_05\.dcm", finding="Rows", error=InputError),
)  # fmt: skip
