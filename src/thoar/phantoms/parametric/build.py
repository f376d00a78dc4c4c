"""The frame of one chest: who it is, and the surfaces that everything else hangs on.

The patient's frame, in millimetres of an average adult: x to the left from the midline, y to the back from
the cage's middle, z to the head; the carina lies at about z = 195. Size and pose come later (``deform``).
The spine's place may be asked for with numbers, numpy arrays or tensors alike.
"""

from typing import Literal, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

Place = TypeVar("Place", float, np.ndarray, Tensor)

CARINA_MM = 195.0
APEX_MM = 280.0
"""Height of the lungs' tops."""
MANUBRIUM_MM = 222.0
"""Height of the middle of the breast bone's handle."""
SPINE_APEX_MM = 165.0
"""Height at which the spine lies farthest back."""


class Build(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Build, age, breathing and posture of one patient.

    Attributes:
        sex: what the breasts and the breadth of bone and muscle follow.
        age_years: stiffens and curves the spine, unfolds the aorta, thins the muscles.
        cage_half_x_mm: half width of the rib cage's inside, where it is widest.
        cage_half_y_mm: half depth of it.
        spine_mm: y of the spine's front where it lies farthest back.
        kyphosis_mm: how far the spine's front comes forward 130 mm below that; four times as far above.
        scoliosis_mm: how far the spine swings sideways.
        scoliosis_phase: where along the spine, in radians.
        dome_mm: height of the right diaphragm's dome: low after a deep breath.
        left_dome_mm: how much lower the left one lies.
        fat_mm: thickness of the fat under the skin at the side of the chest.
        muscle_mm: thickness of the muscle layer there.
        visceral_fat: 0 for none between the organs, 1 for a great deal.
        breast_mm: how far the breasts stand out.
        breast_gland: share of them that is gland.
        arms: beside the head or beside the trunk.
    """

    sex: Literal["female", "male"]
    age_years: float
    cage_half_x_mm: float
    cage_half_y_mm: float
    spine_mm: float
    kyphosis_mm: float
    scoliosis_mm: float
    scoliosis_phase: float
    dome_mm: float
    left_dome_mm: float
    fat_mm: float
    muscle_mm: float
    visceral_fat: float
    breast_mm: float
    breast_gland: float
    arms: Literal["up", "down"]


def draw_build(rng: np.random.Generator) -> Build:
    """Draw the build of one patient."""
    sex: Literal["female", "male"] = "female" if rng.random() < 0.45 else "male"  # noqa: PLR2004 (share)
    female = sex == "female"
    age = float(np.clip(rng.normal(62, 14), 18, 92))
    fat = float(np.clip(rng.lognormal(np.log(15 if female else 11), 0.55), 2.5, 50))
    deep = float(np.clip(rng.normal(90 if female else 96, 7), 76, 114))
    return Build(
        sex=sex,
        age_years=age,
        cage_half_x_mm=float(np.clip(rng.normal(116 if female else 126, 7), 100, 144)),
        cage_half_y_mm=deep,
        spine_mm=float(deep - 52 + rng.normal(0, 3)),
        kyphosis_mm=float(np.clip(rng.normal(6 + 0.1 * age, 2.5), 5, 20)),
        scoliosis_mm=float(np.abs(rng.normal(0, 4)).clip(0, 14)),
        scoliosis_phase=float(rng.uniform(0, 2 * np.pi)),
        dome_mm=float(np.clip(rng.normal(88, 16), 52, 125)),
        left_dome_mm=float(np.clip(rng.normal(13, 7), -5, 30)),
        fat_mm=fat,
        muscle_mm=float(np.clip(rng.normal(9 if female else 13, 2.5) - 0.05 * (age - 60), 5, 20)),
        visceral_fat=float(np.clip(rng.beta(2, 3) * (0.6 + fat / 40) + (0 if female else 0.1), 0, 1)),
        breast_mm=float(np.clip(18 + 1.3 * fat + rng.normal(0, 8), 8, 80)) if female else 0.0,
        breast_gland=float(np.clip(rng.normal(0.55 - 0.006 * (age - 30), 0.15), 0.03, 0.8)),
        arms="up" if rng.random() < 0.8 else "down",  # noqa: PLR2004 (share)
    )


def spine_front_mm(build: Build, z_mm: Place) -> Place:
    """Return y of the vertebral bodies' front at a height: the thoracic kyphosis.

    It is a parabola, shallower below its apex, that runs out into a straight line at the neck.
    """
    above = (z_mm - SPINE_APEX_MM) / 130.0
    if isinstance(above, Tensor):
        up, neck, down = above.clamp(0, 0.85), (above - 0.85).clamp(min=0), above.clamp(max=0)
    else:
        up, neck, down = np.clip(above, 0, 0.85), np.maximum(above - 0.85, 0), np.minimum(above, 0)
    bend = 4.0 * up**2 + 6.8 * neck + down**2
    return build.spine_mm - build.kyphosis_mm * bend  # pyright: ignore[reportReturnType]


def spine_left_mm(build: Build, z_mm: Place) -> Place:
    """Return x of the vertebral bodies' middle at a height: the scoliosis."""
    angle = z_mm * (2 * np.pi / 320.0) + build.scoliosis_phase
    return build.scoliosis_mm * (torch.sin(angle) if isinstance(angle, Tensor) else np.sin(angle))  # pyright: ignore[reportReturnType]


def cage_half_mm(build: Build, z_mm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return half width, half depth and middle (y) of the rib cage's inside at each height.

    It narrows towards the apex, where it closes at z = 280.
    """
    top = ((z_mm - 110.0) / (APEX_MM - 110.0)).clamp(0, 0.9995)
    closing = (1 - top**2.5).sqrt()
    middle = 0.1 * build.cage_half_y_mm * ((z_mm - 110.0) / 180.0).clamp(0, 1)
    return build.cage_half_x_mm * closing, build.cage_half_y_mm * closing, middle


def sternum_back_mm(build: Build, z_mm: Tensor) -> Tensor:
    """Return y of the breast bone's back, the front of the space between the lungs."""
    _, half_y, middle = cage_half_mm(build, z_mm.clamp(max=MANUBRIUM_MM))
    return middle - half_y + 5.0 + 0.45 * (z_mm - MANUBRIUM_MM).clamp(min=0)


def diaphragm_mm(build: Build, x_mm: Tensor, y_mm: Tensor) -> Tensor:
    """Return the height of the diaphragm's upper side: two domes, and the saddle the heart rests on."""
    half_x = build.cage_half_x_mm
    right = _dome(build, x_mm + 0.46 * half_x, y_mm, top_mm=build.dome_mm)
    left = _dome(build, x_mm - 0.52 * half_x, y_mm, top_mm=build.dome_mm - build.left_dome_mm)
    saddle = build.dome_mm - 0.7 * build.left_dome_mm - 9.0
    saddle = saddle - 40.0 * ((x_mm - 12.0) / 70.0) ** 2 - 60.0 * ((y_mm + 30.0) / 60.0).clamp(min=0) ** 2
    sharp = 6.0
    return sharp * torch.logsumexp(torch.stack([right, left, saddle.expand_as(right)]) / sharp, dim=0)


def _dome(build: Build, x_mm: Tensor, y_mm: Tensor, *, top_mm: float) -> Tensor:
    """Return one dome: part of an ellipsoid, steep to the side and to the back, shallow to the front."""
    back_mm = y_mm + 15.0
    deep = build.cage_half_y_mm * (1.29 - 0.17 * torch.tanh(back_mm / 20.0))
    away = (x_mm / (0.62 * build.cage_half_x_mm)) ** 2 + (back_mm / deep) ** 2
    return top_mm - 115.0 * (1 - (1 - away.clamp(max=0.99)).sqrt()) - 60.0 * (away - 0.99).clamp(min=0)
