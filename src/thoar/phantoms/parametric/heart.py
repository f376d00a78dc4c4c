"""The heart: its chambers in a frame of their own, the fat in its grooves, and the sac around it."""

from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thoar.core.geometry import Vector3
from thoar.phantoms.parametric.build import (
    Build,
    diaphragm_mm,
    spine_front_mm,
    spine_left_mm,
    sternum_back_mm,
)
from thoar.phantoms.parametric.cage import cage_distance, smoothly
from thoar.phantoms.parametric.shapes import Block, Distance, Grid, Window, blended

VOLUME_ML = 565.0
"""Volume of the shapes below at scale 1, fat in the grooves included."""

Point = tuple[float, float, float]

LEFT_VENTRICLE: tuple[Point, Point] = ((14.0, 12.0, 0.0), (53.0, 34.0, 35.0))
RIGHT_VENTRICLE: tuple[Point, Point] = ((8.0, -20.0, -7.0), (52.0, 32.0, 36.0))
OUTFLOW: tuple[Point, Point] = ((2.0, -19.0, 22.0), (17.0, 16.0, 24.0))
LEFT_OUTFLOW: tuple[Point, Point] = ((-13.0, 2.0, 12.0), (14.0, 10.0, 11.0))
LEFT_ATRIUM: tuple[Point, Point] = ((-43.0, 17.0, 8.0), (34.0, 22.0, 26.0))
RIGHT_ATRIUM: tuple[Point, Point] = ((-38.0, -29.0, -6.0), (25.0, 27.0, 34.0))
APPENDAGES: tuple[tuple[Point, Point], ...] = (
    ((-22.0, 37.0, 14.0), (11.0, 9.0, 10.0)),
    ((-8.0, 33.0, 23.0), (13.0, 8.0, 9.0)),
)
"""Middle and radii of the chambers with their walls along the heart's axes: to the apex, left and back, up.

The left atrium alone lies straight between spine and aortic root: its radii are along the patient's axes.
"""
LANDMARKS: dict[str, Point] = {
    "aortic_root": (-22.0, -5.0, 20.0),
    "pulmonary_root": (2.0, -19.0, 38.0),
    "upper_vena_cava": (-44.0, -26.0, 14.0),
    "lower_vena_cava": (-40.0, -22.0, -30.0),
    "right_upper_vein": (-50.0, -6.0, 14.0),
    "right_lower_vein": (-54.0, 0.0, -2.0),
    "left_upper_vein": (-36.0, 40.0, 18.0),
    "left_lower_vein": (-46.0, 40.0, 2.0),
    "apex": (66.0, 8.0, -4.0),
}
ATRIAL_WALL_MM = 2.0
ROOM_MM = 12.0
"""Between the left atrium and the spine, for the gullet at least."""
MITRAL_MM, TRICUSPID_MM = -22.0, -20.0
"""Where the ventricles' inside ends towards the atria, along the long axis."""


class Heart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One patient's heart.

    Attributes:
        volume_ml: with the fat in its grooves, without the vessels that leave it.
        azimuth_deg: of the long axis, from straight ahead to the left.
        elevation_deg: of the long axis, downwards: small in a heart that lies, large in one that hangs.
        left_mm: of its middle, from the spine's middle.
        back_mm: of the left atrium's back, from the fork of the windpipe.
        front_gap_mm: from the breast bone back to the right ventricle, if the heart can stretch so far.
        left_wall_mm: thickness of the left ventricle's muscle.
        right_wall_mm: thickness of the right ventricle's.
        left_size, right_size, atria_size: of the ventricles and of the atria, relative to the average.
        groove_fat_mm: extra fat under the sac.
        pericardial_fat_mm: thickness of the fat outside the sac in the corners in front.
    """

    volume_ml: float
    azimuth_deg: float
    elevation_deg: float
    left_mm: float
    back_mm: float
    front_gap_mm: float
    left_wall_mm: float
    right_wall_mm: float
    left_size: float
    right_size: float
    atria_size: float
    groove_fat_mm: float
    pericardial_fat_mm: float


def draw_heart(rng: np.random.Generator, build: Build) -> Heart:
    """Draw one heart; a high diaphragm lays it down."""
    mean = 590 if build.sex == "female" else 700
    return Heart(
        volume_ml=float(np.clip(mean * rng.lognormal(0, 0.16), 350, 1000)),
        azimuth_deg=float(np.clip(rng.normal(57, 7), 38, 74)),
        elevation_deg=float(np.clip(rng.normal(30, 6) - 0.35 * (build.dome_mm - 82), 12, 52)),
        left_mm=float(np.clip(rng.normal(19, 5), 6, 32)),
        back_mm=float(np.clip(rng.normal(6, 3), -2, 13)),
        front_gap_mm=float(np.clip(rng.normal(2, 4), -2, 14)),
        left_wall_mm=float(rng.uniform(8, 11.5)),
        right_wall_mm=float(rng.uniform(2.5, 4.5)),
        left_size=float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)),
        right_size=float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)),
        atria_size=float(np.clip(rng.normal(1 + 0.002 * (build.age_years - 60), 0.06), 0.85, 1.2)),
        groove_fat_mm=float(0.5 + 4.5 * build.visceral_fat * rng.uniform(0.5, 1.0)),
        pericardial_fat_mm=float(np.clip(22 * build.visceral_fat * rng.uniform(0.3, 1.2), 0, 22)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeartPlace:
    """Where a heart lies.

    Attributes:
        centre_xyz_mm: its middle in the patient.
        turn: from the patient's axes to the heart's, stretched to its size at average.
        stretch_xyz: its size along the patient's axes, relative to the average.
        scale: the same without direction, to turn lengths back into millimetres.
    """

    centre_xyz_mm: Float[np.ndarray, "3"]
    turn: Float[np.ndarray, "3 3"]
    stretch_xyz: Float[np.ndarray, "3"]
    scale: float

    def point(self, name: str) -> Vector3:
        """Return where in the patient one of ``LANDMARKS`` lies."""
        x, y, z = self.centre_xyz_mm + np.linalg.solve(self.turn, np.array(LANDMARKS[name]))
        return (float(x), float(y), float(z))


def heart_place(build: Build, heart: Heart, *, carina_xyz_mm: Vector3) -> HeartPlace:
    """Return where the heart lies: on the diaphragm, under the fork, between gullet and breast bone."""
    scale = (heart.volume_ml / VOLUME_ML) ** (1 / 3)
    axes = _axes(heart)
    ahead, behind, below, above = _extent(axes)
    _, y_carina, z_carina = carina_xyz_mm
    back = min(y_carina + heart.back_mm, float(spine_front_mm(build, z_carina - 50)) - ROOM_MM)
    front = float(sternum_back_mm(build, torch.tensor(z_carina - 80))) + 2.0 + heart.front_gap_mm
    deep = float(np.clip((back - front) / ((ahead + behind) * scale), 0.72, 1.18))
    stretch = scale * np.array([deep**-0.5, deep, deep**-0.5])
    x = float(spine_left_mm(build, z_carina - 70)) + heart.left_mm
    y = back - behind * stretch[1]
    floor = float(diaphragm_mm(build, torch.full((1, 1), x), torch.full((1, 1), y - 15)))
    z = 0.75 * (floor + (below - 3) * stretch[2]) + 0.25 * (z_carina - 26 - above * stretch[2])
    z = min(z, z_carina - 14 - above * stretch[2])
    return HeartPlace(
        centre_xyz_mm=np.array([x, y, z]), turn=axes / stretch, stretch_xyz=stretch, scale=scale
    )


def _extent(axes: Float[np.ndarray, "3 3"]) -> tuple[float, float, float, float]:
    """Return how far the average heart reaches ahead, behind, below and above its middle."""
    (middle, radius), (atrium, atrial) = (np.array(t) for t in (RIGHT_VENTRICLE, LEFT_ATRIUM))
    out = np.sqrt(((axes * radius[:, None]) ** 2).sum(axis=0))
    right, left = axes.T @ middle, axes.T @ atrium
    ahead, below = out[1] - right[1], out[2] - right[2]
    return float(ahead), float(left[1] + atrial[1]), float(below), float(left[2] + atrial[2])


def _axes(heart: Heart) -> Float[np.ndarray, "3 3"]:
    """Return the turn from the patient's axes to the heart's: to the apex, left and back, up."""
    azimuth, down = np.deg2rad(heart.azimuth_deg), np.deg2rad(heart.elevation_deg)
    long = np.array([np.cos(down) * np.sin(azimuth), -np.cos(down) * np.cos(azimuth), -np.sin(down)])
    side = np.cross((0.0, 0.0, 1.0), long)
    side /= np.linalg.norm(side)
    return np.stack([long, side, np.cross(long, side)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeartShapes:
    """Signed distances: the chambers with their walls, and all of it inside the sac.

    Attributes:
        long: along the long axis, in the average heart's millimetres.
        floor: to the space under the diaphragm.
        cage: to the ribs and what lies outside them.
    """

    left_ventricle: Distance
    right_ventricle: Distance
    left_outflow: Distance
    left_atrium: Distance
    right_atrium: Distance
    appendage: Distance
    hull: Distance
    long: Distance
    floor: Distance
    cage: Distance


def heart_window(grid: Grid, place: HeartPlace, *, reach_mm: float) -> Window:
    """Return the window that holds the heart and ``reach_mm`` around it."""
    far = 82 * place.scale + reach_mm
    low, high = place.centre_xyz_mm - far, place.centre_xyz_mm + far
    return grid.window(low.tolist(), high.tolist())


def heart_shapes(grid: Grid, build: Build, heart: Heart, *, place: HeartPlace) -> HeartShapes:
    """Return the distances to a heart's parts."""
    x, y, z = (a - float(c) for a, c in zip((grid.x, grid.y, grid.z), place.centre_xyz_mm, strict=True))
    own = tuple(float(r[0]) * x + float(r[1]) * y + float(r[2]) * z for r in place.turn)

    def shape(table: tuple[Point, Point], size: float) -> Distance:
        return _ellipsoid(own, table, size=size) * place.scale

    left = shape(LEFT_VENTRICLE, heart.left_size)
    right = blended(
        shape(RIGHT_VENTRICLE, heart.right_size), shape(OUTFLOW, heart.right_size), radius_mm=12.0
    )
    right_atrium = shape(RIGHT_ATRIUM, heart.atria_size)
    straight = tuple(a / float(w) for a, w in zip((x, y, z), place.stretch_xyz, strict=True))
    middle = (place.turn * place.stretch_xyz).T @ np.array(LEFT_ATRIUM[0])
    atrium = ((float(middle[0]), float(middle[1]), float(middle[2])), LEFT_ATRIUM[1])
    left_atrium = _ellipsoid(straight, atrium, size=heart.atria_size) * place.scale
    appendage = blended(*(shape(t, heart.atria_size) for t in APPENDAGES), radius_mm=5.0)
    left_outflow = shape(LEFT_OUTFLOW, 1.0)
    floor = (diaphragm_mm(build, grid.x, grid.y) + 2.5 - grid.z) * 0.85
    cage = smoothly(grid, lambda coarse: cage_distance(coarse, build)) + 2.0
    atria = blended(left_atrium, right_atrium, radius_mm=12.0)
    hull = blended(blended(left, right, radius_mm=14.0), atria, radius_mm=22.0)
    hull = blended(hull, appendage, radius_mm=8.0) - heart.groove_fat_mm * _fatty(own)
    return HeartShapes(
        left_ventricle=left, right_ventricle=right, left_outflow=left_outflow,
        left_atrium=left_atrium, right_atrium=right_atrium,
        appendage=appendage, hull=torch.maximum(torch.maximum(hull, floor), cage), long=own[0], floor=floor,
        cage=cage,
    )  # fmt: skip


def _ellipsoid(own: tuple[Tensor, ...], table: tuple[Point, Point], *, size: float) -> Distance:
    """Return about the distance to an ellipsoid along the heart's axes."""
    total = slope = torch.zeros((), device=own[0].device)
    for axis, middle, radius in zip(own, *table, strict=True):
        part = ((axis - middle) / (size * radius)) ** 2
        total, slope = total + part, slope + part / (size * radius) ** 2
    away = total.sqrt()
    return (away - 1) * away / slope.sqrt().clamp(min=1e-4)


def _fatty(own: tuple[Tensor, ...]) -> Tensor:
    """Return where under the sac the fat lies: more on the right heart and in front."""
    return (0.45 - own[1] / 60 + own[0] / 160).clamp(0.05, 1.2)


def pericardial_distance(shapes: HeartShapes, grid: Grid, heart: Heart, *, place: HeartPlace) -> Distance:
    """Return the distance to the heart with the fat outside its sac: pads in the corners on the diaphragm."""
    fat = heart.pericardial_fat_mm
    x, y, z = (a - float(c) for a, c in zip((grid.x, grid.y, grid.z), place.centre_xyz_mm, strict=True))
    side = (x.abs() / (45 * place.scale)).clamp(0.3, 1.3)
    front = ((20 - y) / 50).clamp(0, 1)
    low = ((10 - z) / 40).clamp(0.1, 1)
    return torch.maximum(shapes.hull - fat * side * front * low, torch.maximum(shapes.floor, shapes.cage))


def carve_heart(block: Block, build: Build, heart: Heart, *, place: HeartPlace) -> None:
    """Carve the sac, the fat in it, the walls, and the blood in them."""
    window = heart_window(block.grid, place, reach_mm=heart.pericardial_fat_mm + 4)
    grid = block.grid.part(window)
    shapes = heart_shapes(grid, build, heart, place=place)
    outer = pericardial_distance(shapes, grid, heart, place=place)
    in_sac = shapes.hull < 0
    block.carve(outer < 0, "pericardial_fat", window=window)
    block.carve((shapes.hull < 1.5) & (outer < -1.5), "pericardium", window=window)  # noqa: PLR2004
    block.carve(in_sac, "heart_fat", window=window)
    for inside, name in _parts(shapes, heart):
        block.carve(inside & in_sac, name, window=window)


def _parts(shapes: HeartShapes, heart: Heart) -> list[tuple[Tensor, str]]:
    """Return walls and chambers, later ones covering earlier ones."""
    left, right, long = shapes.left_ventricle, shapes.right_ventricle, shapes.long
    thick, thin = heart.left_wall_mm, heart.right_wall_mm
    deep_left = torch.maximum(left, shapes.hull)
    deep_right = torch.maximum(right, shapes.hull)
    atria = torch.minimum(shapes.left_atrium, shapes.right_atrium)
    septum = (shapes.left_atrium - shapes.right_atrium).abs() < 2.5  # noqa: PLR2004
    above = long > MITRAL_MM - 4
    return [
        (deep_right < 0, "right_myocardium"),
        (atria < 0, "atrial_wall"),
        ((deep_right < -thin) & (long > TRICUSPID_MM - 6), "right_ventricle"),
        ((shapes.right_atrium < -ATRIAL_WALL_MM) & (long < TRICUSPID_MM) & ~septum, "right_atrium"),
        ((deep_left < 0) & above, "left_myocardium"),
        ((shapes.left_atrium < -ATRIAL_WALL_MM) & (long < MITRAL_MM) & ~septum, "left_atrium"),
        ((deep_left < -thick) & (long > MITRAL_MM), "left_ventricle"),
        ((shapes.left_outflow < 0) & (shapes.left_atrium > 0), "left_ventricle"),
        (
            (shapes.appendage < -1.0) & (shapes.left_atrium > -ATRIAL_WALL_MM) & (left > 0),
            "left_atrial_appendage",
        ),
    ]
