"""A large heart, fluid around it, calcium on it, and a valve of metal in it."""

import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.distances import coarse_distance_mm, distance_mm
from thoar.phantoms.pathology.record import Heart
from thoar.phantoms.pathology.subject import Subject, Window, coarse_points, extent, middle
from thoar.phantoms.pathology.warp import grown
from thoar.phantoms.structures import LUNGS, ORGAN_STRUCTURES, chosen

HEART = ORGAN_STRUCTURES["heart"]
BAG = tuple(name for name in HEART if name != "pulmonary_trunk")
"""What fluid surrounds."""
LEFT_SIDE = ("left_ventricle", "left_myocardium")
CORONARY_DEPTH_MM = (2.0, 7.0)
"""Where coronary arteries run, under the heart's surface."""


def sicken_heart(subject: Subject, heart: Heart) -> None:
    """Enlarge the heart, then change what is on and in it."""
    if heart.growth_mm > 0:
        window = extent(subject, *HEART, margin_mm=3 * heart.growth_mm + 8)
        if window is not None:
            spared = (*ORGAN_STRUCTURES["aorta"], *ORGAN_STRUCTURES["trachea"])
            grown(subject, HEART, heart.growth_mm, window=window, spared=spared)
    if heart.effusion_mm > 0:
        _add_effusion(subject, heart.effusion_mm)
    if heart.calcium > 0:
        _add_calcium(subject, heart)
    if heart.valve != "none":
        _add_valve(subject, heart)


def _add_effusion(subject: Subject, thickness_mm: float) -> None:
    """Fluid around the heart, thicker where it lies low and round the ventricles."""
    window = extent(subject, *BAG, margin_mm=2.2 * thickness_mm + 6)
    points = coarse_points(subject, *BAG)
    if window is None or len(points) == 0:
        return
    part = subject.structure[window]
    away = coarse_distance_mm(chosen(part, *BAG), subject.spacing_zyx_mm, reach_mm=2.2 * thickness_mm + 4)
    parts = [a - c for a, c in zip(subject.axes(window), middle(points), strict=True)]
    length = (parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2).sqrt().clamp(min=1)
    low = sum(p * g for p, g in zip(parts, subject.gravity_zyx, strict=True)) / length
    rim = thickness_mm * (1 + 0.6 * torch.as_tensor(low)) * (1 - parts[0] / length).clamp(0.15, 1.2)
    room = ("mediastinal_fat", "pericardial_fat", "pericardium", "effusion", "atelectasis", *LUNGS)
    subject.fill(away < rim + 1.6, "pericardium", window=window, only=room)
    subject.fill(away < rim, "effusion", window=window, only=room)


def _add_calcium(subject: Subject, heart: Heart) -> None:
    """Plaques along three ways over the heart: to the apex, to the right and round the back."""
    window = extent(subject, *HEART, margin_mm=3.0)
    if window is None:
        return
    part = subject.structure[window]
    spacing = torch.tensor(subject.spacing_zyx_mm, device=subject.device)
    depth = distance_mm(~chosen(part, *HEART), subject.spacing_zyx_mm, reach_mm=CORONARY_DEPTH_MM[1] + 2)
    band = (depth > CORONARY_DEPTH_MM[0]) & (depth < CORONARY_DEPTH_MM[1]) & chosen(part, *BAG)
    first = torch.tensor([s.start for s in window], device=subject.device)
    skin = (band[::2, ::2, ::2].nonzero() * 2 + first) * spacing
    if len(skin) == 0:
        return
    for centre, size in zip(*_plaques(subject, skin, heart), strict=True):
        radius = heart.calcium_mm * (0.4 + 0.6 * size)
        about = subject.around(centre.tolist(), 2 * radius + 1)
        z, y, x = (a - c for a, c in zip(subject.axes(about), centre.tolist(), strict=True))
        inside = z**2 / 2 + y**2 + x**2 < radius**2
        subject.fill(inside, "heart_calcium", window=about, only=HEART)


def _plaques(subject: Subject, skin: Float[Tensor, "n zyx"], heart: Heart) -> tuple[Tensor, list[float]]:
    """Middles and sizes of plaques, snapped to where coronary arteries run."""
    centre = skin.mean(dim=0)
    aorta = coarse_points(subject, *ORGAN_STRUCTURES["aorta"])
    near = torch.cdist(aorta, skin[:: max(1, len(skin) // 500)]).amin(dim=1) < 12.0 if len(aorta) else None  # noqa: PLR2004
    found = near is not None and bool(near.any())
    root = aorta[near].mean(dim=0) if found else centre + torch.tensor([40.0, 0, 0], device=centre.device)
    ways = torch.tensor(
        [[-50.0, -30.0, 45.0], [-40.0, -20.0, -45.0], [-30.0, 30.0, 40.0]], device=skin.device
    )
    chance = torch.rand((heart.calcium, 3), generator=subject.generator, device=subject.device)
    way = ways[(chance[:, 0] * 4.5).long().clamp(max=3) % 3]
    spots = root + way * (0.15 + 0.75 * chance[:, 1:2])
    spots = skin[torch.cdist(spots, skin).argmin(dim=1)]
    return spots, chance[:, 2].tolist()


def _add_valve(subject: Subject, heart: Heart) -> None:
    """A ring with two leaflets where the blood passes; voxels of the heart alone become metal."""
    window = extent(subject, *HEART, margin_mm=3.0)
    if window is None:
        return
    part = subject.structure[window]
    left = chosen(part, *LEFT_SIDE)
    start = left if bool(left.any()) else chosen(part, *HEART)
    goal = ORGAN_STRUCTURES["aorta"] if heart.valve == "aortic" else ("left_atrium",)
    behind = _contact(subject, window, start=start, goal=chosen(part, *goal))
    middle_of_start = _mean(subject, window, start)
    if behind is None or middle_of_start is None:
        return
    axis = behind - middle_of_start
    axis = axis / axis.norm().clamp(min=1e-3)
    _carve_valve(subject, behind, axis=axis, radius_mm=heart.valve_mm)


def _contact(subject: Subject, window: Window, *, start: Tensor, goal: Tensor) -> Tensor | None:
    close = distance_mm(goal, subject.spacing_zyx_mm, reach_mm=8.0)
    for reach in (2.5, 5.0, 8.0):
        found = _mean(subject, window, start & (close < reach))
        if found is not None:
            return found
    return None


def _mean(subject: Subject, window: Window, mask: Tensor) -> Tensor | None:
    points = mask.nonzero()
    if len(points) == 0:
        return None
    first = torch.tensor([s.start for s in window], device=subject.device)
    return (points.float().mean(dim=0) + first) * torch.tensor(subject.spacing_zyx_mm, device=subject.device)


def _carve_valve(subject: Subject, centre: Tensor, *, axis: Tensor, radius_mm: float) -> None:
    window = subject.around(centre.tolist(), radius_mm + 4)
    z, y, x = (a - c for a, c in zip(subject.axes(window), centre.tolist(), strict=True))
    n = axis.tolist()
    along = z * n[0] + y * n[1] + x * n[2]
    across = (z**2 + y**2 + x**2 - along**2).clamp(min=0).sqrt()
    ring = (across - radius_mm) ** 2 + along**2 < 1.8**2
    aside = torch.linalg.cross(axis, torch.tensor([1.0, 0.3, 0.1], device=axis.device))
    a = (aside / aside.norm().clamp(min=1e-3)).tolist()
    sideways = z * a[0] + y * a[1] + x * a[2]
    leaflets = (sideways.abs() - 3).abs() < 0.8  # noqa: PLR2004
    leaflets &= (across < 0.85 * radius_mm) & (along.abs() < 0.6 * radius_mm)
    subject.fill(ring | leaflets, "heart_metal", window=window, only=HEART)
