"""Where the veins run: the caval veins with what joins them, and those of the lungs."""

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.airways import Airways, bronchus_ways, carina_xyz_mm, trachea_column
from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.heart import HeartPlace
from thoar.phantoms.parametric.shapes import Knots
from thoar.phantoms.parametric.vessels import BELOW_MM, Vessels, beside_spine


def pulmonary_veins(build: Build, airways: Airways, place: HeartPlace) -> dict[str, Knots]:
    """Return two veins on each side: the upper ones in front of the bronchi, the lower ones below them."""
    bronchi = bronchus_ways(build, airways)
    right, left = bronchi["right_lower"][1], bronchi["left"][2]
    ends = {
        "right_upper": (right[0] - 12, right[1] - 20, right[2] - 8),
        "right_lower": (right[0] - 16, right[1] + 8, right[2] - 38),
        "left_upper": (left[0] + 14, left[1] - 14, left[2] + 4),
        "left_lower": (left[0] + 10, left[1] + 13, left[2] - 34),
    }
    ways: dict[str, Knots] = {}
    for name, end in ends.items():
        start = place.point(f"{name}_vein")
        x, y, z = (0.5 * (s + e) for s, e in zip(start, end, strict=True))
        outward = 4.0 if name.startswith("left") else -4.0
        ways[name] = [(*start, 7.5), (x + outward, y, z, 6.6), (*end, 5.2)]
    return ways


def _meeting_xyz_mm(build: Build, vessels: Vessels, airways: Airways) -> Vector3:
    """Return where the veins of both sides join to the upper caval vein, right of the aorta."""
    x, y, z = carina_xyz_mm(build, airways)
    shove = 0.35 * vessels.unfolding_mm + max(0.0, vessels.ascending_mm / 2 - 16)
    return (x - 21 - shove, y - 30, z + 22)


def upper_cava(build: Build, vessels: Vessels, airways: Airways, place: HeartPlace) -> list[Knots]:
    """Return the upper caval vein, down into the right atrium."""
    start = place.point("upper_vena_cava")
    x, y, z = _meeting_xyz_mm(build, vessels, airways)
    radius = 9.5 * vessels.vein_scale
    beside_fork = (x, y + 2, z - 22)
    middle = [0.5 * (a + b) for a, b in zip(start, beside_fork, strict=True)]
    return [
        [
            (*start, radius * 1.1),
            (middle[0], middle[1], middle[2], radius),
            (*beside_fork, radius),
            (x, y, z, radius * 0.95),
        ]
    ]


def upper_veins(build: Build, vessels: Vessels, airways: Airways, aorta: Knots) -> list[Knots]:
    """Return the veins of arms and neck: the left one crosses in front of the arch's branches."""
    x, y, z = carina_xyz_mm(build, airways)
    radius = 7.0 * vessels.vein_scale
    meet = (*_meeting_xyz_mm(build, vessels, airways), radius)
    _, ay, az, ar = aorta[3]
    over = max(az + ar * 0.75 + radius + 4, z + 30)
    tx, ty = trachea_column(build, airways).at(over + 42)
    high = over + 36
    left = [
        meet,
        (x - 2, min(ay - 10, y - 46), over, radius),
        (x + 22, y - 44, over + 9, radius * 0.95),
        (tx + 36, ty - 14, high, radius * 0.95),
    ]
    right = [
        meet,
        (tx - 26, 0.5 * (y + ty) - 22, z + 50, radius),
        (tx - 34, ty - 14, high, radius * 0.95),
    ]
    sides = [_arm_and_neck((tx, ty, high), radius, side=side) for side in (1.0, -1.0)]
    return [left, right, *sides[0], *sides[1]]


def _arm_and_neck(neck_xyz_mm: Vector3, radius: float, *, side: float) -> list[Knots]:
    """Return a side's jugular and subclavian veins, from where they join."""
    x, y, z = neck_xyz_mm
    start = (x + side * 35, y - 14, z, radius * 0.95)
    return [
        [
            start,
            (x + side * 33, y - 8, z + 30, radius * 0.85),
            (x + side * 36, y + 1, z + 75, radius * 0.8),
        ],
        [
            start,
            (x + side * 58, y - 16, z - 2, radius * 0.75),
            (x + side * 95, y - 20, z - 14, radius * 0.7),
        ],
    ]


def azygos_ways(build: Build, vessels: Vessels, airways: Airways) -> list[Knots]:
    """Return the azygos vein: before the spine, then over the right bronchus into the upper caval vein."""
    x, y, z = carina_xyz_mm(build, airways)
    radius = 3.3 * vessels.vein_scale
    way = [beside_spine(build, h, -16.0, radius=radius, left_mm=0.0) for h in (BELOW_MM + 50, 100.0, z - 5)]
    over = airways.width_mm / 2 + airways.wall_mm + radius + 1
    arch = [
        (x - 0.7 * over - 3, y + 8, z + 9, radius * 1.25),
        (x - over - 4, y - 8, z + 12, radius * 1.3),
        (x - 20, y - 24, z + 8, radius * 1.3),
    ]
    return [way + arch]


def lower_cava(build: Build, vessels: Vessels, place: HeartPlace) -> list[Knots]:
    """Return the lower caval vein, from the belly up into the right atrium."""
    px, py, pz = place.point("lower_vena_cava")
    radius = 11.0 * vessels.vein_scale
    ways = [(px, py, pz + 4, radius * 1.1), (px, py + 2, pz - 10, radius)]
    for height, ahead in ((pz - 45, 22.0), (pz - 90, 17.0)):
        right = float(spine_left_mm(build, height)) - 24
        ways.append((right, float(spine_front_mm(build, height)) - ahead, height, radius))
    last = (ways[-1][0] + 4, float(spine_front_mm(build, BELOW_MM)) - 12, min(BELOW_MM, pz - 110), radius)
    return [[*ways, last]]
