"""The frames of a DICOM-SEG: which slices an organ needs, and their pixels, packed one frame at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from thoar.core.errors import ResourceError
from thoar.io.structures.organ_mask import OrganMask

FULL_PROBABILITY = 255
"""MaximumFractionalValue: how a FRACTIONAL object stores the probability 1."""
_LONGEST = 2**32 - 2  # bytes that an element's length can say


def touched_slices(organ: OrganMask, *, fractional: bool) -> tuple[int, ...]:
    """Return the slices of the series on which a frame of the organ is not all zero."""
    first = organ.box_zyx.start_zyx[0]
    planes = (_stored(plane, fractional=fractional) for plane in organ.probability)
    return tuple(first + k for k, plane in enumerate(planes) if plane.any())


def frame_pixels(
    organ: OrganMask, index: int, *, shape_yx: tuple[int, int], fractional: bool
) -> UInt8[np.ndarray, "y x"]:
    """Return one slice of the organ as a frame stores it: 0 and 1, or 0 to ``FULL_PROBABILITY``."""
    frame = np.zeros(shape_yx, np.uint8)
    plane = organ.probability[index - organ.box_zyx.start_zyx[0]]
    frame[organ.box_zyx.slices[1:]] = _stored(plane, fractional=fractional)
    return frame


def append_pixels(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "y x"]],
    *,
    count: int,
    shape_yx: tuple[int, int],
    bits: int,
) -> None:
    """Write PixelData behind a file's last element, in explicit VR, little endian (PS3.5, 7.1.2, 8.1.1).

    Args:
        path: the file, whole but for its pixels.
        frames: of the shape said; no two are held at a time.
        count: how many there are.
        shape_yx: rows and columns of each.
        bits: 1 or 8 a pixel; single bits run on from frame to frame.

    Raises:
        ResourceError: if one DICOM file cannot hold so many.
    """
    size = -(-count * shape_yx[0] * shape_yx[1] * bits // 8)
    length = size + size % 2
    if length > _LONGEST:
        raise ResourceError(
            f"{path.parent}: {count} frames make {length} bytes of pixels, more than a DICOM file can "
            "hold; write fewer organs, or no probabilities"
        )
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\x00\x00" + length.to_bytes(4, "little"))
        for piece in _packed(frames) if bits == 1 else (frame.tobytes() for frame in frames):
            file.write(piece)
        file.write(b"\0" * (length - size))


def _stored(plane: Float[np.ndarray, "y x"], *, fractional: bool) -> UInt8[np.ndarray, "y x"]:
    if fractional:  # in 64 bits: products of 16 bits would be rounded before they are
        return np.rint(plane.astype(np.float64) * FULL_PROBABILITY).astype(np.uint8)
    return (plane >= 0.5).astype(np.uint8)  # noqa: PLR2004 (what a mask is)


def _packed(frames: Iterable[UInt8[np.ndarray, "y x"]]) -> Iterator[bytes]:
    """Yield the frames' bits, first pixel in the lowest one; what fills no byte waits for the next frame."""
    rest = np.empty(0, np.uint8)
    for frame in frames:
        bits = np.concatenate([rest, frame.ravel()])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    yield np.packbits(rest, bitorder="little").tobytes()
