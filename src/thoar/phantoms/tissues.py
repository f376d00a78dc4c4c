"""Which Hounsfield units each structure may have, under each contrast phase, and how uneven it is.

Ranges are of a structure's mean over adults, wider than any one paper's. Sources: soft organs without
contrast, Lamba et al., AJR 203 (2014) 1013; enhancement and its timing, Bae, Radiology 256 (2010) 32;
trabecular bone, Pickhardt et al., Ann Intern Med 158 (2013) 588 (L1: 40 in osteoporosis to 260 in the young);
the lungs' gravity gradient, Verschakelen et al., AJR 161 (1993) 713; calcium from 130 up, Agatston et al.,
JACC 15 (1990) 827; fat -190 to -30, Yoshizumi et al., Radiology 211 (1999) 283. The rest is read off public
scans.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from thoar.phantoms.structures import LOBES

Range = tuple[float, float]
Pool = Literal["arteries", "pulmonary", "upper_veins", "lower_veins", "liver", "spleen", "kidney", "thyroid"]
"""Tissue groups of ``contrast.Contrast`` that a structure's mean is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """How bright a structure is.

    Attributes:
        native: range of the mean without contrast agent.
        enhanced: added to the mean under the phases (arterial, venous, pulmonary).
        pool: group of the contrast phase that gives the mean instead, if any.
        spread: standard deviation of the texture inside, at its grains (fine, middle, coarse).
        skew: how far the middle grain runs to bright spots (vessels, trabeculae) instead of both ways.
    """

    native: Range
    enhanced: tuple[Range, Range, Range] = ((0, 0), (0, 0), (0, 0))
    pool: Pool | None = None
    spread: tuple[float, float, float] = (2, 2, 2)
    skew: float = 0


GRAIN_MM: tuple[float, float, float] = (1.5, 4.0, 18.0)
"""How far the texture's fine, middle and coarse grain reach."""


def _blood(pool: Pool, coarse: float = 2) -> Tissue:
    return Tissue(native=(34, 56), pool=pool, spread=(1, 1, coarse))


_FAT = Tissue(native=(-118, -86), spread=(5, 7, 5))
_LOOSE_FAT = Tissue(native=(-115, -78), spread=(7, 12, 6), enhanced=((0, 5), (0, 8), (0, 4)))
_MUSCLE = Tissue(native=(38, 64), enhanced=((2, 10), (5, 18), (0, 5)), spread=(6, 10, 6))
_WALL = Tissue(native=(30, 60), enhanced=((5, 35), (10, 45), (0, 15)), spread=(4, 5, 3))
_MYOCARDIUM = Tissue(native=(36, 58), enhanced=((35, 85), (40, 80), (5, 50)), spread=(3, 3, 4))
_LUNG = Tissue(native=(-905, -790), enhanced=((0, 8), (0, 12), (0, 15)), spread=(16, 8, 12), skew=20)
_GAS = Tissue(native=(-1000, -940), spread=(2, 2, 2))
_GLAND = Tissue(native=(30, 46), enhanced=((25, 80), (35, 75), (5, 30)), spread=(6, 10, 4))
_CALCIUM = Tissue(native=(250, 1100), spread=(60, 120, 20))
_METAL = Tissue(native=(3000, 8000), spread=(0, 0, 0))
_CONTENT = Tissue(native=(-20, 60), spread=(10, 25, 25))

TISSUES: Mapping[str, Tissue] = MappingProxyType(
    {
        "outside": Tissue(native=(-1000, -1000), spread=(0, 0, 0)),
        "skin": Tissue(native=(-10, 60), spread=(6, 6, 4)),
        "subcutaneous_fat": _FAT,
        "muscle": _MUSCLE,
        "intermuscular_fat": Tissue(native=(-105, -60), spread=(8, 12, 6)),
        "breast_gland": Tissue(native=(-10, 45), enhanced=((0, 20), (5, 40), (0, 10)), spread=(14, 26, 10)),
        "cortical_bone": Tissue(native=(380, 1150), spread=(30, 55, 50)),
        "marrow": Tissue(native=(60, 290), enhanced=((0, 9), (5, 25), (0, 9)), spread=(22, 14, 18), skew=26),
        "disc": Tissue(native=(55, 110), spread=(5, 8, 6)),
        "costal_cartilage": Tissue(native=(80, 160), spread=(8, 12, 8), skew=18),
        "spinal_canal": Tissue(native=(-30, 35), spread=(3, 6, 3)),
        "spinal_cord": Tissue(native=(28, 45), spread=(2, 3, 3)),
        **dict.fromkeys(LOBES, _LUNG),
        "fissure": Tissue(native=(-820, -600), spread=(12, 15, 6)),
        "lung_artery": _blood("pulmonary"),
        "lung_vein": _blood("arteries"),
        "lung_airway": _GAS,
        "lung_airway_wall": Tissue(native=(-250, 30), enhanced=((0, 9), (0, 25), (0, 9)), spread=(15, 15, 5)),
        "mediastinal_fat": _LOOSE_FAT,
        "lymph_node": Tissue(native=(20, 50), enhanced=((10, 45), (20, 55), (0, 20)), spread=(4, 5, 3)),
        "thymus": Tissue(native=(-90, 50), enhanced=((0, 15), (0, 25), (0, 8)), spread=(10, 18, 8)),
        "thyroid": Tissue(native=(60, 130), pool="thyroid", spread=(5, 12, 6)),
        "trachea": Tissue(native=(-1000, -955), spread=(2, 2, 3)),
        "trachea_wall": Tissue(native=(10, 90), spread=(15, 18, 8)),
        "main_bronchus": Tissue(native=(-1000, -945), spread=(2, 2, 3)),
        "main_bronchus_wall": Tissue(native=(0, 70), spread=(15, 18, 8)),
        "esophagus_wall": _WALL,
        "esophagus_lumen": _CONTENT,
        "left_myocardium": _MYOCARDIUM,
        "right_myocardium": _MYOCARDIUM,
        "atrial_wall": _MYOCARDIUM,
        "left_ventricle": _blood("arteries"),
        "right_ventricle": _blood("pulmonary"),
        "left_atrium": _blood("arteries"),
        "right_atrium": _blood("pulmonary"),
        "left_atrial_appendage": _blood("arteries"),
        "heart_fat": _LOOSE_FAT,
        "pericardial_fat": _LOOSE_FAT,
        "pericardium": Tissue(native=(10, 50), enhanced=((0, 15), (5, 25), (0, 10)), spread=(6, 10, 5)),
        "pulmonary_trunk": _blood("pulmonary"),
        "pulmonary_artery": _blood("pulmonary"),
        "pulmonary_vein": _blood("arteries"),
        "aorta": _blood("arteries"),
        "aorta_wall": Tissue(native=(36, 62), enhanced=((10, 60), (15, 50), (0, 20)), spread=(4, 6, 4)),
        "artery": _blood("arteries"),
        "superior_vena_cava": _blood("upper_veins"),
        "brachiocephalic_vein": _blood("upper_veins"),
        "azygos_vein": _blood("lower_veins"),
        "inferior_vena_cava": _blood("lower_veins"),
        "portal_vein": _blood("lower_veins"),
        "diaphragm": _MUSCLE,
        "liver": Tissue(native=(20, 72), pool="liver", spread=(4, 6, 4)),
        "spleen": Tissue(native=(38, 58), pool="spleen", spread=(3, 4, 4)),
        "stomach_wall": _WALL,
        "stomach_content": _CONTENT,
        "stomach_gas": _GAS,
        "kidney": Tissue(native=(24, 40), pool="kidney", spread=(5, 10, 10)),
        "pancreas": _GLAND,
        "adrenal_gland": Tissue(native=(0, 40), enhanced=((15, 60), (25, 65), (0, 20)), spread=(4, 4, 2)),
        "gallbladder": Tissue(native=(0, 22), spread=(2, 2, 2)),
        "bowel": Tissue(native=(10, 50), enhanced=((5, 40), (10, 50), (0, 15)), spread=(10, 22, 18)),
        "bowel_gas": _GAS,
        "bladder": Tissue(native=(0, 15), spread=(2, 2, 2)),
        "abdominal_fat": _LOOSE_FAT,
        "brain": Tissue(native=(28, 40), enhanced=((0, 6), (2, 8), (0, 3)), spread=(2, 4, 3)),
        "tumour": Tissue(native=(15, 55), enhanced=((5, 50), (15, 60), (0, 30)), spread=(6, 10, 14)),
        "effusion": Tissue(native=(-5, 35), spread=(2, 3, 4)),
        "atelectasis": Tissue(native=(15, 55), enhanced=((25, 90), (40, 100), (20, 90)), spread=(8, 14, 10)),
        "emphysema": Tissue(native=(-985, -935), spread=(6, 8, 6)),
        "false_lumen": Tissue(native=(34, 60), enhanced=((10, 220), (30, 110), (0, 40)), spread=(2, 4, 10)),
        "dissection_flap": Tissue(native=(40, 75), enhanced=((5, 40), (5, 40), (0, 15)), spread=(6, 6, 4)),
        "aorta_thrombus": Tissue(native=(28, 60), spread=(4, 6, 5)),
        "aorta_calcium": _CALCIUM,
        "heart_calcium": _CALCIUM,
        "heart_metal": _METAL,
        "vein_lead": _METAL,
        "metal": _METAL,
        "plastic": Tissue(native=(60, 400), spread=(5, 5, 5)),
        "esophagus_tube": Tissue(native=(90, 700), spread=(5, 5, 5)),
        "hernia_wall": _WALL,
        "hernia_content": _CONTENT,
    }
)  # fmt: skip
"""What every structure looks like; the phase's ranges are in ``contrast`` for all that is mostly blood."""

CONTENTS: Mapping[str, tuple[tuple[float, Range], ...]] = MappingProxyType(
    {
        "esophagus_lumen": ((0.62, (-1000, -300)), (0.25, (-5, 45)), (0.13, (100, 600))),
        "stomach_content": ((0.7, (0, 60)), (0.15, (-80, 20)), (0.15, (120, 500))),
        "bowel": ((0.85, (10, 50)), (0.15, (100, 400))),
        "hernia_content": ((0.3, (-1000, -500)), (0.5, (0, 60)), (0.2, (-110, -60))),
    }
)
"""What hollow organs may hold: (chance, range) each: gas, fluid, food, fat, or contrast agent drunk."""

MIXED: tuple[str, ...] = (
    "superior_vena_cava", "brachiocephalic_vein", "right_atrium", "right_ventricle",
    "inferior_vena_cava", "azygos_vein",
)  # fmt: skip
"""Blood in which agent and plain blood are not yet mixed under the early phases."""
