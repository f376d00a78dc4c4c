"""Masses and enlarged lymph nodes: lumpy balls that replace lung and fat, and press on the rest."""

import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.pathology.record import Nodes, Tumour
from thoar.phantoms.pathology.subject import Subject, coarse_points, picked
from thoar.phantoms.pathology.warp import pushed
from thoar.phantoms.structures import LOBES, LUNGS

FAT = ("mediastinal_fat", "pericardial_fat", "lymph_node", "thymus")
REPLACED = (*LUNGS, *FAT, "atelectasis", "emphysema", "tumour")
CHEST_WALL = (*REPLACED, "intermuscular_fat", "muscle", "subcutaneous_fat", "cortical_bone", "marrow")
HILA = ("main_bronchus", "main_bronchus_wall", "pulmonary_artery", "pulmonary_vein")
NEAR_HILUM_MM = 22.0
SLACK_MM = 8.0
"""Where nothing is that near, what is little farther than the nearest counts."""
APEX_SHARE = 0.04
"""Of the lobes' voxels, the highest ones."""


def add_tumour(subject: Subject, tumour: Tumour) -> None:
    """Put a mass where its record says, if there is such a place."""
    places = _places(subject, tumour)
    if len(places) == 0:
        return
    centre = picked(places, tumour.place)
    if tumour.press > 0:
        pushed(subject, centre, tumour.radius_mm, share=tumour.press)
    _carve(subject, tumour, centre)


def add_nodes(subject: Subject, nodes: Nodes) -> None:
    """Swell lymph nodes in the fat between the lungs and at the hila."""
    fat = coarse_points(subject, "mediastinal_fat", "lymph_node")
    hubs = coarse_points(subject, "trachea", *HILA)
    places = _near(fat, hubs, reach_mm=NEAR_HILUM_MM) if len(hubs) else fat
    if len(places) == 0:
        return
    for place, radius in zip(nodes.places, nodes.radius_mm, strict=True):
        centre = picked(places, place)
        window = subject.around(centre, 1.3 * radius)
        z, y, x = (a - c for a, c in zip(subject.axes(window), centre, strict=True))
        inside = (z / 1.3) ** 2 + (y / 0.8) ** 2 + x**2 < radius**2
        subject.fill(inside, "lymph_node", window=window, only=("mediastinal_fat", "thymus", *LUNGS))


def _places(subject: Subject, tumour: Tumour) -> Float[Tensor, "n zyx"]:
    lobes = coarse_points(subject, *(name for name in LOBES if name.endswith(tumour.side)))
    if tumour.site == "mediastinum":
        fat = coarse_points(subject, "mediastinal_fat", "lymph_node", "thymus")
        hubs = coarse_points(subject, "trachea", "main_bronchus", "superior_vena_cava")
        return _near(fat, hubs, reach_mm=2 * NEAR_HILUM_MM) if len(hubs) else fat
    if tumour.site == "apex":
        top = lobes[:, 0].sort().values[int((1 - APEX_SHARE) * len(lobes)) :]
        return lobes[lobes[:, 0] >= top[0]] if len(top) else lobes
    if tumour.site == "hilum":
        hubs = coarse_points(subject, *HILA)
        return _near(lobes, hubs, reach_mm=NEAR_HILUM_MM) if len(hubs) else lobes
    return lobes


def _near(
    points: Float[Tensor, "n zyx"], hubs: Float[Tensor, "m zyx"], *, reach_mm: float
) -> Float[Tensor, "k zyx"]:
    if len(points) == 0:
        return points
    thinned = hubs[:: max(1, len(hubs) // 200)]
    away = torch.cdist(points, thinned).amin(dim=1)
    return points[away < max(reach_mm, float(away.min()) + SLACK_MM)]


def _carve(subject: Subject, tumour: Tumour, centre: tuple[float, float, float]) -> None:
    radius = tumour.radius_mm
    reach = radius * (1 + 2 * tumour.lumps + tumour.spicules) * max(tumour.shape_zyx)
    window = subject.around(centre, reach)
    shape = [part.stop - part.start for part in window]
    if 0 in shape:
        return
    parts = ((a - c) / s for a, c, s in zip(subject.axes(window), centre, tumour.shape_zyx, strict=True))
    z, y, x = parts
    away = (z**2 + y**2 + x**2).sqrt() / radius
    coarse, fine = (subject.noise(shape, scale_mm=max(3.0, part * radius)) for part in (0.7, 0.3))
    lumpy = away - 1 - tumour.lumps * (coarse + 0.5 * fine).clamp(-2, 2)
    spikes = tumour.spicules * (subject.noise(shape, scale_mm=3.0) - 1).clamp(0, 1)
    only = CHEST_WALL if tumour.site == "apex" else REPLACED
    subject.fill(lumpy < spikes, "tumour", window=window, only=only)
    subject.fill(lumpy + 1 < tumour.cavity, "tumour_cavity", window=window, only=("tumour",))
