"""What the names of a TotalSegmentator-like label map become here, and which belong together."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from thoar.phantoms.structures import IDS, LOBES

PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        **{name: name for name in LOBES},
        "vertebrae": "cortical_bone", "rib_": "cortical_bone", "sternum": "cortical_bone",
        "scapula": "cortical_bone", "clavicula": "cortical_bone", "humerus": "cortical_bone",
        "sacrum": "cortical_bone", "hip": "cortical_bone", "femur": "cortical_bone",
        "skull": "cortical_bone", "carpal": "cortical_bone", "costal_cartilage": "costal_cartilage",
        "spinal_cord": "dural_sac", "esophagus": "esophagus_wall", "trachea": "trachea",
        "thyroid": "thyroid", "heart": "left_ventricle", "heart_myocardium": "left_myocardium",
        "heart_atrium_left": "left_atrium", "heart_atrium_right": "right_atrium",
        "heart_ventricle_left": "left_ventricle", "heart_ventricle_right": "right_ventricle",
        "atrial_appendage_left": "left_atrial_appendage", "pulmonary_artery": "pulmonary_artery",
        "pulmonary_vein": "pulmonary_vein", "aorta": "aorta", "brachiocephalic_trunk": "artery",
        "subclavian_artery": "artery", "common_carotid": "artery", "iliac_artery": "artery",
        "brachiocephalic_vein": "brachiocephalic_vein", "superior_vena_cava": "superior_vena_cava",
        "inferior_vena_cava": "inferior_vena_cava", "iliac_vena": "inferior_vena_cava",
        "portal_vein": "portal_vein", "liver": "liver", "spleen": "spleen", "stomach": "stomach_wall",
        "kidney": "kidney", "kidney_cyst": "gallbladder", "gallbladder": "gallbladder",
        "pancreas": "pancreas", "adrenal_gland": "adrenal_gland", "small_bowel": "bowel",
        "duodenum": "bowel", "colon": "bowel", "urinary_bladder": "bladder", "prostate": "muscle",
        "gluteus": "muscle", "autochthon": "muscle", "iliopsoas": "muscle", "brain": "brain",
    }
)  # fmt: skip
"""Beginning of a name -> our structure; the longest beginning that fits counts."""

BETWEEN_LUNGS: tuple[str, ...] = (
    "heart", "atrial_appendage", "aorta", "pulmonary_", "esophagus", "trachea", "superior_vena",
    "brachiocephalic",
)  # fmt: skip
NECK: tuple[str, ...] = ("thyroid", "common_carotid")
BELLY: tuple[str, ...] = (
    "liver", "spleen", "stomach", "kidney", "gallbladder", "pancreas", "adrenal", "small_bowel", "duodenum",
    "colon", "urinary", "portal", "inferior_vena", "iliac", "prostate", "iliopsoas",
)  # fmt: skip
LUNG: tuple[str, ...] = ("lung_",)
CARRYING: tuple[str, ...] = (
    "rib_", "scapula", "clavicula", "humerus", "hip", "femur", "sacrum", "skull", "vertebrae_C",
    "vertebrae_T1", "vertebrae_L",
)  # fmt: skip
"""Bones that muscles lie upon."""
LEFT_BEHIND: tuple[str, ...] = ("vertebrae_T10", "vertebrae_T11", "vertebrae_T12")
"""Begin like a bone that carries muscles, but do not."""


def structure_of(name: str) -> str | None:
    """Return our structure for a label map's, None where there is none.

    >>> structure_of("heart"), structure_of("heart_atrium_left"), structure_of("face")
    ('left_ventricle', 'left_atrium', None)
    """
    fitting = [prefix for prefix in PREFIXES if name.startswith(prefix)]
    return PREFIXES[max(fitting, key=len)] if fitting else None


def translated(named: Integer[np.ndarray, "z y x"], ids: Mapping[str, int]) -> UInt8[np.ndarray, "z y x"]:
    """Return a label map in our structures' ids; 0 where a label has no place among them."""
    table = np.zeros(max(int(named.max()), *ids.values()) + 1, dtype=np.uint8)
    for name, number in ids.items():
        ours = structure_of(name)
        table[number] = 0 if ours is None else IDS[ours]
    return table[named]


def mask_of(
    named: Integer[np.ndarray, "z y x"], prefixes: tuple[str, ...], *, ids: Mapping[str, int]
) -> Bool[np.ndarray, "z y x"]:
    """Return where a label map holds a structure whose name begins in one of these ways."""
    wanted = np.zeros(max(int(named.max()), *ids.values()) + 1, dtype=bool)
    for name, number in ids.items():
        wanted[number] = name.startswith(prefixes)
    return wanted[named]
