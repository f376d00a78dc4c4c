"""The great vessels: the aorta with its branches, and the veins and arteries about the heart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from thoar.phantoms.parametric.build import Build, spine_front_mm, spine_left_mm
from thoar.phantoms.parametric.shapes import Block, Tube, tube_distance, tube_window
from thoar.phantoms.structures import STRUCTURES

SPINE_RADIUS_MM = 19.0
"""The vertebral bodies as a round column, for the vessels beside them."""
BELOW_MM = -40.0
"""Where the vessels of the belly may end: below the field."""


class Vessels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The great vessels of one patient.

    Attributes:
        ascending_mm, descending_mm: outer diameters of the aorta, before and after the arch.
        wall_mm: of the aorta.
        arch_up_mm: height of the arch's middle above the fork of the windpipe.
        unfolding_mm: how far an old aorta's arch reaches to the left, to the back and to the right.
        turn_deg: the descending aorta's place round the spine beside the fork: 0 ahead of it, 90 left.
        turn_low_deg: the same at the diaphragm.
        branches: three from the arch, or the left carotid from the brachiocephalic trunk.
        trunk_mm: diameter of the pulmonary trunk.
        vein_scale: of the caval veins' and their branches' radii.
        wander_mm: how far centre lines stray.
        seed: of that.
    """

    ascending_mm: float
    descending_mm: float
    wall_mm: float
    arch_up_mm: float
    unfolding_mm: float
    turn_deg: float
    turn_low_deg: float
    branches: Literal["three", "bovine"]
    trunk_mm: float
    vein_scale: float
    wander_mm: float
    seed: int


def draw_vessels(rng: np.random.Generator, build: Build) -> Vessels:
    """Draw the vessels of one patient.

    Diameters follow Wolak et al., JACC Cardiovasc Imaging 1 (2008) 200: 33 ± 4 mm ascending, 24 ± 3 mm
    descending, growing by 1.5 mm in ten years.
    """
    old = (build.age_years - 60) / 10
    female = build.sex == "female"
    ascending = float(np.clip(rng.normal((31.5 if female else 34) + 1.2 * old, 2.8), 25, 42))
    return Vessels(
        ascending_mm=ascending,
        descending_mm=float(np.clip(0.74 * ascending + 0.4 * old + rng.normal(0, 1.5), 18, 33)),
        wall_mm=float(rng.uniform(1.2, 1.8)),
        arch_up_mm=float(np.clip(rng.normal(15 + 1.5 * old, 6), 3, 34)),
        unfolding_mm=float(np.clip(rng.normal(4 + 3 * old, 4), 0, 22)),
        turn_deg=float(np.clip(rng.normal(46 + 3 * old, 6), 32, 66)),
        turn_low_deg=float(np.clip(rng.normal(22 + 2 * old, 8), 4, 46)),
        branches="bovine" if rng.random() < 0.15 else "three",  # noqa: PLR2004 (share of patients)
        trunk_mm=float(np.clip(rng.normal(27, 2.5), 21, 35)),
        vein_scale=float(np.clip(rng.normal(1, 0.13), 0.7, 1.35)),
        wander_mm=float(rng.uniform(0.5, 2.5)),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VesselTubes:
    """The aorta from its valve, outer wall, and all other vessels by the structure they are."""

    aorta: Tube
    others: Mapping[str, Tube]


def beside_spine(
    build: Build, z_mm: float, degrees: float, *, radius: float, left_mm: float
) -> tuple[float, float, float, float]:
    """Return a knot that touches the spine at an angle from straight ahead to the left."""
    reach = SPINE_RADIUS_MM + radius + 1.0
    angle = np.deg2rad(degrees)
    x = float(spine_left_mm(build, z_mm)) + reach * float(np.sin(angle)) + left_mm
    y = float(spine_front_mm(build, z_mm)) + SPINE_RADIUS_MM - reach * float(np.cos(angle))
    return (x, y, z_mm, radius)


def carve_vessels(block: Block, vessels: Vessels, tubes: VesselTubes) -> None:
    """Carve all vessels; the heart is there already, and opens where they enter it."""
    for name, line in tubes.others.items():
        window = tube_window(block.grid, line, reach_mm=2.0)
        inside = tube_distance(block.grid.part(window), line, reach_mm=1.0)
        block.carve(inside < 0, name, window=window, only=_FREE)
        if name in _ENTERED:
            block.carve(inside < -1.0, _ENTERED[name], window=window, only=("atrial_wall",))
    window = tube_window(block.grid, tubes.aorta, reach_mm=2.0)
    inside = tube_distance(block.grid.part(window), tubes.aorta, reach_mm=1.0)
    block.carve(inside < 0, "aorta_wall", window=window)
    block.carve(inside < -vessels.wall_mm, "aorta", window=window)


_ENTERED = {
    "superior_vena_cava": "right_atrium",
    "inferior_vena_cava": "right_atrium",
    "pulmonary_vein": "left_atrium",
}
_KEPT = {
    "left_myocardium", "left_ventricle", "right_ventricle", "left_atrium", "right_atrium", "atrial_wall",
    "left_atrial_appendage", "marrow", "cortical_bone", "disc", "costal_cartilage", "outside", "skin",
}  # fmt: skip
"""What the vessels other than the aorta do not cut into."""
_FREE = tuple(name for name in STRUCTURES if name not in _KEPT)
