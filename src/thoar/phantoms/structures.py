"""The structures a synthetic body is made of: one id per voxel, and which of them make an organ at risk."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from thoar.core.labels import SEGTHOR

STRUCTURES: tuple[str, ...] = (
    "outside",
    # the wall
    "skin", "subcutaneous_fat", "muscle", "intermuscular_fat", "breast_gland",
    # the skeleton
    "cortical_bone", "marrow", "disc", "costal_cartilage", "spinal_canal", "spinal_cord",
    # the lungs
    "lung_upper_lobe_left", "lung_lower_lobe_left",
    "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right",
    "fissure", "lung_artery", "lung_vein", "lung_airway", "lung_airway_wall",
    # between the lungs
    "mediastinal_fat", "lymph_node", "thymus", "thyroid",
    "trachea", "trachea_wall", "main_bronchus", "main_bronchus_wall",
    "esophagus_wall", "esophagus_lumen",
    # the heart
    "left_myocardium", "right_myocardium", "atrial_wall", "left_ventricle", "right_ventricle", "left_atrium",
    "right_atrium", "left_atrial_appendage", "heart_fat", "pericardial_fat", "pericardium",
    # the vessels
    "pulmonary_trunk", "pulmonary_artery", "pulmonary_vein", "aorta", "aorta_wall", "artery",
    "superior_vena_cava", "brachiocephalic_vein", "azygos_vein", "inferior_vena_cava", "portal_vein",
    # under the diaphragm
    "diaphragm", "liver", "spleen", "stomach_wall", "stomach_content", "stomach_gas", "kidney", "pancreas",
    "adrenal_gland", "gallbladder", "bowel", "bowel_gas", "bladder", "abdominal_fat", "brain",
    # illness and devices
    "tumour", "effusion", "atelectasis", "emphysema", "false_lumen", "dissection_flap", "aorta_thrombus",
    "aorta_calcium", "heart_calcium", "heart_metal", "vein_lead", "metal", "plastic", "esophagus_tube",
    "hernia_wall", "hernia_content",
)  # fmt: skip
"""Names of all structures with values of their own; a structure's id is its place here."""

LOOK_ALIKES: Mapping[str, str] = MappingProxyType(
    {"dural_sac": "spinal_canal", "tumour_cavity": "lung_airway", "pleural_air": "emphysema"}
)
"""Structures that no picture tells from another one, whose values they have; labels tell them apart."""

IDS: Mapping[str, int] = MappingProxyType(
    {name: number for number, name in enumerate((*STRUCTURES, *LOOK_ALIKES))}
)
"""The id of every structure in a map."""

ORGAN_STRUCTURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "esophagus": ("esophagus_wall", "esophagus_lumen", "esophagus_tube"),
        "heart": (
            "left_myocardium", "right_myocardium", "atrial_wall", "left_ventricle", "right_ventricle",
            "left_atrium", "right_atrium", "left_atrial_appendage", "heart_fat", "pulmonary_trunk",
            "pulmonary_artery", "heart_calcium", "heart_metal",
        ),
        "trachea": ("trachea", "main_bronchus"),
        "aorta": (
            "aorta", "aorta_wall", "false_lumen", "dissection_flap", "aorta_thrombus", "aorta_calcium",
        ),
        "spinal_cord": ("dural_sac", "spinal_cord"),
    }
)  # fmt: skip
"""Which structures make each organ but the lungs, whose sides and vessels ``lungs`` tells apart.

The convention is TotalSegmentator's, in which most public references are drawn: the heart takes in its own
fat, the pulmonary trunk, and the right and left pulmonary arteries up to the hila (beyond them a vessel is a
"lung_artery"); the trachea is the lumen down to the ends of both main bronchi (beyond them an airway is a
"lung_airway"); the aorta has no branches and runs into the abdomen; the spinal cord is the sac around it,
about 15 by 12.5 mm, for a CT shows little of the cord itself.
"""

LUNGS: tuple[str, ...] = (
    *(name for name in STRUCTURES if name.startswith("lung_") or name == "fissure"),
    "tumour_cavity",
)
"""What illness may replace in the chest's lungs."""
LOBES: tuple[str, ...] = tuple(name for name in STRUCTURES if "_lobe_" in name)


def chosen(structure: UInt8[Tensor, "*shape"], *names: str) -> Bool[Tensor, "*shape"]:
    """Return where a map holds any of the structures named."""
    wanted = torch.zeros(256, dtype=torch.bool, device=structure.device)
    wanted[[IDS[name] for name in names]] = True
    return wanted[structure.int()]


def organ_labels(structure: UInt8[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Return SegTHOR's label ids of a map of structures."""
    table = torch.zeros(256, dtype=torch.uint8, device=structure.device)
    for organ in SEGTHOR.organs:
        table[[IDS[name] for name in ORGAN_STRUCTURES[organ.name]]] = organ.id
    return table[structure.int()]
