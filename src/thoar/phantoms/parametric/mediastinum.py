"""What lies between the lungs, put together: records, the plan drawn from them, and the carving."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from thoar.phantoms.parametric.airways import (
    Airways,
    bronchus_tubes,
    carina_xyz_mm,
    carve_airways,
    draw_airways,
    trachea_column,
)
from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm, sternum_back_mm
from thoar.phantoms.parametric.cage import smoothly
from thoar.phantoms.parametric.column import Column, column_distance
from thoar.phantoms.parametric.gullet import Gullet, carve_gullet, draw_gullet, gullet_column
from thoar.phantoms.parametric.heart import (
    Heart,
    HeartPlace,
    carve_heart,
    draw_heart,
    heart_place,
    heart_shapes,
    pericardial_distance,
)
from thoar.phantoms.parametric.lymph import carve_nodes, carve_thymus
from thoar.phantoms.parametric.neck import carve_neck, carve_thyroid
from thoar.phantoms.parametric.shapes import (
    Block,
    Distance,
    Grid,
    Tube,
    blended,
    ellipsoid_distance,
    joined,
    tube_distance,
)
from thoar.phantoms.parametric.vessel_courses import vessel_tubes
from thoar.phantoms.parametric.vessels import (
    SPINE_RADIUS_MM,
    Vessels,
    VesselTubes,
    carve_vessels,
    draw_vessels,
)

COARSE_MM = 3.0
"""Spacing of the grid on which the gullet finds its way."""


class Mediastinum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that lies between one patient's lungs.

    Attributes:
        heart, vessels, airways, gullet: the organs.
        fat_mm: thickness of the fat between them and the lungs.
        front_fat_mm: half width of the sheet of fat behind the breast bone.
        node_scale: size of the lymph nodes; about 1 for healthy ones.
        thymus: size of the thymus, 0 to 1.
        thyroid_scale: size of the thyroid, in length, relative to 16 ml.
        seed: of nodes and of the thymus's strands.
    """

    heart: Heart
    vessels: Vessels
    airways: Airways
    gullet: Gullet
    fat_mm: float
    front_fat_mm: float
    node_scale: float
    thymus: float
    thyroid_scale: float
    seed: int


def draw_mediastinum(rng: np.random.Generator, build: Build) -> Mediastinum:
    """Draw what lies between the lungs of a patient."""
    youth = np.clip((45 - build.age_years) / 25, 0, 1)
    return Mediastinum(
        heart=draw_heart(rng, build),
        vessels=draw_vessels(rng, build),
        airways=draw_airways(rng, build),
        gullet=draw_gullet(rng),
        fat_mm=float(np.clip(1 + 9 * build.visceral_fat * rng.uniform(0.5, 1.3), 1, 12)),
        front_fat_mm=float(np.clip(2 + 14 * build.visceral_fat * rng.uniform(0.3, 1.2) + 8 * youth, 1.5, 18)),
        node_scale=float(np.clip(rng.lognormal(0, 0.25), 0.6, 1.9)),
        thymus=float(np.clip(youth + rng.uniform(0, 0.35), 0, 1)),
        thyroid_scale=float(np.clip(rng.lognormal(0, 0.13), 0.75, 1.5)),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Where everything between the lungs runs."""

    place: HeartPlace
    tubes: VesselTubes
    trachea: Column
    bronchi: Tube
    gullet: Column
    obstacles: Callable[[Grid], Distance]


def plan(build: Build, mediastinum: Mediastinum) -> Plan:
    """Return where everything runs; the gullet is found last, for it makes way for all others."""
    airways = mediastinum.airways
    carina = carina_xyz_mm(build, airways)
    place = heart_place(build, mediastinum.heart, carina_xyz_mm=carina)
    tubes = vessel_tubes(build, mediastinum.vessels, airways, place=place)
    trachea, bronchi = trachea_column(build, airways), joined(list(bronchus_tubes(build, airways).values()))

    def obstacles(grid: Grid) -> Distance:
        """Return the distance to what the gullet makes way for."""
        hull = heart_shapes(grid, build, mediastinum.heart, place=place).hull
        wall = airways.wall_mm
        firm = torch.minimum(hull, column_distance(grid, trachea) - wall)
        for line, more in ((bronchi, wall), (tubes.aorta, 0.0), (tubes.others["azygos_vein"], 0.0)):
            firm = torch.minimum(firm, tube_distance(grid, line, reach_mm=12.0) - more)
        return torch.minimum(firm, _spine(grid, build))

    low, high = (-80.0, build.spine_mm - 110, -10.0), (80.0, build.spine_mm + 25, 345.0)
    coarse = Grid.over(low, high, spacing_mm=COARSE_MM, device=torch.device("cpu"))
    gullet = gullet_column(build, mediastinum.gullet, airways, obstacles=(coarse, obstacles(coarse)))
    return Plan(
        place=place, tubes=tubes, trachea=trachea, bronchi=bronchi, gullet=gullet, obstacles=obstacles
    )


def _spine(grid: Grid, build: Build) -> Distance:
    """Return the distance to the vertebral bodies as a round column."""
    x = grid.x - spine_left_mm(build, grid.z)
    y = grid.y - spine_front_mm(build, grid.z) - SPINE_RADIUS_MM
    return (x**2 + y**2).sqrt() - SPINE_RADIUS_MM


def mediastinal_distance(grid: Grid, build: Build, mediastinum: Mediastinum) -> Distance:
    """Return the distance to the space that the lungs leave free: organs, spine, and the fat on them."""
    return smoothly(grid, lambda coarse: _free_space(coarse, build, mediastinum))


def _free_space(grid: Grid, build: Build, mediastinum: Mediastinum) -> Distance:
    course = plan(build, mediastinum)
    fat, place = mediastinum.fat_mm, course.place
    shapes = heart_shapes(grid, build, mediastinum.heart, place=place)
    heart = pericardial_distance(shapes, grid, mediastinum.heart, place=place)
    others = [line for name, line in course.tubes.others.items() if name != "inferior_vena_cava"]
    tubes = tube_distance(grid, joined([course.tubes.aorta, course.bronchi, *others]), reach_mm=14.0)
    soft = torch.minimum(tubes, column_distance(grid, course.trachea) - mediastinum.airways.wall_mm)
    soft = torch.minimum(soft, tube_distance(grid, course.tubes.others["inferior_vena_cava"], reach_mm=14.0))
    soft = torch.minimum(soft, column_distance(grid, course.gullet))
    _, y, _ = carina_xyz_mm(build, mediastinum.airways)
    soft = torch.minimum(soft, _between(grid, build, mediastinum))
    front = ((y + 8 - grid.y) / 30).clamp(0.2, 1.0)
    soft = blended(soft, heart, radius_mm=6.0 + fat) - (0.6 + fat * front)
    soft = blended(soft, _spine(grid, build) - 1.5, radius_mm=9.0)
    return blended(soft, _sheet(grid, build, mediastinum), radius_mm=10.0)


FILLED: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = (
    ((-3.0, -24.0, 6.0), (19.0, 22.0, 44.0)),
    ((14.0, -24.0, -6.0), (18.0, 22.0, 22.0)),
    ((2.0, 0.0, -24.0), (20.0, 16.0, 28.0)),
    ((6.0, -46.0, -12.0), (22.0, 16.0, 34.0)),
)
"""Middles, from the fork, and radii of what no lung reaches: before the windpipe, under arch and fork."""


def _between(grid: Grid, build: Build, mediastinum: Mediastinum) -> Distance:
    """Return the distance to the fat among the great vessels, where no lung comes."""
    fork = np.array(carina_xyz_mm(build, mediastinum.airways))
    lumps = [
        ellipsoid_distance(grid, centre_xyz_mm=(fork + middle).tolist(), radius_xyz_mm=radius)
        for middle, radius in FILLED
    ]
    return torch.stack(lumps).amin(dim=0)


def _sheet(grid: Grid, build: Build, mediastinum: Mediastinum) -> Distance:
    """Return the distance to the fat behind the breast bone: wide above, a thin line in the middle."""
    _, y, z = carina_xyz_mm(build, mediastinum.airways)
    top = ((grid.z - z + 20) / 50).clamp(0, 1)
    half = mediastinum.front_fat_mm * (0.35 + 0.85 * top) + 12 * ((grid.z - z - 45) / 40).clamp(0, 1)
    near = ((grid.y - sternum_back_mm(build, grid.z)) / 40).clamp(0, 1)
    across = (grid.x - mediastinum.heart.left_mm * 0.35 * (1 - top)).abs() - half * (1.15 - 0.3 * near)
    return torch.maximum(across, grid.y - (y - 25))


def carve_mediastinum(block: Block, build: Build, mediastinum: Mediastinum) -> None:
    """Carve what lies between the lungs into a block that holds fat there, and all else of the body."""
    course = plan(build, mediastinum)
    carve_neck(block, build, course.trachea)
    rng, airways = np.random.default_rng(mediastinum.seed), mediastinum.airways
    carina = carina_xyz_mm(build, airways)
    carve_thymus(block, build, mediastinum.thymus, carina_xyz_mm=carina, rng=rng)
    carve_nodes(block, mediastinum.node_scale, carina_xyz_mm=carina, rng=rng)
    half = airways.width_mm / 2
    carve_thyroid(block, mediastinum.thyroid_scale, trachea=course.trachea, trachea_half_mm=half)
    carve_heart(block, build, mediastinum.heart, place=course.place)
    carve_vessels(block, mediastinum.vessels, course.tubes)
    carve_airways(block, build, airways)
    carve_gullet(block, mediastinum.gullet, course.gullet, obstacles=course.obstacles)
