"""The lungs: five lobes between their fissures, and the vessels and airways that branch through them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from thoar.core.random import rng_for
from thoar.phantoms.parametric.belly import diaphragm_depth
from thoar.phantoms.parametric.build import APEX_MM, Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.cage import Wall, cage_window
from thoar.phantoms.parametric.shapes import Block, Distance, Grid, Tube, blended, tube_distance, tube_window
from thoar.phantoms.parametric.trunk import waves
from thoar.phantoms.structures import LOBES, chosen

PLEURA_MM = 1.0
CELL_MM = 15.5
"""Every cell of this size in the lungs is reached by an artery and a vein."""
LEAF_MM = 0.55
"""Radius of the thinnest vessels."""
SEGMENT_MM = 6.0
AIRWAY_LEAVES = 5
"""Airways run beside arteries that feed so many ends or more."""

ROOTS = {"artery": "pulmonary_artery", "vein": "pulmonary_vein", "airway": "main_bronchus"}
"""What each tree grows out of."""

Point = Float[np.ndarray, " xyz"]
Points = Float[np.ndarray, "_ xyz"]


def lung_distance(grid: Grid, build: Build, cage: Distance, mediastinum: Distance) -> Distance:
    """Return the signed distance to both lungs: inside the ribs, above the diaphragm, beside the middle.

    Args:
        grid: where.
        build: of the patient.
        cage: signed distance to the inside of the ribs.
        mediastinum: signed distance to the space the lungs must leave free.
    """
    outside = torch.maximum(cage + PLEURA_MM, diaphragm_depth(grid, build) + 0.5)
    return torch.maximum(outside, -blended(mediastinum, _spine(grid, build), radius_mm=7.0))


def _spine(grid: Grid, build: Build) -> Distance:
    """Return the distance to the vertebral column with its ribs' heads; the lungs lie against it."""
    z = grid.z
    wide = 15.5 + 6.0 * ((283.0 - z) / 250.0).clamp(0, 1)
    x = grid.x - spine_left_mm(build, z)
    y = grid.y - spine_front_mm(build, z)
    body = torch.hypot(x, (y - 0.92 * wide)) - wide - 1.5
    arch = torch.hypot(x, y - 46.0) - 25.0
    return blended(body, arch, radius_mm=10.0)


def carve_lungs(block: Block, build: Build, wall: Wall, mediastinum: Distance, *, seed: int) -> None:
    """Carve the five lobes with the fissures between them."""
    window = cage_window(block.grid, build, low_mm=-1e3, high_mm=APEX_MM)
    grid = block.grid.part(window)
    inside = lung_distance(grid, build, wall.cage[window], mediastinum[window]) < 0
    left = grid.x > spine_left_mm(build, grid.z)
    rng = rng_for(seed, "fissures")
    chance = 0.5 * waves(
        Grid(z=grid.z[:1], y=grid.y, x=grid.x, spacing_mm=grid.spacing_mm), rng, length_mm=90.0
    )
    oblique = {side: _oblique(grid, chance, rng) for side in ("left", "right")}
    level = 158.0 + float(rng.normal(0, 9)) + 4.0 * chance + float(rng.normal(0, 0.06)) * grid.y
    horizontal = (grid.z - level) * 0.97
    right, upper = inside & ~left, horizontal >= 0
    inside_left = inside & left
    front_left, front_right = inside_left & (oblique["left"] >= 0), right & (oblique["right"] >= 0)
    thin = 0.5 * grid.spacing_mm
    whole = chance.abs() > 0.12  # noqa: PLR2004 (fissures are not complete)
    cleft = (inside_left & (oblique["left"].abs() < thin)) | (right & (oblique["right"].abs() < thin))
    cleft = (cleft | (front_right & (horizontal.abs() < thin))) & whole
    for name, part in (
        ("lung_lower_lobe_left", inside_left), ("lung_upper_lobe_left", front_left),
        ("lung_lower_lobe_right", right), ("lung_middle_lobe_right", front_right),
        ("lung_upper_lobe_right", front_right & upper), ("fissure", cleft),
    ):  # fmt: skip
        block.carve(part, name, window=window)


def _oblique(grid: Grid, chance: Tensor, rng: np.random.Generator) -> Distance:
    """Return the height above a fissure that runs from high at the back to low in front."""
    steep = float(rng.normal(1.1, 0.12))
    level = 133.0 + float(rng.normal(0, 8)) + steep * (grid.y - 5.0) + 6.0 * chance + 0.0012 * grid.x**2
    return (grid.z - level) / (1 + steep**2) ** 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """A branching tree: short straight segments, each towards its parent's node.

    Attributes:
        nodes_xyz_mm: ends of the segments; roots have none.
        parent: node each segment comes from; -1 at the roots.
        leaves: how many ends each segment feeds.
    """

    nodes_xyz_mm: Points
    parent: Int[np.ndarray, " _"]
    leaves: Int[np.ndarray, " _"]

    def radius_mm(self, *, leaf_mm: float, most_mm: float) -> Float[np.ndarray, " n"]:
        """Return radii after Murray's law: their cubes add up at forks (PNAS 12, 1926, 207)."""
        return (leaf_mm * np.maximum(self.leaves, 1) ** (1 / 3)).clip(max=most_mm)


def grown(roots: Points, goals: Points, *, thrift: float) -> Tree:
    """Return the tree that reaches all goals, the near ones first, each from where it is cheapest.

    The price is the new branch's length and ``thrift`` times the way from the root: 0 gives the shortest
    tree, 1 a bundle of straight lines.
    """
    near = np.linalg.norm(goals[:, None] - roots[None, ::8], axis=2).min(axis=1)
    room = len(roots) + int((near.sum() / SEGMENT_MM) + 3 * len(goals) + 10)
    nodes, way, parent = np.zeros((room, 3)), np.zeros(room), np.full(room, -1)
    nodes[: len(roots)], count = roots, len(roots)
    ends = []
    for goal in goals[np.argsort(near)]:
        away = np.linalg.norm(nodes[:count] - goal, axis=1)
        start = int(np.argmin(away + thrift * way[:count]))
        steps = max(1, int(np.ceil(away[start] / SEGMENT_MM)))
        share = (np.arange(1, steps + 1) / steps)[:, None]
        line = _bent(nodes[start], goal, share, before=nodes[parent[start]] if parent[start] >= 0 else None)
        new = np.arange(count, count + steps)
        nodes[new], parent[new] = line, np.concatenate([[start], new[:-1]])
        way[new] = way[start] + share[:, 0] * away[start]
        count += steps
        ends.append(count - 1)
    return Tree(
        nodes_xyz_mm=nodes[:count], parent=parent[:count],
        leaves=_leaves(parent[:count], np.array(ends)),
    )  # fmt: skip


def _bent(start: Point, goal: Point, share: Float[np.ndarray, "_ 1"], *, before: Point | None) -> Points:
    """Return a line that leaves a branch at a slant and then turns to its goal."""
    straight = start + share * (goal - start)
    if before is None:
        return straight
    ahead = (start - before) / max(float(np.linalg.norm(start - before)), 1e-6)
    return straight + share * (1 - share) * 0.35 * np.linalg.norm(goal - start) * ahead


def _leaves(parent: np.ndarray, ends: np.ndarray) -> np.ndarray:
    leaves = np.zeros(len(parent), dtype=np.int64)
    leaves[ends] += 1
    for node in range(len(parent) - 1, -1, -1):
        if parent[node] >= 0:
            leaves[parent[node]] += leaves[node]
    return leaves


def tree_tube(tree: Tree, radius_mm: Float[np.ndarray, " n"], *, kept: np.ndarray) -> Tube:
    """Return the segments kept as one tube."""
    number = np.flatnonzero(kept & (tree.parent >= 0))
    near, far = tree.nodes_xyz_mm[tree.parent[number]], tree.nodes_xyz_mm[number]
    steps = np.maximum(1, np.ceil(np.linalg.norm(far - near, axis=1) / 1.1)).astype(int)
    which = np.repeat(np.arange(len(number)), steps)
    share = (np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps) + 1) / steps[which]
    return Tube(
        centres_xyz_mm=near[which] + share[:, None] * (far - near)[which], radius_mm=radius_mm[number][which]
    )


def carve_lung_trees(block: Block, build: Build, *, seed: int) -> None:
    """Carve arteries, veins and airways into the lungs, out of what the mediastinum's roots offer."""
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rng = rng_for(seed, "trees", side)
        lung = _places(block, [name for name in LOBES if name.endswith(side)], every=3)
        found = {
            name: _roots(_places(block, [structure], every=2), build, sign)
            for name, structure in ROOTS.items()
        }
        anywhere = np.concatenate(list(found.values()))
        if len(lung) == 0 or len(anywhere) == 0:
            continue
        # a root that another organ covers is lent by its neighbours
        roots = {name: places if len(places) else anywhere for name, places in found.items()}
        arteries = grown(roots["artery"], _one_per_cell(lung, rng), thrift=0.45)
        veins = grown(roots["vein"], _one_per_cell(lung, rng), thrift=0.45)
        _carve_tree(block, veins, "lung_vein", most_mm=4.6)
        _carve_tree(block, arteries, "lung_artery", most_mm=5.0)
        _carve_airways(block, arteries, roots["airway"], rng)


def _carve_tree(block: Block, tree: Tree, name: str, *, most_mm: float) -> None:
    radius = tree.radius_mm(leaf_mm=LEAF_MM, most_mm=most_mm)
    _carve_in_lungs(block, tree_tube(tree, radius, kept=tree.parent >= 0), name)


def _carve_airways(block: Block, arteries: Tree, roots: Points, rng: np.random.Generator) -> None:
    """Carve airways beside the larger arteries, walls first."""
    size = arteries.radius_mm(leaf_mm=LEAF_MM, most_mm=5.0)
    large = np.flatnonzero((arteries.leaves >= AIRWAY_LEAVES) & (arteries.parent >= 0))
    if large.size == 0:
        return
    beside = rng.normal(0, 1, 3) * (0.3, 1, 0.6)
    beside /= np.linalg.norm(beside)
    goals = arteries.nodes_xyz_mm[large] + (1.75 * size[large] + 0.9)[:, None] * beside
    tree = grown(roots, goals, thrift=0.3)
    radius = (0.62 * tree.radius_mm(leaf_mm=1.5, most_mm=6.0)).clip(0.9, 3.6)
    kept = tree.parent >= 0
    wall = tree_tube(tree, radius + 0.25 * radius + 0.6, kept=kept)
    _carve_in_lungs(block, wall, "lung_airway_wall")
    _carve_in_lungs(block, tree_tube(tree, radius, kept=kept), "lung_airway", also=("lung_airway_wall",))


def _carve_in_lungs(block: Block, shape: Tube, name: str, *, also: Sequence[str] = ()) -> None:
    window = tube_window(block.grid, shape, reach_mm=2.0)
    away = tube_distance(block.grid.part(window), shape, reach_mm=0.3)
    block.carve(away < 0.15, name, window=window, only=(*LOBES, "fissure", *also))  # noqa: PLR2004 (keeps thin ones whole)


def _places(block: Block, names: Sequence[str], *, every: int) -> Points:
    """Return where (x, y, z) structures lie, on every so many voxels."""
    found = chosen(block.structure[::every, ::every, ::every], *names).nonzero().cpu().numpy()
    first = np.asarray(block.grid.first_xyz_mm)
    return found[:, ::-1] * every * block.grid.spacing_mm + first


def _roots(places: Points, build: Build, sign: float) -> Points:
    """Return the outermost part on one side of a structure that enters the lung there."""
    if len(places) == 0:
        return places
    out = sign * (places[:, 0] - np.asarray(spine_left_mm(build, places[:, 2])))
    return places[(out > 12) & (out > out.max() - 20)]  # noqa: PLR2004 (the root of the lung)


def _one_per_cell(places: Points, rng: np.random.Generator) -> Points:
    mixed = places[rng.permutation(len(places))]
    cells = np.floor((mixed + rng.uniform(0, CELL_MM, 3)) / CELL_MM).astype(int)
    _, first = np.unique(cells, axis=0, return_index=True)
    return mixed[np.sort(first)]
