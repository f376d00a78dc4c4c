"""The gullet: a soft tube that finds its way between windpipe, heart, aorta and spine."""

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, map_coordinates

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.airways import Airways, carina_xyz_mm, cricoid_mm, trachea_column
from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.column import Column, Levels, column_distance, column_window, narrowed
from thoar.phantoms.parametric.shapes import Block, Distance, Grid
from thoar.phantoms.structures import STRUCTURES

LEVEL_MM = 3.0
STEPS = 80
"""Of the relaxation: enough for the course to come to rest."""

CORE_MM = 2.2
"""Half width of the strand that stays even where neighbours press hardest."""
YIELDING = tuple(
    name
    for name in STRUCTURES
    if name not in {"aorta", "aorta_wall", "trachea", "trachea_wall", "cortical_bone", "marrow"}
)

Content = Literal["collapsed", "bubbles", "open", "dilated"]


class Gullet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One patient's gullet.

    Attributes:
        area_mm2: of its section where it is closed.
        depth_ratio: depth of the section relative to its width where nothing presses on it.
        wall_mm: thickness of the wall where it holds something.
        content: whether it holds nothing, bubbles, is open over long stretches, or wide all along.
        open_share: share of its length that holds something.
        stretch: how much wider than closed it is there.
        neck_left_mm: how far left of the windpipe's middle it runs in the neck.
        spine_share: where it runs in the space before the spine below the fork: 0 in front, 1 at the spine.
        seed: of its unevenness and of where it is open.
    """

    area_mm2: float
    depth_ratio: float
    wall_mm: float
    content: Content
    open_share: float
    stretch: float
    neck_left_mm: float
    spine_share: float
    seed: int


def draw_gullet(rng: np.random.Generator) -> Gullet:
    """Draw one gullet."""
    contents: tuple[Content, ...] = ("collapsed", "bubbles", "open", "dilated")
    content = contents[int(rng.choice(4, p=(0.38, 0.34, 0.2, 0.08)))]
    shares = {"collapsed": (0.0, 0.0), "bubbles": (0.05, 0.3), "open": (0.3, 0.8), "dilated": (1.0, 1.0)}
    stretches = {"collapsed": (1.0, 1.0), "bubbles": (1.1, 1.6), "open": (1.2, 2.0), "dilated": (1.6, 2.3)}
    return Gullet(
        area_mm2=float(np.clip(rng.lognormal(np.log(125), 0.22), 80, 200)),
        depth_ratio=float(rng.uniform(0.5, 0.95)),
        wall_mm=float(rng.uniform(2.3, 3.3)),
        content=content,
        open_share=float(rng.uniform(*shares[content])),
        stretch=float(rng.uniform(*stretches[content])),
        neck_left_mm=float(np.clip(rng.normal(5, 2.5), -1, 10)),
        spine_share=float(np.clip(rng.beta(2, 2), 0.1, 0.95)),
        seed=int(rng.integers(2**31)),
    )


def cardia_xyz_mm(build: Build) -> Vector3:
    """Return where the gullet enters the stomach: left of the spine, under the left dome."""
    z = build.dome_mm - build.left_dome_mm - 26.0
    x = float(spine_left_mm(build, z)) + 33.0
    return (x, float(spine_front_mm(build, z)) - 36.0, z)


def gullet_column(
    build: Build, gullet: Gullet, airways: Airways, *, obstacles: tuple[Grid, Distance]
) -> Column:
    """Return the gullet's outside after it has made way for its neighbours.

    Args:
        build: the patient.
        gullet: the gullet.
        airways: the windpipe that it follows in the neck.
        obstacles: distance to everything that does not yield, on a grid, coarse or fine.
    """
    z, target = _target(build, gullet, airways)
    area = gullet.area_mm2 * _unevenness(gullet, z) * (1 + (gullet.stretch - 1) * openness(gullet, z))
    half = np.sqrt(area / np.pi * gullet.depth_ratio)
    free = _sampler(*obstacles)
    course = _relaxed(z, target, half + 1.0, free=free)
    room = free(np.column_stack([course, z]))
    depth = np.clip(gaussian_filter1d(room, 1.5), 0.55 * half, half)
    wide = np.minimum(area / (np.pi * depth), 1.9 * np.sqrt(area / np.pi))
    return Column(z_mm=z, x_mm=course[:, 0], y_mm=course[:, 1], half_x_mm=wide, front_mm=depth, back_mm=depth)


def openness(gullet: Gullet, z_mm: Levels) -> Levels:
    """Return at each level how open the gullet is, 0 to 1."""
    if gullet.open_share >= 1:
        return np.ones_like(z_mm)
    rng = np.random.default_rng(gullet.seed)
    chance = gaussian_filter1d(rng.normal(size=len(z_mm)), 4.0 if gullet.content == "open" else 2.0)
    edge = np.quantile(chance, 1 - gullet.open_share)
    return np.clip((chance - edge) / (0.3 * chance.std()), 0, 1)


def _unevenness(gullet: Gullet, z_mm: Levels) -> Levels:
    """Return the section's size along the way: chance, and more towards the stomach."""
    rng = np.random.default_rng(gullet.seed + 1)
    waves = gaussian_filter1d(rng.normal(size=len(z_mm)), 4.0)
    low = np.clip((z_mm[0] + 25 - z_mm) / 25, 0, 1)
    return np.clip(1 + 0.18 * waves / waves.std(), 0.65, 1.5) * (1 + 0.5 * low)


def _target(build: Build, gullet: Gullet, airways: Airways) -> tuple[Levels, Float[np.ndarray, "level xy"]]:
    """Return levels and where the gullet would run if nothing were in its way."""
    _, yc, zc = carina_xyz_mm(build, airways)
    x_end, y_end, z_end = cardia_xyz_mm(build)
    trachea, top = trachea_column(build, airways), cricoid_mm(build, airways)
    knots = []
    for height, share in ((top, 0.3), (zc + 60, 1.0), (zc + 25, 1.0)):
        tx, ty = trachea.at(height)
        knots.append((tx + share * gullet.neck_left_mm, ty + airways.width_mm / 2 + 7, height))
    for height, left in ((zc - 5, 5.0), (zc - 45, 4.0), (z_end + 55, 4.0)):
        front = float(spine_front_mm(build, height)) - 8
        near = min(yc + 17, front)
        y = near + (front - near) * gullet.spine_share - (0 if height > zc - 50 else 5)
        knots.append((float(spine_left_mm(build, height)) + left, y, height))
    hiatus = z_end + 24
    x_hiatus = float(spine_left_mm(build, hiatus)) + 10
    knots.append((x_hiatus, float(spine_front_mm(build, hiatus)) - 29, hiatus))
    knots += [(x_end, y_end, z_end), (x_end + 12, y_end + 3, z_end - 10)]
    way = np.array(knots)[np.argsort([k[2] for k in knots])]
    z = np.arange(way[0, 2], way[-1, 2], LEVEL_MM)
    return z, PchipInterpolator(way[:, 2], way[:, :2])(z)


Sampler = Callable[[Float[np.ndarray, "n xyz"]], Float[np.ndarray, " n"]]


def _sampler(grid: Grid, distance: Distance) -> Sampler:
    """Return a function that looks a distance up at points."""
    field = distance.cpu().numpy().clip(-30, 30)
    first = np.array(grid.first_xyz_mm)

    def at(points: Float[np.ndarray, "n xyz"]) -> Float[np.ndarray, " n"]:
        place = ((points - first) / grid.spacing_mm)[:, ::-1].T
        return np.asarray(map_coordinates(field, place, order=1, mode="nearest"))

    return at


def _relaxed(
    z_mm: Levels, target: Float[np.ndarray, "level xy"], room_mm: Levels, *, free: Sampler
) -> Float[np.ndarray, "level xy"]:
    """Return the course pushed off the obstacles, kept smooth, and drawn to where it would run."""
    course = target.copy()
    for step in range(STEPS):
        points = np.column_stack([course, z_mm])
        slope = np.column_stack(
            [free(points + offset) - free(points - offset) for offset in np.eye(3)[:2] * 2.0]
        )
        slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 0.5)
        short = np.clip(room_mm - free(points), 0, 8)[:, None]
        pull = 0.06 if step < STEPS // 2 else 0.02
        course = course + 0.5 * short * slope + pull * (target - course)
        course = 0.4 * course + 0.6 * gaussian_filter1d(course, 1.2, axis=0, mode="nearest")
    return course


def carve_gullet(
    block: Block, gullet: Gullet, column: Column, *, obstacles: Callable[[Grid], Distance]
) -> None:
    """Carve wall and inside, pressed flat where a neighbour lies against it."""
    window = column_window(block.grid, column, reach_mm=3.0)
    grid = block.grid.part(window)
    inside = torch.maximum(column_distance(grid, column), 0.8 - obstacles(grid))
    core = column_distance(grid, narrowed(column, CORE_MM))
    block.carve(core < 0, "esophagus_wall", window=window, only=YIELDING)
    block.carve(inside < 0, "esophagus_wall", window=window)
    if gullet.content == "collapsed":
        return
    holds = np.interp(grid.z.flatten().cpu().double().numpy(), column.z_mm, openness(gullet, column.z_mm))
    thick = torch.as_tensor(gullet.wall_mm + 12 * (1 - holds), dtype=torch.float32, device=grid.z.device)
    block.carve(inside < -thick[:, None, None], "esophagus_lumen", window=window, only=("esophagus_wall",))
