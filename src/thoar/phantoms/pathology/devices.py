"""Boxes under the skin with their leads, wires in the sternum, cables on the skin."""

import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.pathology.lines import ball_line
from thoar.phantoms.pathology.record import Box, Devices
from thoar.phantoms.pathology.subject import Subject, centre_line, coarse_points, middle
from thoar.phantoms.structures import LOBES, ORGAN_STRUCTURES

WALL = ("skin", "subcutaneous_fat", "muscle", "intermuscular_fat", "breast_gland")
VEINS = ("superior_vena_cava", "brachiocephalic_vein")
SOFT = (*WALL, *VEINS, "mediastinal_fat", "thymus", "thyroid", "artery", "lymph_node", "pericardial_fat")
HEART = ORGAN_STRUCTURES["heart"]
LEAD_MM, CATHETER_MM, WIRE_MM = 1.2, 1.3, 0.7
LUNG_TOP_MM = 70.0
"""What counts as the top of a lung."""
BULGE_MM = 4.0
"""Tissue that a box lifts before it."""


def add_devices(subject: Subject, devices: Devices) -> None:
    """Put in what the record names."""
    for box, leads in ((devices.pacemaker, True), (devices.port, False)):
        if box is not None:
            _add_box(subject, box, leads=leads)
    if devices.wires:
        _add_wires(subject, devices.wires)
    if devices.cables:
        _add_cables(subject, devices.cables)


def skin_depth_mm(subject: Subject) -> Float[Tensor, "z x"]:
    """Return y of the body's front at each height and width; beyond the map where there is no body."""
    held = subject.structure > 0
    first = held.to(torch.uint8).argmax(dim=1).float()
    return torch.where(held.any(dim=1), first, float(held.shape[1])) * subject.spacing_zyx_mm[1]


def _add_box(subject: Subject, box: Box, *, leads: bool) -> None:
    lung = coarse_points(subject, *(name for name in LOBES if name.endswith(box.side)))
    if len(lung) == 0:
        return
    top = float(lung[:, 0].max())
    x = middle(lung[lung[:, 0] > top - LUNG_TOP_MM])[2]
    outwards = 1.0 if box.side == "left" else -1.0
    place = _under_skin(subject, (top - box.below_mm, x + outwards * box.aside_mm), box)
    if place is None:
        return
    centre, slope = place
    window = subject.around(centre, max(box.half_mm) + 2 * BULGE_MM)
    dz, dy, dx = (a - c for a, c in zip(subject.axes(window), centre, strict=True))
    front = dy - slope[0] * dz - slope[1] * dx
    half_z, half_y, half_x = box.half_mm
    round_ = ((dz / half_z) ** 4 + (dx / half_x) ** 4) ** 0.25
    over = (round_ < 1 + BULGE_MM / half_x) & (front > -half_y - BULGE_MM) & (front < 0)
    subject.fill(over, "subcutaneous_fat", window=window, only=("outside",))
    subject.fill((round_ < 1) & (front.abs() < half_y), "metal", window=window, only=WALL)
    start = (centre[0] + half_z, centre[1], centre[2] - outwards * 0.5 * half_x)
    _add_leads(subject, box, start=start, into_heart=leads)


def _under_skin(
    subject: Subject, at_zx_mm: tuple[float, float], box: Box
) -> tuple[tuple[float, float, float], tuple[float, float]] | None:
    """Middle of a box under the skin and the skin's slope there (dy/dz, dy/dx)."""
    skin = skin_depth_mm(subject)
    spacing = subject.spacing_zyx_mm
    row, column = round(at_zx_mm[0] / spacing[0]), round(at_zx_mm[1] / spacing[2])
    reach = [
        max(2, round(h / s)) for h, s in zip((box.half_mm[0], box.half_mm[2]), spacing[::2], strict=True)
    ]
    if not (reach[0] <= row < skin.shape[0] - reach[0] and reach[1] <= column < skin.shape[1] - reach[1]):
        return None
    patch = skin[row - reach[0] : row + reach[0] + 1, column - reach[1] : column + reach[1] + 1]
    rise = [float((patch.narrow(a, patch.shape[a] - 1, 1) - patch.narrow(a, 0, 1)).median()) for a in (0, 1)]
    slope = [max(-0.7, min(0.7, r / (2 * n * s))) for r, n, s in zip(rise, reach, spacing[::2], strict=True)]
    depth = float(patch.median()) + box.depth_mm + box.half_mm[1]
    return (at_zx_mm[0], depth, at_zx_mm[1]), (slope[0], slope[1])


def _add_leads(subject: Subject, box: Box, *, start: tuple[float, float, float], into_heart: bool) -> None:
    """Lead from a box through the great veins to the right heart, or to its door."""
    cava = centre_line(subject, "superior_vena_cava").flip(0)
    if len(cava) == 0:
        return
    way = [list(start), *_brachiocephalic(subject, cava[0], box), *cava[:: max(1, len(cava) // 4)].tolist()]
    ends = _right_heart(subject) if into_heart else []
    for number in range(box.leads):
        path = way + ends[: 2 if number == 0 else 1]
        shifted = [[p[0], p[1] + 1.5 * number, p[2] + 1.5 * number] for p in path]
        name = "vein_lead" if into_heart else "plastic"
        radius = LEAD_MM if into_heart else CATHETER_MM
        ball_line(subject, shifted, radius, name=name, only=SOFT)
        if into_heart:
            ball_line(subject, shifted, radius, name="heart_metal", only=HEART)


def _brachiocephalic(subject: Subject, cava: Tensor, box: Box) -> list[list[float]]:
    """Points of the vein of a side, from outside towards the vena cava."""
    points = coarse_points(subject, "brachiocephalic_vein")
    aside = (points[:, 2] - cava[2]) * (1.0 if box.side == "left" else -1.0)
    points, aside = points[aside > 0], aside[aside > 0]
    if len(points) < 6:  # noqa: PLR2004
        return []
    order = aside.argsort(descending=True)
    return [points[part].mean(dim=0).tolist() for part in order.chunk(3)]


def _right_heart(subject: Subject) -> list[list[float]]:
    """Middles of the right atrium and of the right ventricle's end; of the heart where there are none."""
    atrium = coarse_points(subject, "right_atrium")
    ventricle = coarse_points(subject, "right_ventricle")
    if len(atrium) == 0 or len(ventricle) == 0:
        heart = coarse_points(subject, *HEART)
        return [list(middle(heart))] if len(heart) else []
    far = torch.cdist(ventricle, atrium.mean(dim=0)[None])[:, 0]
    end = ventricle[far > far.quantile(0.9)].mean(dim=0) if len(far) > 10 else ventricle.mean(dim=0)  # noqa: PLR2004
    return [list(middle(atrium)), end.tolist()]


def _add_wires(subject: Subject, count: int) -> None:
    """Loops of wire through the sternum, the front-most bone between the lungs."""
    lungs = coarse_points(subject, *LOBES)
    bone = coarse_points(subject, "cortical_bone", "marrow")
    if len(lungs) == 0 or len(bone) == 0:
        return
    left, right = (
        middle(coarse_points(subject, *(n for n in LOBES if n.endswith(side))) if len(lungs) else lungs)
        for side in ("left", "right")
    )
    centre_x, front = (left[2] + right[2]) / 2, float(lungs[:, 1].mean())
    held = ((bone[:, 2] - centre_x).abs() < 18) & (bone[:, 1] < front)  # noqa: PLR2004
    sternum = bone[held]
    if len(sternum) < 10:  # noqa: PLR2004
        return
    low, high = float(sternum[:, 0].min()), float(sternum[:, 0].max())
    only = (*SOFT, "cortical_bone", "marrow", "costal_cartilage")
    for number in range(count):
        height = low + (high - low) * (number + 0.5) / count
        slab = sternum[(sternum[:, 0] - height).abs() < 8]  # noqa: PLR2004
        if len(slab):
            _, y, x = middle(slab)
            ball_line(subject, _loop(height, y, x), WIRE_MM, name="metal", only=only)


def _loop(z: float, y: float, x: float) -> list[list[float]]:
    angles = torch.arange(0, 25) / 24 * 2 * torch.pi
    return [[z + 2 * float(a.sin()), y - 8 * float(a.cos()), x + 12 * float(a.sin())] for a in angles]


def _add_cables(subject: Subject, count: int) -> None:
    """Electrodes on the front of the chest, each with a cable that runs up over the skin."""
    skin = skin_depth_mm(subject)
    lungs = coarse_points(subject, *LOBES)
    if len(lungs) == 0:
        return
    chance = torch.rand((count, 4), generator=subject.generator, device=subject.device).tolist()
    low, high = lungs.amin(dim=0).tolist(), lungs.amax(dim=0).tolist()
    for first, second, third, fourth in chance:
        z = low[0] + (high[0] - low[0]) * (0.2 + 0.75 * first)
        x = low[2] + (high[2] - low[2]) * (0.05 + 0.9 * second)
        end_z, end_x = high[0] + 80.0, x + 120.0 * (third - 0.5)
        steps = torch.linspace(0, 1, 40).tolist()
        bow = 25.0 * (fourth - 0.5)
        way = [(z + t * (end_z - z), x + t * (end_x - x) + bow * 4 * t * (1 - t)) for t in steps]
        _on_skin(subject, skin, way)


def _on_skin(subject: Subject, skin: Tensor, way: list[tuple[float, float]]) -> None:
    spacing = subject.spacing_zyx_mm
    points = []
    for z, x in way:
        row, column = round(z / spacing[0]), round(x / spacing[2])
        if not (0 <= row < skin.shape[0] and 0 <= column < skin.shape[1]):
            break
        points.append([z, float(skin[row, column]) - 2.0, x])
    if len(points) < 2 or points[0][1] > (subject.structure.shape[1] - 3) * spacing[1]:  # noqa: PLR2004
        return
    ball_line(subject, points, WIRE_MM, name="metal", only=("outside",))
    ball_line(subject, [points[0], points[1]], 4.0, name="plastic", only=("outside",))
