"""The windpipe, its fork, and the bronchi as far as the roots of the lungs."""

import msgspec
import numpy as np
from scipy.interpolate import PchipInterpolator

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.build import CARINA_MM, Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.column import Column, Levels, column_distance, column_window
from thoar.phantoms.parametric.shapes import Block, Knots, Tube, joined, tube, tube_distance, tube_window
from thoar.phantoms.structures import STRUCTURES

LABELLED_MM = 15.0
"""So much of each main bronchus is carved as trachea; the label takes in the rest too."""
TOP_MM = 345.0
LEVEL_MM = 3.0


class Airways(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The windpipe and the main bronchi of one patient.

    Attributes:
        carina_left_mm: the fork's place to the left of the spine's middle.
        carina_gap_mm: from the fork's middle back to the spine.
        carina_up_mm: the fork's height above the average.
        neck_gap_mm: from the windpipe's middle back to the spine, at the larynx.
        length_mm: from the cricoid to the fork (10 to 13 cm in adults).
        width_mm: inner width.
        depth_ratio: inner depth relative to the width; less than one half is a sabre sheath's opposite.
        back_ratio: depth of the back half relative to the front one: the wall without cartilage is flat.
        deviation_mm: how far the arch pushes the windpipe to the right.
        angle_deg: between the main bronchi.
        right_share: share of that angle on the right side, the steeper one.
        wall_mm: thickness of the wall.
    """

    carina_left_mm: float
    carina_gap_mm: float
    carina_up_mm: float
    neck_gap_mm: float
    length_mm: float
    width_mm: float
    depth_ratio: float
    back_ratio: float
    deviation_mm: float
    angle_deg: float
    right_share: float
    wall_mm: float


def draw_airways(rng: np.random.Generator, build: Build) -> Airways:
    """Draw the airways of one patient; a round back lets more room behind the fork.

    Widths follow Breatnach et al., AJR 142 (1984) 903: 13 to 25 mm in men, 10 to 21 mm in women.
    """
    female = build.sex == "female"
    return Airways(
        carina_left_mm=float(rng.normal(-1.0, 2.5)),
        carina_gap_mm=float(np.clip(24 + 0.5 * (build.kyphosis_mm - 12) + rng.normal(0, 4), 19, 40)),
        carina_up_mm=float(np.clip(0.2 * (build.dome_mm - 82) + rng.normal(0, 3), -12, 14)),
        neck_gap_mm=float(np.clip(rng.normal(27, 3), 21, 34)),
        length_mm=float(np.clip(rng.normal(106 if female else 115, 7), 92, 130)),
        width_mm=float(np.clip(rng.normal(16.0 if female else 18.5, 2.0), 12.5, 24)),
        depth_ratio=float(np.clip(rng.normal(1.0, 0.14), 0.65, 1.35)),
        back_ratio=float(rng.uniform(0.55, 1.0)),
        deviation_mm=float(np.clip(rng.normal(3 + 0.05 * (build.age_years - 50), 2), 0, 10)),
        angle_deg=float(np.clip(rng.normal(70, 10), 48, 95)),
        right_share=float(rng.uniform(0.38, 0.48)),
        wall_mm=float(rng.uniform(1.2, 2.0)),
    )


def carina_xyz_mm(build: Build, airways: Airways) -> Vector3:
    """Return the middle of the fork."""
    z = CARINA_MM + airways.carina_up_mm
    x = float(spine_left_mm(build, z)) + airways.carina_left_mm
    return (x, float(spine_front_mm(build, z)) - airways.carina_gap_mm, z)


def cricoid_mm(build: Build, airways: Airways) -> float:
    """Return the height of the windpipe's upper end, where the gullet begins too."""
    return min(carina_xyz_mm(build, airways)[2] + airways.length_mm, TOP_MM - 4)


def trachea_column(build: Build, airways: Airways) -> Column:
    """Return the windpipe's inside, from the fork to the larynx."""
    x, y, low = carina_xyz_mm(build, airways)
    top = cricoid_mm(build, airways)
    z = np.linspace(low - 1, top, int((top - low) / LEVEL_MM) + 2)
    up = (z - low) / (top - low)
    middle_gap = 0.5 * (airways.carina_gap_mm + 31)
    gaps = [airways.carina_gap_mm, middle_gap, airways.neck_gap_mm]
    gap = PchipInterpolator([-0.1, 0.5, 1.1], gaps)(up)
    pushed = airways.deviation_mm * np.exp(-(((z - low - 24) / 20) ** 2))
    left = np.asarray(spine_left_mm(build, z)) + airways.carina_left_mm * (1 - up) - pushed
    half = airways.width_mm / 2 * (1 - 0.12 * np.clip((up - 0.85) / 0.15, 0, 1))
    wide = half * (1 + 0.5 * np.exp(-(((z - low) / 7) ** 2)))
    front = half * airways.depth_ratio * (1 - 0.15 * np.exp(-(((z - low) / 7) ** 2)))
    middle = np.asarray(spine_front_mm(build, z)) - gap
    return Column(
        z_mm=z, x_mm=left + (x - left[0]) * (1 - up) ** 6, y_mm=middle + (y - middle[0]) * (1 - up) ** 6,
        half_x_mm=wide, front_mm=front, back_mm=front * airways.back_ratio,
    )  # fmt: skip


def trachea_top_xyz_mm(build: Build, airways: Airways) -> Vector3:
    """Return the middle of the windpipe's upper end."""
    column = trachea_column(build, airways)
    return (float(column.x_mm[-1]), float(column.y_mm[-1]), float(column.z_mm[-1]))


def bronchus_ways(build: Build, airways: Airways) -> dict[str, Knots]:
    """Return the middle lines of the bronchi: the main ones from the fork, and the lobes'."""
    x, y, z = carina_xyz_mm(build, airways)
    right = np.deg2rad(airways.angle_deg * airways.right_share)
    left = np.deg2rad(airways.angle_deg * (1 - airways.right_share))
    wide, fork = 0.43 * airways.width_mm, 0.165 * airways.width_mm
    across_r, down_r, across_l, down_l = (float(f(a)) for a in (right, left) for f in (np.sin, np.cos))
    xr, yr, zr = x - fork - 24 * across_r, y + 3, z - 24 * down_r
    ahead = 0.7 * max(0.0, 26 - airways.carina_gap_mm)
    xl, yl, zl = x + fork + 44 * across_l, y + 3 - ahead, z - 44 * down_l
    return {
        "right": [
            (x - fork, y, z + 1, wide * 0.9),
            (x - fork - 12 * across_r, y + 1, z - 12 * down_r, wide * 0.88),
            (xr, yr, zr, wide * 0.82),
        ],
        "left": [
            (x + fork, y, z + 1, wide * 0.85),
            (x + fork + 20 * across_l, y + 1 - 0.7 * ahead, z - 20 * down_l, wide * 0.76),
            (xl, yl, zl, wide * 0.7),
        ],
        "right_upper": [
            (xr, yr, zr + 5, wide * 0.6),
            (xr - 12, yr, zr + 4, wide * 0.5),
            (xr - 22, yr, zr + 8, wide * 0.42),
        ],
        "right_lower": [
            (xr, yr, zr, wide * 0.72),
            (xr - 8, yr + 2, zr - 15, wide * 0.68),
            (xr - 14, yr + 5, zr - 30, wide * 0.6),
        ],
        "right_middle": [
            (xr - 8, yr + 2, zr - 15, wide * 0.5),
            (xr - 15, yr - 7, zr - 24, wide * 0.4),
            (xr - 20, yr - 17, zr - 30, wide * 0.34),
        ],
        "left_upper": [
            (xl, yl, zl, wide * 0.62),
            (xl + 10, yl - 4, zl - 1, wide * 0.54),
            (xl + 18, yl - 11, zl + 3, wide * 0.45),
        ],
        "left_lower": [
            (xl, yl, zl, wide * 0.66),
            (xl + 9, yl + 4, zl - 11, wide * 0.6),
            (xl + 15, yl + 8, zl - 25, wide * 0.52),
        ],
    }


def bronchus_tubes(build: Build, airways: Airways) -> dict[str, Tube]:
    """Return the bronchi by structure.

    Both main bronchi end where the lobes' begin; their first part is the trachea's.
    """
    parts: dict[str, list[Tube]] = {"lung_airway": [], "main_bronchus": [], "trachea": []}
    for name, way in bronchus_ways(build, airways).items():
        line = tube(way, step_mm=1.5)
        if name not in {"right", "left"}:
            parts["lung_airway"].append(line)
            continue
        steps = np.linalg.norm(np.diff(line.centres_xyz_mm, axis=0), axis=1)
        first = np.concatenate([[0], np.cumsum(steps)]) <= LABELLED_MM
        parts["trachea"].append(_part(line, first))
        parts["main_bronchus"].append(_part(line, ~first))
    return {name: joined(tubes) for name, tubes in parts.items()}


def carve_larynx(block: Block, build: Build, airways: Airways) -> None:
    """Carve the larynx on the windpipe: a slit in cartilage, and the throat's muscle behind."""
    x, y, _ = trachea_top_xyz_mm(build, airways)
    low, half = cricoid_mm(build, airways), airways.width_mm / 2
    z = np.arange(low, low + 61.0, LEVEL_MM)
    middle = y - 0.1 * (z - low)
    slit = half * np.interp(z - low, [0, 8, 16, 30], [0.9, 0.3, 0.45, 0.9])
    throat = np.full_like(z, 14.0)
    soft = ("mediastinal_fat", "muscle", "intermuscular_fat")
    _carve_oval(block, "muscle", (z, np.full_like(z, x), middle + half + 7), (throat, 4.0), only=soft)
    for name, more in (("costal_cartilage", 3.5), ("muscle", 1.5), ("lung_airway", 0.0)):
        line = (z, np.full_like(z, x), middle)
        _carve_oval(block, name, line, (slit + more, 0.95 * half + more), only=(*soft, "costal_cartilage"))


def _carve_oval(
    block: Block,
    name: str,
    line_zxy_mm: tuple[Levels, Levels, Levels],
    half_xy_mm: tuple[Levels, float],
    *,
    only: tuple[str, ...],
) -> None:
    z, x, y = line_zxy_mm
    deep = np.full_like(z, half_xy_mm[1])
    shape = Column(z_mm=z, x_mm=x, y_mm=y, half_x_mm=half_xy_mm[0], front_mm=deep, back_mm=deep)
    window = column_window(block.grid, shape, reach_mm=2.0)
    block.carve(column_distance(block.grid.part(window), shape) < 0, name, window=window, only=only)


def _part(line: Tube, kept: np.ndarray) -> Tube:
    return Tube(centres_xyz_mm=line.centres_xyz_mm[kept], radius_mm=line.radius_mm[kept])


_YIELDING = tuple(
    name
    for name in STRUCTURES
    if name not in {"left_atrium", "right_atrium", "atrial_wall", "aorta", "aorta_wall"}
)
"""What airways may cut into: a large heart presses on them instead."""


def carve_airways(block: Block, build: Build, airways: Airways) -> None:
    """Carve walls first, then what they hold: the bronchi, and the trachea last."""
    carve_larynx(block, build, airways)
    column = trachea_column(build, airways)
    window = column_window(block.grid, column, reach_mm=4.0)
    shapes = []
    for name, line in bronchus_tubes(build, airways).items():
        around = tube_window(block.grid, line, reach_mm=4.0)
        shapes.append((name, around, tube_distance(block.grid.part(around), line)))
    shapes.append(("trachea", window, column_distance(block.grid.part(window), column)))
    for name, around, inside in shapes:
        block.carve(inside < airways.wall_mm, f"{name}_wall", window=around, only=_YIELDING)
    for name, around, inside in shapes:
        block.carve(inside < 0, name, window=around, only=_YIELDING)
