"""A parametric chest: any number of patients who never lived, as maps of structures."""

import msgspec
import numpy as np
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.parametric.belly import carve_belly
from thoar.phantoms.parametric.build import Build, draw_build
from thoar.phantoms.parametric.lobes import carve_lung_trees, carve_lungs
from thoar.phantoms.parametric.mediastinum import (
    Mediastinum,
    carve_mediastinum,
    draw_mediastinum,
    mediastinal_distance,
)
from thoar.phantoms.parametric.shapes import Block, Grid
from thoar.phantoms.parametric.skeleton import carve_skeleton
from thoar.phantoms.parametric.trunk import carve_trunk, half_extent_xy_mm, wall_of

SPACING_MM = 1.5
LOW_MM, HIGH_MM = -38.0, 332.0
"""The field, from the adrenal glands to the neck."""


class ThoraxParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes one parametric chest; the same parameters give the same map.

    Attributes:
        build: who it is.
        mediastinum: what lies between the lungs.
        seed: of what is not worth a parameter: branches in the lungs, planes of fat, loops of bowel.
    """

    build: Build
    mediastinum: Mediastinum
    seed: int


def draw_thorax(rng: np.random.Generator) -> ThoraxParameters:
    """Draw the parameters of one chest."""
    build = draw_build(rng)
    return ThoraxParameters(
        build=build, mediastinum=draw_mediastinum(rng, build), seed=int(rng.integers(2**31))
    )


def thorax_map(
    parameters: ThoraxParameters, *, device: torch.device, spacing_mm: float = SPACING_MM
) -> BodyMap:
    """Make the map of one chest.

    Args:
        parameters: of the chest.
        device: where the map is worked out and lies.
        spacing_mm: edge of its cubic voxels.
    """
    build, seed = parameters.build, parameters.seed
    x, y = half_extent_xy_mm(build)
    grid = Grid.over((-x, -y, LOW_MM), (x, y, HIGH_MM), spacing_mm=spacing_mm, device=device)
    block = Block.empty(grid)
    wall = wall_of(grid, build)
    carve_trunk(block, build, wall, seed=seed)
    carve_belly(block, build, wall, seed=seed)
    carve_lungs(block, build, wall, mediastinal_distance(grid, build, parameters.mediastinum), seed=seed)
    carve_skeleton(block, build, wall, seed=seed)
    carve_mediastinum(block, build, parameters.mediastinum)
    carve_lung_trees(block, build, seed=seed)
    return BodyMap(structure=block.structure, spacing_zyx_mm=(spacing_mm, spacing_mm, spacing_mm))
