"""Smooth moves of a part of a map: what illness pushes, pulls or widens, ids going where they are taken from.

Bones, muscles and what lies outside them stay; see ``subject.FIXED``.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.distances import distance_mm, doubled
from thoar.phantoms.pathology.subject import FIXED, Subject, Window
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import IDS, LUNGS, chosen

STEEPEST = 1.54
"""Largest slope of (1 - r²)² over r in 0..1: a shift below its reach over this folds nothing."""
STRETCH = 0.55
"""Largest slope of a shift."""
YIELDING: tuple[str, ...] = (
    "mediastinal_fat",
    "pericardial_fat",
    "emphysema",
    "atelectasis",
    "effusion",
    "tumour",
)
"""What gives way to a mass without passing the push on."""


def moved(
    subject: Subject,
    centre_zyx_mm: Sequence[float],
    shift_zyx_mm: Sequence[float],
    *,
    reach_mm: float | Sequence[float],
) -> None:
    """Shift what lies about a point, less and less up to ``reach_mm`` (per axis, if three)."""
    reach = [reach_mm] * 3 if isinstance(reach_mm, float | int) else list(reach_mm)
    size = sum(s**2 for s in shift_zyx_mm) ** 0.5
    share = min(1.0, STRETCH * min(reach) / STEEPEST / max(size, 1e-3))
    window = subject.window(
        [c - r for c, r in zip(centre_zyx_mm, reach, strict=True)],
        [c + r for c, r in zip(centre_zyx_mm, reach, strict=True)],
    )
    z, y, x = subject.axes(window)
    away = sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre_zyx_mm, reach, strict=True))
    weight = (1 - torch.as_tensor(away)).clamp(min=0) ** 2
    warped(subject, window, [weight * (-share * s) for s in shift_zyx_mm])


def pushed(subject: Subject, centre_zyx_mm: Sequence[float], radius_mm: float, *, share: float) -> None:
    """Push what is solid beside a ball away from its middle, by a share of its radius."""
    window = subject.around(centre_zyx_mm, 1.6 * radius_mm)
    solid = ~chosen(subject.structure[window], *FIXED, *LUNGS, *YIELDING)
    points = solid[::2, ::2, ::2].nonzero() * 2
    if len(points) == 0:
        return
    first = torch.tensor([part.start for part in window], device=subject.device)
    steps = torch.tensor(subject.spacing_zyx_mm, device=subject.device)
    centre = torch.tensor(centre_zyx_mm, device=subject.device)
    away = ((points + first) * steps).mean(dim=0) - centre
    away = away / away.norm().clamp(min=1.0)
    goal, shift = centre + 0.8 * radius_mm * away, share * radius_mm * away
    moved(subject, goal.tolist(), shift.tolist(), reach_mm=2.5 * radius_mm + 10)


def grown(
    subject: Subject,
    names: Sequence[str],
    growth_mm: float | Float[Tensor, "#z #y #x"],
    *,
    window: Window,
    spared: Sequence[str] = (),
) -> None:
    """Widen structures outwards, pressing what is around them together.

    The shell moves along the gradient of the distance to the surface; neighbours give way over three times
    the growth. Growth fades where bones, the wall, or structures to be ``spared`` are near.

    Args:
        subject: changed in place.
        names: of what widens, as one.
        growth_mm: added to the half width, everywhere or by place: it broadcasts against the window.
        window: holds the structures and room for their growth.
        spared: what must stay as it is beside the wall.
    """
    most = float(torch.as_tensor(growth_mm).max())
    wide, spacing = 3 * most, [2 * s for s in subject.spacing_zyx_mm]
    small = subject.structure[window][::2, ::2, ::2]
    if min(small.shape) < 2:  # noqa: PLR2004 (a slab too thin to have a slope)
        return
    inside = chosen(small, *names)
    signed = distance_mm(inside, spacing, reach_mm=wide + 6) - distance_mm(
        ~inside, spacing, reach_mm=wide + 6
    )
    signed = blurred(signed, (0.8, 0.8, 0.8))
    clear = distance_mm(chosen(small, *FIXED, *spared), spacing, reach_mm=1.5 * most + 3)
    growth = _halved(growth_mm) * ((clear - 3) / (1.4 * most)).clamp(0, 1)
    outside = (signed - growth) * wide / (wide - growth)
    source = torch.where(signed < growth, signed - growth, outside)
    step = torch.where(signed < wide, source - signed, 0.0)
    gradients = torch.gradient(signed, spacing=spacing)
    length = torch.stack([g.square() for g in gradients]).sum(dim=0).sqrt().clamp(min=0.3)
    full = subject.structure[window].shape
    warped(subject, window, [doubled(step * g / length, full) for g in gradients])


def _halved(growth_mm: float | Tensor) -> float | Tensor:
    if isinstance(growth_mm, float | int):
        return growth_mm
    every = [slice(None, None, 2 if size > 1 else None) for size in growth_mm.shape]
    return growth_mm[tuple(every)]


def warped(subject: Subject, window: Window, offset_zyx_mm: Sequence[Float[Tensor, "z y x"]]) -> None:
    """Fill a window with what lies at an offset from each voxel, the nearest voxel's structure.

    Fixed structures neither move nor spread: where one would be taken, a lung stays, the rest becomes fat.
    """
    part = subject.structure[window]
    index = torch.zeros(part.shape, dtype=torch.int64, device=subject.device)
    for axis, (offset, spacing) in enumerate(zip(offset_zyx_mm, subject.spacing_zyx_mm, strict=True)):
        size = part.shape[axis]
        shape = [size if a == axis else 1 for a in range(3)]
        place = torch.arange(size, device=subject.device, dtype=torch.float32).reshape(shape)
        found = (place + offset / spacing).round_().clamp_(0, size - 1).long()
        index = index * size + found
    taken = part.reshape(-1)[index]
    stays = chosen(part, *FIXED)
    blocked = chosen(taken, *FIXED) & ~stays
    behind = torch.where(chosen(part, *LUNGS), part, IDS["mediastinal_fat"])
    part.copy_(torch.where(stays, part, torch.where(blocked, behind.to(torch.uint8), taken)))
