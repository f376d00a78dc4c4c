"""RGB arrays as PNG files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

COMPRESSION_LEVEL = 3
"""Of a scan's slices zlib makes hardly less at higher levels, in several times the time."""


def write_png(path: Path, rgb: UInt8[np.ndarray, "row column 3"]) -> None:
    """Write a picture as a PNG file, over an older one of that name."""
    Image.fromarray(rgb).save(path, format="PNG", compress_level=COMPRESSION_LEVEL)
