"""Where the arteries run: the aorta with the arch's branches, and the pulmonary arteries."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.airways import Airways, bronchus_ways, carina_xyz_mm, trachea_column
from thoar.phantoms.parametric.build import Build
from thoar.phantoms.parametric.heart import HeartPlace
from thoar.phantoms.parametric.shapes import Knots
from thoar.phantoms.parametric.vessels import BELOW_MM, Vessels, beside_spine


def aorta_knots(
    build: Build, vessels: Vessels, airways: Airways, *, place: HeartPlace
) -> list[tuple[float, float, float, float]]:
    """Return the aorta's centre line from the valve over the arch, left of the windpipe, to the belly."""
    x, y, z = carina_xyz_mm(build, airways)
    wide, narrow, open_mm = vessels.ascending_mm / 2, vessels.descending_mm / 2, vessels.unfolding_mm
    root = place.point("aortic_root")
    up = z + vessels.arch_up_mm
    rise = min(root[1] - 4, y - 42) + (y - 45 - min(root[1] - 4, y - 42)) * 0.5
    knots = [
        (*root, wide * 1.06),
        (root[0] - 5 - 0.3 * open_mm, 0.5 * (root[1] + rise) - 2, 0.6 * root[2] + 0.4 * (z - 8), wide),
        (x - 3 - 0.35 * open_mm, rise, z - 8, wide),
        (x + 1 - 0.2 * open_mm, rise + 9, up - 3, wide * 0.96),
    ]
    knots += _over_the_bronchus(build, vessels, airways, up_mm=up)
    turn = np.interp(np.arange(5), [0, 4], [vessels.turn_deg, vessels.turn_low_deg])
    heights = (*np.linspace(z - 14, 62, 4), BELOW_MM)
    for height, degrees in zip(heights, (*turn[[0, 1, 2, 4]], vessels.turn_low_deg * 0.7), strict=True):
        middle = 0 if height < 100 else 0.25 * open_mm  # noqa: PLR2004
        radius = narrow * (1.0 if height > 100 else 0.93)  # noqa: PLR2004
        knots.append(beside_spine(build, float(height), float(degrees), radius=radius, left_mm=middle))
    return knots


def _over_the_bronchus(
    build: Build, vessels: Vessels, airways: Airways, *, up_mm: float
) -> list[tuple[float, float, float, float]]:
    """Return the arch's two knots beside the windpipe, clear of it."""
    column = trachea_column(build, airways)
    tx, ty = column.at(up_mm)
    narrow, wide = vessels.descending_mm / 2, vessels.ascending_mm / 2
    open_mm = vessels.unfolding_mm
    knots = []
    for degrees, height, share in ((48.0, up_mm + 2, 0.55), (2.0, up_mm, 0.2)):
        radius = narrow + (wide - narrow) * share
        clear = airways.width_mm / 2 + airways.wall_mm + radius + 1.5 + 0.35 * open_mm
        left, ahead = np.cos(np.deg2rad(degrees)) * clear, np.sin(np.deg2rad(degrees)) * clear
        knots.append((tx + float(left), ty - float(ahead), height, radius))
    low = beside_spine(build, up_mm - 18, vessels.turn_deg, radius=narrow, left_mm=0.4 * open_mm)
    return [*knots, low]


def arch_branches(build: Build, vessels: Vessels, airways: Airways, aorta: Knots) -> list[Knots]:
    """Return the arch's branches: to the right arm and head, the left head, the left arm."""
    column = trachea_column(build, airways)
    first, second, third = (np.array(knot) for knot in aorta[3:6])
    near, high = float(first[2]) + 30, float(first[2]) + 62
    low_neck, neck = (*column.at(near), near), (*column.at(high), high)
    middle = (first[:2] + np.array(low_neck[:2])) / 2
    trunk: Knots = [
        _off(first, (1, 1, 0.5 * first[3]), 6.5),
        (float(middle[0]) - 3, float(min(middle[1] - 4, low_neck[1] - 17)), near - 2, 6.5),
        _off(neck, (-17, -10, -16), 6.0),
    ]
    start = _off(0.4 * first + 0.6 * second, (0, 0, 0.5 * second[3]), 4.2)
    if vessels.branches == "bovine":
        start = trunk[1]
    last = 0.3 * second + 0.7 * third
    return [
        trunk,
        [trunk[-1], *_up_the_neck(neck, -1.0)],
        [trunk[-1], *_to_the_arm(neck, -1.0)],
        [_off(start, (0, 0, 0), 4.0), _off(low_neck, (15, -12, 4), 3.8), *_up_the_neck(neck, 1.0)],
        [
            _off(last, (0, 0, 0.5 * last[3]), 5.0),
            (float(third[0]) - 1, 0.5 * (float(third[1]) + low_neck[1]), near + 2, 4.8),
            *_to_the_arm(neck, 1.0),
        ],
    ]


def _up_the_neck(neck: Sequence[float], side: float) -> Knots:
    """Return the common carotid artery beside the windpipe."""
    return [
        _off(neck, (side * 20.5, -6, 0), 3.7),
        _off(neck, (side * 24, -2, 28), 3.6),
        _off(neck, (side * 27, 3, 75), 3.6),
    ]


def _to_the_arm(neck: Sequence[float], side: float) -> Knots:
    """Return the subclavian artery over the lung's top."""
    return [
        _off(neck, (side * 32, 1, -6), 4.8),
        _off(neck, (side * 55, 0, -2), 4.4),
        _off(neck, (side * 95, -8, -12), 4.0),
    ]


def pulmonary_trunk(build: Build, vessels: Vessels, airways: Airways, place: HeartPlace) -> Knots:
    """Return the pulmonary trunk: from the right ventricle back and up to its fork under the arch."""
    root, radius = place.point("pulmonary_root"), vessels.trunk_mm / 2
    end = _trunk_end(build, airways)
    middle = (0.5 * (root[0] + end[0]) + 4, 0.55 * root[1] + 0.45 * end[1] - 3, 0.5 * (root[2] + end[2]) + 3)
    below = (root[0] - 1, root[1] - 1, root[2] - 8)
    return [(*below, radius), (*root, radius * 1.02), (*middle, radius * 0.98), (*end, radius * 0.9)]


def _trunk_end(build: Build, airways: Airways) -> Vector3:
    x, y, z = carina_xyz_mm(build, airways)
    return (x + 24, y - 29, z - 12)


def pulmonary_arteries(build: Build, vessels: Vessels, airways: Airways) -> dict[str, Knots]:
    """Return the right artery behind the ascending aorta, the left one over its bronchus, and upper branches.

    Names are a side and where the way leads: "lower" begins at the fork, "upper" at the hilum.
    """
    fork = carina_xyz_mm(build, airways)
    end, radius = _trunk_end(build, airways), vessels.trunk_mm / 2
    ways = bronchus_ways(build, airways)
    right, left = ways["right_lower"][1], ways["left"][2]
    over = max(18.0, fork[2] - 14 - left[2])
    return {
        "right_lower": [
            (*end, radius * 0.8),
            _off(fork, (4, -22, -18), radius * 0.72),
            _off(right, (8, -18, 2), radius * 0.68),
            _off(right, (-9, -10, -3), radius * 0.58),
            _off(right, (-14, -1, -14), radius * 0.48),
        ],
        "right_upper": [_off(right, (4, -16, 3), radius * 0.5), _off(right, (-16, -9, 14), radius * 0.36)],
        "left_lower": [
            (*end, radius * 0.8),
            (end[0] + 10, fork[1] - 17, fork[2] - 7, radius * 0.74),
            _off(left, (6, 2, over), radius * 0.68),
            _off(left, (13, 13, 6), radius * 0.56),
            _off(left, (16, 15, -12), radius * 0.48),
        ],
        "left_upper": [_off(left, (4, 0, 18), radius * 0.45), _off(left, (16, -4, 22), radius * 0.34)],
    }


def _off(
    point: Sequence[float] | Float[np.ndarray, " xyz_or_more"],
    move: tuple[float, float, float],
    radius: float,
) -> tuple[float, float, float, float]:
    """Return a knot at some way from a point."""
    x, y, z = (float(p + m) for p, m in zip(point[:3], move, strict=True))
    return (x, y, z, radius)
