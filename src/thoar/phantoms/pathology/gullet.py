"""A thick, wide or intubated esophagus, and a stomach that has slipped into the chest."""

import math

import torch

from thoar.phantoms.distances import distance_mm
from thoar.phantoms.pathology.lines import ball_line
from thoar.phantoms.pathology.record import Gullet
from thoar.phantoms.pathology.subject import Subject, Window, centre_line, extent
from thoar.phantoms.pathology.warp import grown, pushed
from thoar.phantoms.structures import LUNGS, ORGAN_STRUCTURES, chosen

ESOPHAGUS = ORGAN_STRUCTURES["esophagus"]
WALL_MM = 3.0
"""Thickness of the wall of a widened esophagus and of a hernia."""
HERNIA_ROOM = (*LUNGS, "mediastinal_fat", "pericardial_fat", "atelectasis", "effusion", "lymph_node")
BESIDE_MM = 4.0
"""About half the width of an esophagus, which a hernia lies beside."""
HERNIA_PRESS = 0.45


def sicken_gullet(subject: Subject, gullet: Gullet) -> None:
    """Change the esophagus's width and wall, put a tube in, and a hernia beside it."""
    if gullet.dilation_mm > 0:
        _dilate(subject, gullet)
    if gullet.tumour_mm > 0:
        _thicken(subject, gullet)
    if gullet.hernia_mm > 0:
        _add_hernia(subject, gullet)
    if gullet.tube_mm > 0:
        _add_tube(subject, gullet.tube_mm)


def _level(subject: Subject, window: Window, share: float) -> tuple[torch.Tensor, float]:
    """Heights of a window's slices and the height of a share of the esophagus."""
    line = centre_line(subject, *ESOPHAGUS)
    low, high = float(line[0, 0]), float(line[-1, 0])
    return subject.axes(window)[0], low + share * (high - low)


def _dilate(subject: Subject, gullet: Gullet) -> None:
    """Widen the esophagus and open it: above a tumour, or everywhere."""
    growth = gullet.dilation_mm
    window = extent(subject, *ESOPHAGUS, margin_mm=3 * growth + 8)
    if window is None:
        return
    z, level = _level(subject, window, gullet.tumour_level if gullet.tumour_mm > 0 else -1.0)
    grown(subject, ESOPHAGUS, growth * torch.sigmoid((z - level) / 12), window=window)
    part = subject.structure[window]
    depth = distance_mm(~chosen(part, *ESOPHAGUS), subject.spacing_zyx_mm, reach_mm=WALL_MM + 2)
    wide = (depth > WALL_MM) & (z > level)
    subject.fill(wide, "esophagus_lumen", window=window, only=("esophagus_wall",))


def _thicken(subject: Subject, gullet: Gullet) -> None:
    growth = gullet.tumour_mm
    window = extent(subject, *ESOPHAGUS, margin_mm=3 * growth + 8)
    if window is None:
        return
    z, level = _level(subject, window, gullet.tumour_level)
    along = torch.exp(-(((z - level) / (0.5 * gullet.tumour_length_mm)) ** 4))
    part = subject.structure[window]
    uneven = (1 + 0.4 * subject.noise(part.shape, scale_mm=15.0)).clamp(0.3, 1.6)
    grown(subject, ESOPHAGUS, growth * along * uneven, window=window)
    depth = distance_mm(~chosen(part, *ESOPHAGUS), subject.spacing_zyx_mm, reach_mm=growth + WALL_MM + 2)
    closed = (depth < growth + WALL_MM) & (along > 0.5)  # noqa: PLR2004
    subject.fill(closed, "esophagus_wall", window=window, only=("esophagus_lumen",))


def _add_tube(subject: Subject, radius_mm: float) -> None:
    line = centre_line(subject, *ESOPHAGUS)
    if len(line) > 2:  # noqa: PLR2004
        ball_line(subject, line[::3].tolist(), radius_mm, name="esophagus_tube", only=ESOPHAGUS)


def _add_hernia(subject: Subject, gullet: Gullet) -> None:
    line = centre_line(subject, *ESOPHAGUS)
    if len(line) == 0:
        return
    height = float(line[0, 0]) + gullet.hernia_level_mm
    z, y, x = line[(line[:, 0] - height).abs().argmin()].tolist()
    radius, angle = gullet.hernia_mm, math.radians(gullet.hernia_angle_deg)
    aside = 0.8 * radius + BESIDE_MM
    centre = (z, y - aside * math.sin(angle), x + aside * math.cos(angle))
    pushed(subject, centre, radius, share=HERNIA_PRESS)
    window = subject.around(centre, 1.4 * radius)
    parts = [a - c for a, c in zip(subject.axes(window), centre, strict=True)]
    away = ((parts[0] / 1.15) ** 2 + parts[1] ** 2 + parts[2] ** 2).sqrt()
    away = away + 0.08 * radius * subject.noise([p.stop - p.start for p in window], scale_mm=0.6 * radius)
    subject.fill(away < radius, "hernia_wall", window=window, only=HERNIA_ROOM)
    inside = away < radius - WALL_MM
    subject.fill(inside, "hernia_content", window=window, only=("hernia_wall",))
    low = torch.as_tensor(sum(p * g for p, g in zip(parts, subject.gravity_zyx, strict=True)))
    above = low < (2 * gullet.hernia_gas - 1) * (radius - WALL_MM)
    subject.fill(inside & above, "stomach_gas", window=window, only=("hernia_content",))
