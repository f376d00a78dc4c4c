"""The neck's inner space: thyroid, fat, and the muscles along it."""

import numpy as np

from thoar.phantoms.parametric.build import Build, spine_front_mm
from thoar.phantoms.parametric.column import Column, column_distance
from thoar.phantoms.parametric.lymph import carve_lump
from thoar.phantoms.parametric.shapes import Block


def carve_thyroid(block: Block, scale: float, *, trachea: Column, trachea_half_mm: float) -> None:
    """Carve a lobe on each side of the windpipe's upper end, and the bridge in front of it."""
    half = trachea_half_mm
    z = float(trachea.z_mm[-1]) - 18
    x, y = trachea.at(z)
    soft = ("muscle", "intermuscular_fat", "mediastinal_fat", "subcutaneous_fat", "outside")
    for side in (-1.0, 1.0):
        centre = (x + side * (half + 6.5 * scale), y - 1, z + 3 + side)
        carve_lump(block, "thyroid", centre, (8.0 * scale, 10.0 * scale, 22.0 * scale), only=soft)
    carve_lump(
        block, "thyroid", (x, y - half - 4, z - 4), (15.0 * scale, 4.5 * scale, 8.0 * scale), only=soft
    )


def carve_neck(block: Block, build: Build, trachea: Column) -> None:
    """Carve the neck's inner space, fat, with the muscles along it."""
    low = float(trachea.z_mm[0]) + 78
    z = np.arange(low, 346.0, 5.0)
    x, y = (np.interp(z, trachea.z_mm, v) for v in (trachea.x_mm, trachea.y_mm))
    wall = ("muscle", "intermuscular_fat", "subcutaneous_fat")
    _carve_column(block, "mediastinal_fat", (z, x, y), (40.0, 22.0, 26.0), only=wall)
    for side in (-1.0, 1.0):
        spine = np.asarray(spine_front_mm(build, z))
        _carve_column(
            block, "muscle", (z, x + side * 9, spine - 3), (7.0, 4.0, 5.0), only=("mediastinal_fat",)
        )
        _carve_column(block, "muscle", (z, x + side * 11, y - 17), (9.0, 2.5, 2.5), only=("mediastinal_fat",))
        out = np.clip((z - low) / 60, 0, 1)
        _carve_column(
            block, "muscle", (z, x + side * (18 + 18 * out), y - 22 + 8 * out), (10.0, 5.5, 5.5),
            only=("mediastinal_fat",),
        )  # fmt: skip


def _carve_column(
    block: Block, name: str, line: tuple[np.ndarray, np.ndarray, np.ndarray],
    half: tuple[float, float, float], *, only: tuple[str, ...],
) -> None:  # fmt: skip
    z, x, y = line
    wide, front, back = (np.full_like(z, h) for h in half)
    column = Column(z_mm=z, x_mm=x, y_mm=y, half_x_mm=wide, front_mm=front, back_mm=back)
    low, high = x.min() - half[0] - 2, x.max() + half[0] + 2
    window = block.grid.window(
        [float(low), float(y.min() - half[1] - 2), float(z[0])],
        [float(high), float(y.max() + half[2] + 2), float(z[-1])],
    )
    inside = column_distance(block.grid.part(window), column)
    block.carve(inside < 0, name, window=window, only=only)
