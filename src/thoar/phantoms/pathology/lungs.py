"""Lung without its air, and lung with holes."""

import torch

from thoar.phantoms.distances import coarse_distance_mm, distance_mm
from thoar.phantoms.pathology.pleura import lung_side
from thoar.phantoms.pathology.record import Collapse, Consolidation, Dependent, Emphysema
from thoar.phantoms.pathology.subject import FIXED, Subject, Window, coarse_points, extent, picked
from thoar.phantoms.structures import IDS, LOBES, LUNGS, chosen

AIRWAYS = ("lung_airway", "lung_airway_wall")
FILLED = (*LOBES, "fissure", "emphysema")
BELOW = (
    "liver",
    "spleen",
    "stomach_wall",
    "stomach_content",
    "stomach_gas",
    "diaphragm",
    "abdominal_fat",
    "bowel",
)

SIDEWAYS = 0.5
"""What a millimetre from the chest's middle counts beside one from the mediastinum where a lobe shrinks."""
PLATE_MM = 1.5
"""Half the thickness of an airless plate."""


def add_collapse(subject: Subject, collapse: Collapse) -> None:
    """Draw a lobe to the mediastinum, without air; the next lobe of the side takes its room."""
    side = collapse.lobe.rsplit("_", 1)[-1]
    heirs = [name for name in LOBES if name.endswith(side) and name != collapse.lobe]
    window = extent(subject, collapse.lobe, margin_mm=12.0)
    if window is None:
        return
    part = subject.structure[window]
    lobe = chosen(part, collapse.lobe)
    medial = ~chosen(part, *LUNGS, *FIXED, *BELOW, "effusion", "tumour", "atelectasis", "emphysema")
    away = coarse_distance_mm(medial, subject.spacing_zyx_mm, reach_mm=90.0)
    sides = coarse_points(subject, *LOBES)[:, 2]
    off = (subject.axes(window)[2] - (sides.min() + sides.max()) / 2).abs()
    away = away + SIDEWAYS * off + 4 * subject.noise(part.shape, scale_mm=25.0)
    values = away[::2, ::2, ::2][lobe[::2, ::2, ::2]].sort().values
    if len(values) == 0:
        return
    kept = lobe & (away <= values[min(len(values) - 1, int(collapse.remains * len(values)))])
    heir = max(heirs, key=lambda name: int((part == IDS[name]).sum()), default=collapse.lobe)
    part.masked_fill_(lobe, IDS[heir])
    part.masked_fill_(kept, IDS["atelectasis"])
    if not collapse.airways:
        _stop_airways(subject, window)


def add_dependent(subject: Subject, dependent: Dependent) -> None:
    """Take the air from where the lungs lie on, and from flat plates in the lower lobes."""
    for side in ("left", "right"):
        found = lung_side(subject, side)
        if found is None:
            continue
        window, lung = found
        down = [a * g for a, g in zip(subject.axes(window), subject.gravity_zyx, strict=True) if abs(g) > 0]
        depth = torch.broadcast_to(down[0], lung.shape)
        if not lung.any():
            continue
        lowest = depth[lung].max()
        wall = coarse_distance_mm(~lung, subject.spacing_zyx_mm, reach_mm=2 * dependent.depth_mm + 3)
        uneven = (0.5 + 0.5 * subject.noise(lung.shape, scale_mm=30.0)).clamp(0, 1.5)
        near = (wall < dependent.depth_mm * uneven) & (depth > lowest - 5 * dependent.depth_mm)
        subject.fill(lung & near, "atelectasis", window=window, only=FILLED)
    for place in dependent.plates:
        _add_plate(subject, place)


def _add_plate(subject: Subject, place: float) -> None:
    lower = coarse_points(subject, *(name for name in LOBES if "_lower_" in name))
    if len(lower) == 0:
        return
    centre = picked(lower, place)
    window = subject.around(centre, 28.0)
    z, y, x = (a - c for a, c in zip(subject.axes(window), centre, strict=True))
    tilt = 0.6 * (2 * (1000 * place % 1) - 1)
    wavy = 2.5 * subject.noise([part.stop - part.start for part in window], scale_mm=18.0)
    plate = ((z + tilt * y + 0.3 * x + wavy).abs() < PLATE_MM) & (z**2 + y**2 + x**2 < 26.0**2)
    subject.fill(plate, "atelectasis", window=window, only=FILLED)


def add_consolidation(subject: Subject, consolidation: Consolidation) -> None:
    """Fill lung about a place, dense in the middle and patchy at the rim."""
    points = coarse_points(subject, *(name for name in LOBES if name.endswith(consolidation.side)))
    if len(points) == 0:
        return
    centre, radius = picked(points, consolidation.place), consolidation.radius_mm
    window = subject.around(centre, 1.6 * radius)
    z, y, x = (a - c for a, c in zip(subject.axes(window), centre, strict=True))
    shape = [part.stop - part.start for part in window]
    away = (z**2 + y**2 + x**2).sqrt() / radius + 0.25 * subject.noise(shape, scale_mm=radius / 2)
    chance = consolidation.density * (1.6 - 1.6 * away).clamp(0, 1)
    patchy = 0.5 + 0.5 * torch.erf(subject.noise(shape, scale_mm=4.0) / 2**0.5)
    own = [n for n in FILLED if n not in LOBES or n.endswith(consolidation.side)]
    subject.fill(patchy < chance, "atelectasis", window=window, only=own)
    if not consolidation.airways:
        _stop_airways(subject, window)


def _stop_airways(subject: Subject, window: Window) -> None:
    part = subject.structure[window]
    close = distance_mm(chosen(part, "atelectasis"), subject.spacing_zyx_mm, reach_mm=4.5) < 4.0  # noqa: PLR2004
    subject.fill(close, "atelectasis", window=window, only=AIRWAYS)


def add_emphysema(subject: Subject, emphysema: Emphysema) -> None:
    """Make holes, more of them above or below as the record says, and bullae near the pleura."""
    window = extent(subject, *LOBES)
    if window is None:
        return
    if emphysema.share > 0:
        height = torch.linspace(-1, 1, window[0].stop - window[0].start, device=subject.device)
        chance = (emphysema.share * (1 + emphysema.upper * height)).clamp(0, 0.95)
        least = -(2**0.5) * torch.erfinv(2 * chance - 1)
        shape = [part.stop - part.start for part in window]
        holes = subject.noise(shape, scale_mm=emphysema.hole_mm) > least[:, None, None]
        subject.fill(holes, "emphysema", window=window, only=LOBES)
    for place, radius in zip(emphysema.bullae, emphysema.bulla_mm, strict=True):
        _add_bulla(subject, place, radius)


def _add_bulla(subject: Subject, place: float, radius_mm: float) -> None:
    points = coarse_points(subject, *LOBES)
    rim = points[_at_rim(subject, points, reach_mm=0.5 * radius_mm + 4)]
    if len(rim) == 0:
        return
    centre = picked(rim, place)
    window = subject.around(centre, 1.2 * radius_mm)
    z, y, x = (a - c for a, c in zip(subject.axes(window), centre, strict=True))
    away = (z**2 + y**2 + x**2).sqrt() / radius_mm
    shape = [part.stop - part.start for part in window]
    inside = away + 0.1 * subject.noise(shape, scale_mm=max(6.0, radius_mm)) < 1
    subject.fill(inside, "emphysema", window=window, only=(*LUNGS, "atelectasis"))


def _at_rim(subject: Subject, points: torch.Tensor, *, reach_mm: float) -> torch.Tensor:
    """Which points have no lung at one of six steps of a length."""
    steps = torch.tensor(subject.spacing_zyx_mm, device=subject.device)
    size = torch.tensor(subject.structure.shape, device=subject.device) - 1
    rim = torch.zeros(len(points), dtype=torch.bool, device=subject.device)
    for move in torch.cat([torch.eye(3), -torch.eye(3)]).to(subject.device) * reach_mm:
        index = ((points + move) / steps).round().long().clamp(min=0).minimum(size)
        rim |= chosen(subject.structure[tuple(index.T)], *FIXED)
    return rim
