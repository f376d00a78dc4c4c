"""RGB arrays as PNG files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def write_png(path: Path, rgb: UInt8[np.ndarray, "row column 3"]) -> None:
    """Write a picture as a PNG file, over an older one of that name."""
    Image.fromarray(rgb).save(path, format="PNG")
