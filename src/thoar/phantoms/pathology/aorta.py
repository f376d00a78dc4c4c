"""A wide, bent, calcified, thrombosed or dissected aorta; all of it stays aorta."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from thoar.phantoms.distances import distance_mm, doubled
from thoar.phantoms.pathology.record import Aorta
from thoar.phantoms.pathology.subject import Subject, Window, centre_line, extent, picked
from thoar.phantoms.pathology.warp import grown, moved
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import ORGAN_STRUCTURES, chosen

AORTA = ORGAN_STRUCTURES["aorta"]
BEND_MM = 55.0
"""Where a bend has faded."""
ARCH_LONG_MM = 60.0
"""Depth from front to back of the highest part of an aorta that has an arch."""
FLAP_MM = 1.2
"""Half the flap's thickness, which a voxel must show."""


def sicken_aorta(subject: Subject, aorta: Aorta) -> None:
    """Bend and widen the aorta, then change what is inside it."""
    if aorta.bends_mm:
        _bend(subject, aorta.bends_mm)
    if aorta.growth_mm > 0:
        _widen(subject, aorta)
    window = extent(subject, *AORTA, margin_mm=4.0)
    if window is None:
        return
    if aorta.flap is not None:
        _dissect(subject, window, aorta=aorta, flap=aorta.flap)
    if aorta.thrombus_mm > 0:
        _add_thrombus(subject, window, aorta.thrombus_mm)
    if aorta.calcium > 0:
        _add_calcium(subject, window, aorta.calcium)


def arch_middle_mm(subject: Subject, window: Window) -> float | None:
    """Return y between the ascending and the descending aorta; None where there is no arch."""
    high = chosen(subject.structure[window], *AORTA)
    held = high.any(dim=2).any(dim=1).nonzero().flatten()
    if len(held) == 0:
        return None
    top = int(held[-1])
    slab = high[max(0, top - int(20 / subject.spacing_zyx_mm[0])) : top + 1].any(dim=2).any(dim=0)
    y = slab.nonzero().flatten() * subject.spacing_zyx_mm[1]
    if float(y[-1] - y[0]) < ARCH_LONG_MM:
        return None
    return window[1].start * subject.spacing_zyx_mm[1] + float(y[0] + y[-1]) / 2


def _bend(subject: Subject, bends_mm: tuple[float, ...]) -> None:
    for number, bend in enumerate(bends_mm):
        line = _descending_line(subject)
        if len(line) == 0:
            return
        place = picked(line, 1 - (number + 1) / (len(bends_mm) + 1))
        moved(subject, place, (0.0, -0.3 * abs(bend), bend), reach_mm=BEND_MM)


def _descending_line(subject: Subject) -> Float[Tensor, "n zyx"]:
    window = extent(subject, *AORTA)
    line = centre_line(subject, *AORTA)
    split = None if window is None else arch_middle_mm(subject, window)
    if window is None or split is None:
        return line
    z, y, x = subject.axes(window)
    mask = chosen(subject.structure[window], *AORTA) & (y > split)
    area = mask.sum(dim=(1, 2))
    middle = [(mask * a).sum(dim=(1, 2)) / area.clamp(min=1) for a in (y, x)]
    return torch.stack([z.flatten(), *middle], dim=1)[area > 0]


def _widen(subject: Subject, aorta: Aorta) -> None:
    window = extent(subject, *AORTA, margin_mm=3 * aorta.growth_mm + 8)
    if window is None:
        return
    split = arch_middle_mm(subject, window)
    z, y, _ = subject.axes(window)
    growth: Tensor = torch.full_like(z, aorta.growth_mm)
    if split is not None and aorta.part != "all":
        sign = 1.0 if aorta.part == "descending" else -1.0
        growth = growth * torch.sigmoid(sign * (y - split) / 8)
    grown(subject, AORTA, growth, window=window, spared=("esophagus_wall", "esophagus_lumen", "trachea"))


def _dissect(subject: Subject, window: Window, *, aorta: Aorta, flap: float) -> None:
    """Part the blood by a sheet through the local middle of the aorta, turning with height."""
    inside = chosen(subject.structure[window], *AORTA)
    z, y, x = subject.axes(window)
    middle, width = _local_middle(subject, window, inside)
    angle = math.radians(flap) + torch.deg2rad(aorta.flap_turn * (z - float(z.max())) / 1000)
    across = (x - middle[1]) * angle.cos() + (y - middle[0]) * angle.sin()
    along = (y - middle[0]) * angle.cos() - (x - middle[1]) * angle.sin()
    sheet = across + 0.15 * along.square() / width - aorta.flap_offset * width
    sheet = sheet + 1.2 * subject.noise(inside.shape, scale_mm=22.0)
    part = inside
    split = arch_middle_mm(subject, window) if aorta.flap_part == "descending" else None
    if split is not None:
        part = part & (y > split)
    subject.fill(part & (sheet > 0), "false_lumen", window=window, only=("aorta",))
    subject.fill(
        part & (sheet.abs() < FLAP_MM), "dissection_flap", window=window, only=("aorta", "false_lumen")
    )


def _local_middle(
    subject: Subject, window: Window, inside: Bool[Tensor, "z y x"]
) -> tuple[list[Tensor], Tensor]:
    """Middle (y, x) of the aorta about each voxel, and about its half width."""
    small = inside[::2, ::2, ::2].float()
    _, y, x = (a[tuple(slice(None, None, 2) for _ in range(3))] for a in subject.axes(window))
    z_sigma, *_ = (7.0 / (2 * s) for s in subject.spacing_zyx_mm)
    sigma = (z_sigma, 14.0 / (2 * subject.spacing_zyx_mm[1]), 14.0 / (2 * subject.spacing_zyx_mm[2]))
    mass = blurred(small, sigma).clamp(min=1e-3)
    middle = [blurred(small * a, sigma) / mass for a in (y, x)]
    spread = (blurred(small * x.square(), sigma) / mass - middle[1].square()).clamp(min=4.0).sqrt() * 2
    fine = [doubled(a, inside.shape) for a in (*middle, spread)]
    return fine[:2], fine[2]


def _add_thrombus(subject: Subject, window: Window, thickness_mm: float) -> None:
    part = subject.structure[window]
    depth = distance_mm(~chosen(part, *AORTA), subject.spacing_zyx_mm, reach_mm=thickness_mm + 2)
    thick = thickness_mm * (0.3 + 0.5 * subject.noise(part.shape, scale_mm=35.0)).clamp(0, 1)
    subject.fill(
        (depth < thick) & (thick > 1), "aorta_thrombus", window=window, only=("aorta", "false_lumen")
    )


def _add_calcium(subject: Subject, window: Window, share: float) -> None:
    part = subject.structure[window]
    spacing = max(subject.spacing_zyx_mm)
    depth = distance_mm(~chosen(part, *AORTA), subject.spacing_zyx_mm, reach_mm=2 * spacing)
    patchy = 0.8 * subject.noise(part.shape, scale_mm=4.0) + 0.6 * subject.noise(part.shape, scale_mm=30.0)
    least = -(2**0.5) * float(torch.erfinv(torch.tensor(2 * min(share, 0.9) - 1)))
    subject.fill((depth < 1.3 * spacing) & (patchy > least), "aorta_calcium", window=window, only=AORTA)
