"""One compressed frame turned into stored values by a maintained decoder: gdcm, pydicom's own, SimpleITK."""

import importlib
import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.codestream import codestream_of

_log = logging.getLogger(__name__)

_BY_SIMPLEITK = JPEGExtended12Bit
"""gdcm as pydicom calls it does not read it, SimpleITK does."""
_SIXTEEN_BITS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)
"""No pixel of theirs has more bits; gdcm aborts the process where attributes say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLayout:
    """How the pixels of one frame are stored, one whole number each (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8

    def options(self, *, frames: int = 1) -> dict[str, Any]:
        """Return the layout as pydicom's decoders take it."""
        return {
            **asdict(self),
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_keyword": "PixelData",
            "number_of_frames": frames,
        }


def decoded(data: bytes, layout: PixelLayout, *, syntax: UID, name: str) -> Integer[np.ndarray, "y x"]:
    """Decode one frame.

    Args:
        data: the compressed frame, without the fragments' heads.
        layout: what the attributes say of it.
        syntax: its transfer syntax.
        name: of the slice, for errors.

    Raises:
        UnsupportedFormatError: if no decoder for the syntax is here.
        InputError: if the frame is damaged, cut short, or contradicts the layout.
    """
    if syntax in _SIXTEEN_BITS and layout.bits_allocated > 16:  # noqa: PLR2004 (as named)
        raise InputError(
            f"{name}: BitsAllocated is {layout.bits_allocated} where {syntax.name} has at most 16 bits a "
            "pixel; export the series again"
        )
    _check_codestream(data, layout, name=name)
    if syntax == _BY_SIMPLEITK:
        stored = _by_simpleitk(data, layout, syntax=syntax, name=name)
    else:
        stored = _by_pydicom(data, layout, syntax=syntax, name=name)
    if stored.shape != (layout.rows, layout.columns) or stored.dtype.kind not in "ui":
        raise InputError(f"{name}: its decoder gives {stored.shape} where Rows, Columns say otherwise")
    _check_range(stored, layout, name=name)
    return stored


def _check_codestream(data: bytes, layout: PixelLayout, *, name: str) -> None:
    """Refuse a frame that is not of the size and depth that the attributes say, before it takes memory."""
    found = codestream_of(data)
    if found is None:
        return
    if (found.rows, found.columns, found.components) != (layout.rows, layout.columns, 1):
        raise InputError(
            f"{name}: its compressed image is {found.rows} × {found.columns} with {found.components} values "
            f"a pixel where Rows, Columns say {layout.rows} × {layout.columns}; export the series again"
        )
    if found.bits > layout.bits_allocated:
        raise InputError(
            f"{name}: its compressed image has {found.bits} bits a pixel where BitsAllocated is "
            f"{layout.bits_allocated}; export the series again"
        )
    if not found.ended:
        raise InputError(f"{name}: its compressed image has no end: it is cut short; fetch it again")


def _by_pydicom(data: bytes, layout: PixelLayout, *, syntax: UID, name: str) -> Integer[np.ndarray, "y x"]:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise _without_decoder(syntax, name) from None
    if not decoder.is_available:
        raise _without_decoder(syntax, name)
    return decoder.as_array(
        encapsulate([data]),
        index=0,
        raw=True,
        decoding_plugin="gdcm" if "gdcm" in decoder.available_plugins else "",
        **layout.options(),
    )[0]


def _by_simpleitk(data: bytes, layout: PixelLayout, *, syntax: UID, name: str) -> Integer[np.ndarray, "y x"]:
    try:
        module = importlib.import_module("thoar.io.dicom.simpleitk_decoder")
    except ModuleNotFoundError:
        raise _without_decoder(syntax, name) from None
    return module.decoded(data, layout, syntax)


def _without_decoder(syntax: UID, name: str) -> UnsupportedFormatError:
    packages = "SimpleITK" if syntax == _BY_SIMPLEITK else "python-gdcm (HTJ2K: pylibjpeg-openjpeg)"
    return UnsupportedFormatError(
        f"{name}: no decoder for {syntax.name} (TransferSyntaxUID {syntax}) is installed; install "
        f"{packages}, or store the series uncompressed"
    )


def _check_range(stored: np.ndarray, layout: PixelLayout, *, name: str) -> None:
    """Refuse values that need more bits than are stored: they may be meant without sign, or not at all."""
    signed = layout.pixel_representation
    low, high = (
        (-1 << layout.bits_stored - 1, 1 << layout.bits_stored - 1)
        if signed
        else (0, 1 << layout.bits_stored)
    )
    if int(stored.min()) < low or int(stored.max()) >= high:
        raise InputError(
            f"{name}: its pixels run from {stored.min()} to {stored.max()} where BitsStored is "
            f"{layout.bits_stored} and PixelRepresentation {signed}; export the series again"
        )
