import numpy as np
from PIL import Image

from thoar.pictures.png import write_png


def test_a_written_png_reads_back_pixel_by_pixel(tmp_path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgb)
