"""Contrast phases: which tissue is how bright, and the change from one phase to another.

A tissue group's change is a continuous map of Hounsfield units, not of labels: everything above the
group's base is squeezed or stretched so that the level of its full enhancement becomes the target. A voxel
that holds half a vessel changes half as much, so no step at a label's edge is left behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import msgspec
import numpy as np

Phase = Literal["native", "arterial", "venous", "pulmonary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueGroup:
    """Structures that share one enhancement.

    Attributes:
        prefixes: how the names of its structures begin.
        base_hu: values below are no part of the group's enhancement.
    """

    prefixes: tuple[str, ...]
    base_hu: float


GROUPS: Mapping[str, TissueGroup] = MappingProxyType(
    {
        "arteries": TissueGroup(
            prefixes=("aorta", "brachiocephalic_trunk", "subclavian_", "common_carotid_", "pulmonary_vein"),
            base_hu=50.0,
        ),
        "heart": TissueGroup(prefixes=("heart", "atrial_appendage"), base_hu=50.0),
        "upper_veins": TissueGroup(prefixes=("superior_vena_cava", "brachiocephalic_vein"), base_hu=50.0),
        "lower_veins": TissueGroup(prefixes=("inferior_vena_cava", "portal_vein"), base_hu=20.0),
        "liver": TissueGroup(prefixes=("liver",), base_hu=0.0),
        "spleen": TissueGroup(prefixes=("spleen",), base_hu=0.0),
        "kidney": TissueGroup(prefixes=("kidney",), base_hu=0.0),
        "thyroid": TissueGroup(prefixes=("thyroid",), base_hu=30.0),
        "bone": TissueGroup(
            prefixes=("vertebrae", "rib_", "sternum", "costal", "scapula", "clavicula", "humerus", "sacrum"),
            base_hu=100.0,
        ),
        "pulmonary": TissueGroup(prefixes=(), base_hu=50.0),
    }
)
"""Tissue groups; ``pulmonary`` takes the enhanced vessels that no structure names."""

_TARGET_HU: Mapping[Phase, Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "native": {
            "liver": (40, 68), "spleen": (42, 56), "kidney": (27, 38), "thyroid": (60, 120),
        },
        "arterial": {
            "arteries": (200, 430), "heart": (180, 400), "upper_veins": (80, 1200), "lower_veins": (40, 90),
            "pulmonary": (90, 380), "liver": (52, 80), "spleen": (80, 170), "kidney": (90, 220),
            "thyroid": (120, 220),
        },
        "venous": {
            "arteries": (100, 190), "heart": (100, 185), "upper_veins": (100, 220),
            "lower_veins": (95, 180), "pulmonary": (100, 185), "liver": (75, 130), "spleen": (95, 140),
            "kidney": (140, 220), "thyroid": (110, 190),
        },
        "pulmonary": {
            "arteries": (55, 240), "heart": (110, 320), "upper_veins": (250, 1400), "lower_veins": (35, 80),
            "pulmonary": (230, 500), "liver": (45, 75), "spleen": (45, 110), "kidney": (40, 130),
            "thyroid": (80, 200),
        },
    }
)  # fmt: skip


class Contrast(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How bright the tissues are.

    Attributes:
        phase: which phase of a contrast agent's passage, or none.
        target_hu: mean of each group where it is fully enhanced.
        right_heart_hu: what the heart's right and anterior side has more than its left side.
        bone_gain: factor on what bone has above soft tissue.
    """

    phase: Phase
    target_hu: dict[str, float]
    right_heart_hu: float
    bone_gain: float


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """Draw a contrast phase and the brightness of every tissue group under it."""
    phases: tuple[Phase, ...] = ("native", "arterial", "venous", "pulmonary")
    phase = phases[int(rng.choice(4, p=(0.45, 0.2, 0.2, 0.15)))]
    target = {name: float(rng.uniform(*limits)) for name, limits in _TARGET_HU[phase].items()}
    if phase == "native":
        blood = float(rng.uniform(36, 54))
        for name in ("arteries", "heart", "upper_veins", "lower_veins", "pulmonary"):
            target[name] = blood + float(rng.uniform(-2, 4))
    spread = {"native": 1.0, "arterial": 90.0, "venous": 15.0, "pulmonary": 140.0}[phase]
    return Contrast(
        phase=phase,
        target_hu=target,
        right_heart_hu=float(rng.normal(0, spread)) if phase != "pulmonary" else float(rng.uniform(0, 250)),
        bone_gain=float(rng.uniform(0.6, 1.25)),
    )
