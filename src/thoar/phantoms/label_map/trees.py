"""Vessels and airways that no label names, as branching trees of balls inside a map of structures.

What is drawn here is never part of an organ: the label map has the last word on where heart and trachea end,
so that arteries and bronchi between them and the hila are ``lung_artery`` and ``lung_airway``.

A lobe's tree comes of halving a cloud of its points again and again: each half's branch leads from its
parent towards the half's middle, and its radius falls with the number of points it feeds (Murray, PNAS 12,
1926).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from thoar.phantoms.label_map.marks import Landmarks, Point, Points
from thoar.phantoms.structures import IDS, LOBES

TIPS = 220
"""Tips of one tree in a lobe of average size."""
MURRAY = 0.37
"""Radius goes with the share of tips to this power (1/3 in theory, a little more as measured)."""
AIRWAY_LEAST_MM = 1.55
SOFT = ("mediastinal_fat", "lymph_node", "thymus", "pericardial_fat", "lung_vein", "lung_artery", *LOBES)
"""What vessels and airways may be drawn over."""

Tree = tuple[Points, Points, Float[np.ndarray, " _"]]
"""Where each branch begins and ends, and its radius in millimetres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vessels:
    """How thick the trees are: radius at their roots, in millimetres, and the thickness of airways' walls."""

    artery_mm: float
    vein_mm: float
    airway_mm: float
    bronchus_mm: float
    wall_mm: float


def draw_trees(
    structure: UInt8[Tensor, "z y x"],
    marks: Landmarks,
    vessels: Vessels,
    *,
    spacing_mm: float,
    rng: np.random.Generator,
) -> None:
    """Write veins, arteries and airways into lobes and hila, and the main bronchi and arteries to them."""
    whole = sum(len(points) for points in marks.lobes.values())
    for name, points in marks.lobes.items():
        side = 1 if name.endswith("left") else 0
        hilum = marks.hila[side]
        if hilum is None:
            continue
        tips = max(24, int(TIPS * len(marks.lobes) * len(points) / whole))
        vein_root = marks.vein_ends[side]
        vein = grown(hilum if vein_root is None else vein_root, points, tips, vessels.vein_mm, rng=rng)
        _write(structure, vein, "lung_vein", spacing_mm)
        artery = grown(hilum, points, tips, vessels.artery_mm, rng=rng)
        _write(structure, artery, "lung_artery", spacing_mm)
        start = marks.airway_ends[side]
        _write_airways(structure, artery, hilum if start is None else start, vessels, spacing_mm)
    for side in (0, 1):
        _write_main(structure, marks, vessels, side, spacing_mm)


def grown(root: Point, points: Points, tips: int, radius_mm: float, *, rng: np.random.Generator) -> Tree:
    """Return a tree from a root to random points, branching in two."""
    chosen = points[rng.permutation(len(points))[:tips]]
    starts, ends, radii = [], [], []
    waiting = [(root, chosen)]
    while waiting:
        start, cloud = waiting.pop()
        pull = float(rng.uniform(0.35, 0.6)) if len(cloud) > 1 else 1.0
        end = start + pull * (cloud.mean(axis=0) - start)
        starts.append(start)
        ends.append(end)
        radii.append(max(0.45, radius_mm * (len(cloud) / tips) ** MURRAY))
        if len(cloud) > 1:
            waiting += [(end, half) for half in _halved(cloud, rng)]
    return np.array(starts), np.array(ends), np.array(radii)


def write_line(
    structure: UInt8[Tensor, "z y x"],
    knots: Points,
    radius_mm: float,
    name: str,
    *,
    spacing_mm: float,
    over: tuple[str, ...] = SOFT,
) -> None:
    """Write a tube through knots over some structures."""
    radius = np.full(len(knots) - 1, radius_mm)
    centres, radii = _balls((knots[:-1], knots[1:], radius), spacing_mm)
    _stamp(structure, centres, radii, IDS[name], over=over)


def _halved(cloud: Points, rng: np.random.Generator) -> tuple[Points, Points]:
    spread = cloud - cloud.mean(axis=0)
    axis = np.linalg.eigh(spread.T @ spread)[1][:, -1] + rng.normal(0, 0.25, 3)
    order = np.argsort(spread @ axis)
    cut = int(np.clip(round(len(cloud) * rng.uniform(0.3, 0.7)), 1, len(cloud) - 1))
    return cloud[order[:cut]], cloud[order[cut:]]


def _write(structure: Tensor, tree: Tree, name: str, spacing_mm: float) -> None:
    centres, radii = _balls(tree, spacing_mm)
    _stamp(structure, centres, radii, IDS[name], over=SOFT)


def _write_airways(
    structure: Tensor, artery: Tree, start: Point, vessels: Vessels, spacing_mm: float
) -> None:
    """Write airways beside the larger arteries; the first begins where the labelled airway ends."""
    starts, ends, radii = artery
    size = radii * vessels.airway_mm / vessels.artery_mm
    wide = size > AIRWAY_LEAST_MM
    if not wide.any():
        return
    beside = (radii + size + vessels.wall_mm)[wide, None] / spacing_mm * np.array([[0.5, 0.85, 0.0]])
    begins, finishes = starts[wide] + beside, ends[wide] + beside
    begins[0] = start
    tree = (begins, finishes, size[wide] + vessels.wall_mm)
    centres, outer = _balls(tree, spacing_mm)
    _stamp(structure, centres, outer, IDS["lung_airway_wall"], over=SOFT)
    inner = np.maximum(outer - vessels.wall_mm / spacing_mm, 0.0)
    _stamp(structure, centres, inner, IDS["lung_airway"], over=("lung_airway_wall", *SOFT))


def _write_main(structure: Tensor, marks: Landmarks, vessels: Vessels, side: int, spacing_mm: float) -> None:
    """Write one side's bronchus and artery from where the labels end up to its hilum."""
    hilum, start, trunk = marks.hila[side], marks.airway_ends[side], marks.trunk
    if hilum is None or start is None:
        return
    if trunk is not None:
        over = start + np.array([8.0, -6.0, 0.0]) / spacing_mm
        knots = np.stack([trunk, (trunk + over) / 2 + np.array([0, 2.0, 0]), over, hilum])
        write_line(structure, knots, vessels.artery_mm * 1.5, "lung_artery", spacing_mm=spacing_mm)
    knots = np.stack([start, hilum])
    outer = vessels.bronchus_mm + vessels.wall_mm
    soft = (*SOFT, "lung_airway", "lung_airway_wall")
    write_line(structure, knots, outer, "main_bronchus_wall", spacing_mm=spacing_mm, over=soft)
    inside = (*soft, "main_bronchus_wall")
    write_line(structure, knots, vessels.bronchus_mm, "lung_airway", spacing_mm=spacing_mm, over=inside)


def _balls(tree: Tree, spacing_mm: float) -> tuple[Points, Float[np.ndarray, " _"]]:
    """Return balls along every branch, in voxels."""
    starts, ends, radii = tree
    counts = np.ceil(np.linalg.norm(ends - starts, axis=1) / 0.7).astype(int) + 1
    branch = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    share = (np.arange(counts.sum()) - first) / np.repeat(np.maximum(counts - 1, 1), counts)
    centres = starts[branch] + share[:, None] * (ends - starts)[branch]
    return centres, radii[branch] / spacing_mm


def _stamp(
    structure: UInt8[Tensor, "z y x"],
    centres: Points,
    radii: Float[np.ndarray, " n"],
    number: int,
    *,
    over: tuple[str, ...],
) -> None:
    """Write balls into the voxels that hold one of some structures."""
    flat = structure.view(-1)
    allowed = torch.zeros(256, dtype=torch.bool, device=flat.device)
    allowed[[IDS[name] for name in over]] = True
    size = np.ceil(radii - 0.5).astype(int).clip(0)
    for cells in np.unique(size):
        some = size == cells
        index = _inside(structure.shape, centres[some], radii[some], int(cells), device=flat.device)
        index = index[allowed[flat[index].int()]]
        flat[index] = number


def _inside(
    shape: torch.Size, centres: Points, radii: np.ndarray, cells: int, *, device: torch.device
) -> Tensor:
    """Return the flat indices of the voxels inside balls of up to so many cells' radius."""
    middle = torch.as_tensor(centres, dtype=torch.float32, device=device)
    radius = torch.as_tensor(radii, dtype=torch.float32, device=device)
    span = torch.arange(-cells, cells + 1, device=device)
    offsets = torch.stack([o.flatten() for o in torch.meshgrid(span, span, span, indexing="ij")], dim=1)
    voxel = middle.round().long()[:, None] + offsets
    held = (voxel - middle[:, None]).square().sum(-1) <= radius.clamp(min=0.87)[:, None] ** 2
    size = torch.tensor(shape, device=device)
    held &= ((voxel >= 0) & (voxel < size)).all(dim=-1)
    z, y, x = voxel[held].unbind(dim=1)
    return (z * shape[1] + y) * shape[2] + x
