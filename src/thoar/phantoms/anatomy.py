"""Where things lie in the parametric chest, in millimetres of an average adult.

The patient's frame: x to the left from the midline, y to the back from the cage's middle, z to the head from
the field's lower end; the carina is at about z = 195. Tables give knots (x, y, z, radius) of centre lines, y
counted from the front of the spine, for what lies there follows the spine's curve.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from thoar.phantoms.shapes import Tube, joined, tube

Knots = Sequence[tuple[float, float, float, float]]

CAGE_X_MM, CAGE_Y_MM = 138.0, 96.0
"""Half width and half depth of the rib cage's inside."""
CAGE_POWER = 2.3
"""The cage's section is a superellipse of this power."""
CARINA_MM = 195.0

TRACHEA: Knots = (
    (0.0, -36.0, 330.0, 9.5),
    (0.0, -33.0, 280.0, 9.5),
    (1.0, -27.0, 235.0, 10.0),
    (1.0, -18.0, CARINA_MM, 10.0),
)
BRONCHI: Mapping[str, Knots] = MappingProxyType(
    {
        "right": (
            (1.0, -18.0, 197.0, 8.0),
            (-12.0, -16.0, 186.0, 7.5),
            (-28.0, -14.0, 174.0, 7.0),
            (-42.0, -10.0, 158.0, 5.0),
        ),
        "left": (
            (1.0, -18.0, 197.0, 7.5),
            (14.0, -16.0, 186.0, 6.5),
            (32.0, -13.0, 174.0, 6.5),
            (48.0, -8.0, 162.0, 5.0),
        ),
    }
)
ESOPHAGUS: Knots = (
    (3.0, -13.0, 330.0, 7.0),
    (4.0, -12.0, 280.0, 7.5),
    (6.0, -8.0, 235.0, 8.0),
    (5.0, -7.0, 195.0, 8.0),
    (3.0, -7.0, 150.0, 8.5),
    (6.0, -9.0, 115.0, 8.5),
    (13.0, -13.0, 85.0, 8.5),
    (22.0, -22.0, 62.0, 9.0),
    (32.0, -34.0, 48.0, 10.0),
)
AORTA: Knots = (
    (6.0, -50.0, 148.0, 16.0),
    (-8.0, -57.0, 168.0, 17.0),
    (-15.0, -55.0, 190.0, 16.5),
    (-10.0, -46.0, 211.0, 15.5),
    (4.0, -28.0, 223.0, 14.5),
    (19.0, -8.0, 218.0, 14.0),
    (27.0, 4.0, 200.0, 13.5),
    (27.0, 6.0, 165.0, 13.0),
    (22.0, 3.0, 120.0, 12.5),
    (13.0, -3.0, 75.0, 12.0),
    (5.0, -11.0, 30.0, 11.5),
    (2.0, -13.0, -20.0, 11.0),
)
"""From the root, inside the heart, to the abdomen."""
ARTERIES: Mapping[str, Knots] = MappingProxyType(
    {
        "brachiocephalic": (
            (-4.0, -40.0, 220.0, 6.0),
            (-10.0, -42.0, 245.0, 6.0),
            (-20.0, -40.0, 275.0, 5.5),
            (-34.0, -44.0, 320.0, 4.0),
        ),
        "left_carotid": ((7.0, -28.0, 224.0, 4.0), (14.0, -30.0, 250.0, 3.5), (20.0, -34.0, 320.0, 3.5)),
        "left_subclavian": (
            (18.0, -10.0, 220.0, 5.0),
            (24.0, -14.0, 250.0, 4.5),
            (34.0, -18.0, 278.0, 4.5),
            (70.0, -20.0, 296.0, 4.0),
        ),
    }
)
UPPER_VEINS: Mapping[str, Knots] = MappingProxyType(
    {
        "superior_vena_cava": (
            (-30.0, -40.0, 150.0, 10.0),
            (-32.0, -44.0, 185.0, 10.0),
            (-32.0, -50.0, 225.0, 9.5),
        ),
        "left_brachiocephalic": (
            (-31.0, -50.0, 224.0, 7.0),
            (-8.0, -66.0, 237.0, 6.5),
            (22.0, -62.0, 255.0, 6.0),
            (40.0, -50.0, 285.0, 6.0),
        ),
        "right_brachiocephalic": (
            (-32.0, -50.0, 224.0, 7.5),
            (-36.0, -48.0, 260.0, 7.0),
            (-46.0, -46.0, 300.0, 6.5),
        ),
        "azygos": (
            (-8.0, 2.0, -10.0, 3.0),
            (-8.0, 1.0, 100.0, 3.5),
            (-10.0, 0.0, 190.0, 4.0),
            (-20.0, -12.0, 206.0, 4.5),
            (-31.0, -38.0, 204.0, 4.0),
        ),
    }
)
LOWER_VEINS: Mapping[str, Knots] = MappingProxyType(
    {
        "inferior_vena_cava": (
            (-24.0, -28.0, -20.0, 12.0),
            (-25.0, -34.0, 40.0, 12.0),
            (-22.0, -40.0, 100.0, 13.0),
        )
    }
)
PULMONARY: Mapping[str, Knots] = MappingProxyType(
    {
        "trunk": ((16.0, -80.0, 140.0, 15.0), (20.0, -70.0, 163.0, 14.5), (19.0, -52.0, 180.0, 13.5)),
        "left": ((18.0, -54.0, 179.0, 12.0), (32.0, -36.0, 183.0, 11.0), (46.0, -18.0, 176.0, 9.0)),
        "right": (
            (18.0, -54.0, 178.0, 11.5),
            (2.0, -38.0, 172.0, 10.5),
            (-24.0, -32.0, 168.0, 10.0),
            (-46.0, -24.0, 164.0, 8.0),
        ),
        "left_vein": ((18.0, -38.0, 140.0, 7.0), (42.0, -26.0, 146.0, 6.0), (56.0, -20.0, 150.0, 4.5)),
        "right_vein": ((-18.0, -38.0, 138.0, 7.0), (-42.0, -30.0, 142.0, 6.0), (-56.0, -26.0, 146.0, 4.5)),
    }
)

HEART_AXIS = (0.72, -0.52, -0.46)
"""From the base to the apex."""


def spine_front_mm(z_mm: Float[np.ndarray, "*shape"] | float) -> Float[np.ndarray, "*shape"]:
    """Return y of the vertebral bodies' front at a height: the thoracic kyphosis."""
    return np.asarray(33.0 - 12.0 * ((np.asarray(z_mm, dtype=np.float64) - 165.0) / 130.0) ** 2)


def placed(way: Knots) -> list[tuple[float, float, float, float]]:
    """Return knots whose y counts from the spine's front as knots in the patient's frame."""
    return [(x, y + float(spine_front_mm(z)), z, r) for x, y, z, r in way]


def cage_half_mm(z_mm: Float[np.ndarray, "*shape"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cage's half width, half depth and middle (y) at each height; it closes at the top."""
    top = np.clip((z_mm - 190.0) / 110.0, 0, 0.985)
    closing = np.sqrt(1 - top**2.4)
    slope = np.clip((z_mm - 120.0) / 180.0, 0, 1)
    depth = CAGE_Y_MM * (1 - 0.3 * slope)
    return CAGE_X_MM * closing, depth * closing, 0.6 * CAGE_Y_MM * 0.3 * slope


def heart_frame() -> Float[np.ndarray, "3 3"]:
    """Return the turn from the patient's axes to the heart's: long axis, leftwards, upwards."""
    long = np.array(HEART_AXIS) / np.linalg.norm(HEART_AXIS)
    side = np.cross((0.0, 0.0, 1.0), long)
    side /= np.linalg.norm(side)
    return np.stack([long, side, np.cross(long, side)])


def ribs() -> tuple[Tube, Tube]:
    """Return bone and cartilage of ten pairs of ribs."""
    bone, cartilage = [], []
    for number in range(10):
        for side in (-1.0, 1.0):
            knots = _rib(274.0 - 25.0 * number, side)
            bone.append(tube(knots[:10], step_mm=3.0))
            cartilage.append(tube(knots[9:], step_mm=3.0))
    return joined(bone), joined(cartilage)


def lung_vessels(rng: np.random.Generator, *, each_side: int) -> Tube:
    """Return branches that leave the roots of the lungs in random directions."""
    branches = []
    for side in (-1.0, 1.0):
        root = np.array([side * 46.0, spine_front_mm(165.0) - 18.0, 165.0])
        for _ in range(each_side):
            end = np.array([side * rng.uniform(50, 122), rng.uniform(-70, 70), rng.uniform(70, 265)])
            radius = float(rng.uniform(2.0, 4.5))
            path = np.stack([root, (root + end) / 2 + rng.normal(0, 9, 3), end])
            branches.append(tube(_knots(path, (radius, 0.6 * radius, 0.7)), step_mm=2.0))
    return joined(branches)


def _knots(path: np.ndarray, radius: tuple[float, ...]) -> list[tuple[float, float, float, float]]:
    return [(float(x), float(y), float(z), r) for (x, y, z), r in zip(path, radius, strict=True)]


def _rib(back_mm: float, side: float) -> list[tuple[float, float, float, float]]:
    """Return one rib's knots from the spine round to the front, where it ends lower."""
    angle = np.deg2rad(np.linspace(162, 14, 13))
    z = back_mm - 31.0 * (1 - np.cos(np.pi - angle))
    half_x, half_y, middle = cage_half_mm(z.clip(-50, 292))
    across, along = np.sin(angle), -np.cos(angle)
    x = side * (half_x + 4) * across ** (2 / CAGE_POWER)
    y = middle + (half_y + 4) * np.sign(along) * np.abs(along) ** (2 / CAGE_POWER)
    return _knots(np.stack([x, y, z], axis=1), (5.0,) * len(angle))
