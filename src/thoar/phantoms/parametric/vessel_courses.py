"""All the great vessels of a patient as tubes, by the structure they are."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from thoar.phantoms.parametric.airways import Airways, bronchus_tubes, trachea_column
from thoar.phantoms.parametric.arteries import (
    aorta_knots,
    arch_branches,
    pulmonary_arteries,
    pulmonary_trunk,
)  # fmt: skip
from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.heart import HeartPlace
from thoar.phantoms.parametric.shapes import Knots, Tube, joined, tube
from thoar.phantoms.parametric.veins import (
    azygos_ways,
    lower_cava,
    pulmonary_veins,
    upper_cava,
    upper_veins,
)  # fmt: skip
from thoar.phantoms.parametric.vessels import SPINE_RADIUS_MM, Vessels, VesselTubes

WAYS = 10
"""Steps in which the aorta makes way."""


def vessel_tubes(build: Build, vessels: Vessels, airways: Airways, *, place: HeartPlace) -> VesselTubes:
    """Return where the vessels run."""
    rng = np.random.default_rng(vessels.seed)
    aorta = aorta_knots(build, vessels, airways, place=place)
    lungs = pulmonary_arteries(build, vessels, airways)
    others = {
        "azygos_vein": azygos_ways(build, vessels, airways),
        "inferior_vena_cava": lower_cava(build, vessels, place),
        "pulmonary_vein": list(pulmonary_veins(build, airways, place).values()),
        "superior_vena_cava": upper_cava(build, vessels, airways, place),
        "brachiocephalic_vein": upper_veins(build, vessels, airways, aorta),
        "artery": arch_branches(build, vessels, airways, aorta),
        "lung_artery": [lungs["right_upper"], lungs["left_upper"]],
        "pulmonary_artery": [lungs["right_lower"], lungs["left_lower"]],
        "pulmonary_trunk": [pulmonary_trunk(build, vessels, airways, place)],
    }
    return VesselTubes(
        aorta=_made_way(tube(aorta, step_mm=2.5), build, airways),
        others={
            name: joined([tube(_strayed(rng, way, vessels.wander_mm), step_mm=2.0) for way in ways])
            for name, ways in others.items()
        },
    )


def _made_way(aorta: Tube, build: Build, airways: Airways) -> Tube:
    """Return the aorta pushed sideways off the airways and the spine, and kept smooth."""
    column = trachea_column(build, airways)
    windpipe = np.column_stack([column.x_mm, column.y_mm, column.z_mm])
    bronchi = list(bronchus_tubes(build, airways).values())
    firm = np.concatenate([windpipe, *(line.centres_xyz_mm for line in bronchi)])
    radius = np.concatenate([column.half_x_mm, *(line.radius_mm for line in bronchi)]) + airways.wall_mm
    line = aorta.centres_xyz_mm.copy()
    for _ in range(WAYS):
        z = line[:, 2]
        spine = np.column_stack(
            [spine_left_mm(build, z), spine_front_mm(build, z) + SPINE_RADIUS_MM - 1.0, z]
        )
        push = _push(line, aorta.radius_mm, firm, radius)
        push += _push(line, aorta.radius_mm, spine, np.full(len(spine), SPINE_RADIUS_MM - 1.0))
        line += gaussian_filter1d(push, 2.0, axis=0, mode="nearest")
    return Tube(centres_xyz_mm=line, radius_mm=aorta.radius_mm)


def _push(
    line: Float[np.ndarray, "ball xyz"],
    radius_mm: Float[np.ndarray, " ball"],
    firm: Float[np.ndarray, "firm xyz"],
    firm_radius_mm: Float[np.ndarray, " firm"],
) -> Float[np.ndarray, "ball xyz"]:
    """Return for each ball of a line the way, in x and y, out of the ball it overlaps most."""
    apart = line[:, None] - firm[None]
    away = np.linalg.norm(apart, axis=2)
    short = radius_mm[:, None] + firm_radius_mm[None] + 0.5 - away
    nearest = short.argmax(axis=1)
    row = np.arange(len(line))
    out = apart[row, nearest] * (1.0, 1.0, 0.0)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1.0)
    return out * short[row, nearest].clip(0, 4)[:, None]


def _strayed(
    rng: np.random.Generator, way: Knots, spread_mm: float
) -> list[tuple[float, float, float, float]]:
    """Return the knots moved a little, the ends kept."""
    moves = rng.normal(0, spread_mm * 0.5, (len(way), 3)) * (1, 1, 0.5)
    moves[[0, -1]] = 0
    return [(x + a, y + b, z + c, r) for (x, y, z, r), (a, b, c) in zip(way, moves.tolist(), strict=True)]
