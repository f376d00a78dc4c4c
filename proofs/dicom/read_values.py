# ruff: noqa: E501 (tables: one series a line)
"""Pixels that are odd but sure: their HU must be exact."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from proofs.dicom.cases import Edit, Readable, Taken, changed
from proofs.dicom.readable import Hu, holding
from proofs.dicom.written import Files, pixels


def _restored(of_stored: Callable[[np.ndarray, int], np.ndarray], **values: object) -> Edit:
    """Return an edit that puts other stored pixels, of the slice's own and its number, and sets attributes."""

    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            ds.PixelData = of_stored(pixels(ds).astype(np.int64), k).tobytes()
        changed(**values)(files)

    return edit


def _corners(hu: Hu) -> np.ndarray:
    """Return which pixels lie outside the circle in which a scanner reconstructs."""
    rows, columns = np.indices(hu.shape[1:])
    far = ((rows - hu.shape[1] / 2) / hu.shape[1]) ** 2 + (
        (columns - hu.shape[2] / 2) / hu.shape[2]
    ) ** 2 > 0.27  # noqa: PLR2004
    return np.broadcast_to(far, hu.shape)


def _padded(value: int, *, said: int | None = None) -> Edit:
    """Return an edit that stores signed HU, with one value in the corners, said without its sign if at all."""

    def edit(files: Files) -> None:
        for ds in files.values():
            hu = pixels(ds).astype(np.int64) - 1024
            hu[_corners(hu[None])[0]] = value
            ds.PixelData, ds.PixelRepresentation, ds.RescaleIntercept = hu.astype("<i2").tobytes(), 1, "0"
            if said is not None:
                ds.add_new("PixelPaddingValue", "US", said)

    return edit


def _metal(value: int, bits: str = "<u2") -> tuple[Edit, Callable[[Hu], Hu]]:
    def edit(files: Files) -> None:
        for ds in files.values():
            values = pixels(ds).astype(np.int64)
            values[7, 9] = value + 1024
            ds.PixelData = values.astype(bits).tobytes()

    def expected(hu: Hu) -> Hu:
        wider = hu.astype(np.int32)
        wider[:, 7, 9] = value
        return wider

    return edit, expected


def _scaled(slopes: tuple[float, ...], intercepts: tuple[float, ...]) -> tuple[Edit, Callable[[Hu], Hu]]:
    """Return an edit to a rescale of every slice's own, and the HU that it can hold."""

    def stored_of(hu: np.ndarray, k: int) -> np.ndarray:
        return np.rint((hu - intercepts[k % len(intercepts)]) / slopes[k % len(slopes)])

    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            ds.PixelData = stored_of(pixels(ds) - 1024.0, k).astype("<u2").tobytes()
            ds.RescaleSlope, ds.RescaleIntercept = (
                str(slopes[k % len(slopes)]),
                str(intercepts[k % len(intercepts)]),
            )

    def expected(hu: Hu) -> Hu:
        planes = [
            stored_of(plane, k) * slopes[k % len(slopes)] + intercepts[k % len(intercepts)]
            for k, plane in enumerate(hu)
        ]
        return np.stack(planes)

    return edit, expected


def _both(edit_and_expected: tuple[Edit, Callable[[Hu], Hu]]) -> Callable[[Path], Taken]:
    return holding(edit_and_expected[0], expected=edit_and_expected[1])


def _signed_twelve_bits(files: Files) -> None:
    for ds in files.values():
        twelve = (pixels(ds).astype(np.int64) - 1024) & 0x0FFF
        ds.PixelData = (twelve | 0x7000).astype("<u2").tobytes()
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 1, "0"


def _long(files: Files) -> None:
    files["slice_05.dcm"].PixelData += bytes(200)


as_hu = _restored(
    lambda s, _: (s - 1024).astype("<i2"), PixelRepresentation=1, RescaleIntercept=None, RescaleSlope=None
)

VALUES = (
    Readable(id="B3", what="intercept alternates from slice to slice", make=_both(_scaled((1.0,), (-1024.0, -1000.0 - 24 * 4)))),
    Readable(id="B4", what="a slope of every slice's own", make=_both(_scaled((1.0, 0.5, 0.25), (-1024.0,)))),
    Readable(id="B5", what="a slope of 0.7", make=_both(_scaled((0.7,), (-1024.0,))), tolerance_hu=0.001),
    Readable(id="B6a", what="corners of -2000", make=holding(_padded(-2000), expected=lambda hu: np.where(_corners(hu), -2000, hu), padding=_corners)),
    Readable(id="B6b", what="corners of PixelPaddingValue -3024", make=holding(_padded(-3024, said=62512), expected=lambda hu: np.where(_corners(hu), -3024, hu), padding=_corners)),
    Readable(id="B7a", what="corners of -32768", make=holding(_padded(-32768, said=32768), expected=lambda hu: np.where(_corners(hu), -32768, hu), padding=_corners)),
    Readable(id="B9a", what="12 bits, garbage above them", make=holding(_restored(lambda s, k: (s | 0xA000).astype("<u2"), BitsStored=12, HighBit=11))),
    Readable(id="B9b", what="12 bits with a sign, garbage above them", make=holding(_signed_twelve_bits)),
    Readable(id="B12", what="200 bytes more than pixels", make=holding(_long), warns=r"slice_05\.dcm"),
    Readable(id="B18a", what="metal of 30,000 HU", make=_both(_metal(30_000))),
    Readable(id="B18b", what="metal of 36,000 HU, beyond 16 bits with a sign", make=_both(_metal(36_000))),
    Readable(id="B19", what="an overlay in unused bits", make=holding(_restored(lambda s, k: (s | ((s % 2) << 15)).astype("<u2"), BitsStored=12, HighBit=11))),
    Readable(id="B23", what="pixels with a sign", make=holding(_restored(lambda s, k: (s - 1024).astype("<i2"), PixelRepresentation=1, RescaleIntercept="0"))),
)  # fmt: skip
