"""SNOMED CT codes of thoracic structures, for the segments of a DICOM-SEG (PS3.16 CID 7150, 7151)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from thoar.core.labels import Organ


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A term of SNOMED CT.

    Attributes:
        value: its identifier; the coding scheme is SCT.
        meaning: the words that PS3.16 gives it, at most 64 letters.
    """

    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureCode:
    """What a structure is, and of which side.

    Attributes:
        kind: Segmented Property Type.
        side: its modifier; None for a structure that is no half of a pair.
    """

    kind: Code
    side: Code | None = None


ANATOMICAL_STRUCTURE = Code(value="91723000", meaning="Anatomical Structure")
"""Segmented Property Category of every organ, and the type of one that we have no code for."""
LEFT = Code(value="7771000", meaning="Left")
RIGHT = Code(value="24028007", meaning="Right")

_ONE: Mapping[tuple[str, ...], Code] = MappingProxyType(
    {
        ("esophagus", "oesophagus"): Code(value="32849002", meaning="Esophagus"),
        ("heart",): Code(value="80891009", meaning="Heart"),
        ("trachea",): Code(value="44567001", meaning="Trachea"),
        ("aorta", "a_aorta"): Code(value="15825003", meaning="Aorta"),
        ("a_aorta_asc", "aorta_ascending"): Code(value="54247002", meaning="Ascending aorta"),
        ("a_aorta_desc", "aorta_descending"): Code(value="281130003", meaning="Descending aorta"),
        ("lungs", "lung"): Code(value="39607008", meaning="Lung"),
        ("spinalcord", "spinal_cord"): Code(value="2748008", meaning="Spinal cord"),
        ("carina",): Code(value="28700002", meaning="Carina"),
        ("bronchus", "bronchi"): Code(value="955009", meaning="Bronchus"),
        ("pericardium",): Code(value="76848001", meaning="Pericardium"),
        ("atrium_l", "atrium_left", "heart_atrium_left"): Code(value="82471001", meaning="Left atrium"),
        ("atrium_r", "atrium_right", "heart_atrium_right"): Code(value="73829009", meaning="Right atrium"),
        ("ventricle_l", "ventricle_left", "heart_ventricle_left"): Code(
            value="87878005", meaning="Left ventricle"
        ),
        ("ventricle_r", "ventricle_right", "heart_ventricle_right"): Code(
            value="53085002", meaning="Right ventricle"
        ),
        ("a_lad",): Code(value="59438005", meaning="Left Anterior Descending Coronary Artery"),
        ("a_coronary", "coronary_artery"): Code(value="41801008", meaning="Coronary artery"),
        ("a_pulmonary", "pulmonary_artery"): Code(value="81040000", meaning="Pulmonary artery"),
        ("v_pulmonary", "pulmonary_vein"): Code(value="122972007", meaning="Pulmonary vein"),
        ("v_venacava_s", "superior_vena_cava"): Code(value="48345005", meaning="Superior vena cava"),
        ("v_venacava_i", "inferior_vena_cava"): Code(value="64131007", meaning="Inferior vena cava"),
        ("glnd_thyroid", "thyroid", "thyroid_gland"): Code(value="69748006", meaning="Thyroid"),
        ("glnd_thymus", "thymus"): Code(value="9875009", meaning="Thymus"),
        ("larynx",): Code(value="4596009", meaning="Larynx"),
        ("sternum",): Code(value="56873002", meaning="Sternum"),
        ("chestwall", "chest_wall"): Code(value="78904004", meaning="Chest wall"),
        ("liver",): Code(value="10200004", meaning="Liver"),
        ("spleen",): Code(value="78961009", meaning="Spleen"),
        ("stomach",): Code(value="69695003", meaning="Stomach"),
    }
)
_PAIRED: Mapping[tuple[str, ...], Code] = MappingProxyType(
    {
        ("lung",): Code(value="39607008", meaning="Lung"),
        ("breast",): Code(value="76752008", meaning="Breast"),
        ("kidney",): Code(value="64033007", meaning="Kidney"),
        ("bronchus", "bronchus_main", "main_bronchus"): Code(value="955009", meaning="Bronchus"),
        ("brachialplex", "brachial_plexus"): Code(value="36582005", meaning="Brachial plexus"),
        ("chestwall", "chest_wall"): Code(value="78904004", meaning="Chest wall"),
        ("clavicle",): Code(value="51299004", meaning="Clavicle"),
        ("scapula",): Code(value="79601000", meaning="Scapula"),
        ("humerus",): Code(value="85050009", meaning="Humerus"),
        ("a_carotid", "common_carotid_artery"): Code(value="69105007", meaning="Carotid Artery"),
        ("a_subclavian", "subclavian_artery"): Code(value="36765005", meaning="Subclavian artery"),
    }
)
_SIDED = re.compile(r"(?P<pair>.+)_(?:(?P<left>l|left)|r|right)")
_SIDED_BEFORE = re.compile(r"(?:(?P<left>left)|right)_(?P<pair>.+)")


def structure_code(organ: Organ) -> StructureCode:
    """Return the code of an organ, by its TG-263 name or else its own; upper and lower case are alike.

    An organ that is not in the table is an ``ANATOMICAL_STRUCTURE``, of the side that its name says.

    >>> structure_code(Organ(name="left lung", id=1))
    StructureCode(kind=Code(value='39607008', meaning='Lung'), side=Code(value='7771000', meaning='Left'))
    """
    names = [re.sub(r"[\s\-.]+", "_", name.casefold()) for name in (organ.tg263, organ.name) if name]
    for name in names:
        found = _found(name)
        if found is not None:
            return found
    return StructureCode(kind=ANATOMICAL_STRUCTURE, side=_pair_and_side(names[0])[1])


def _found(name: str) -> StructureCode | None:
    pair, side = _pair_and_side(name)
    for table, wanted in ((_ONE, name), (_PAIRED if side else {}, pair)):
        for names, kind in table.items():
            if wanted in names:
                return StructureCode(kind=kind, side=side if table is _PAIRED else None)
    return None


def _pair_and_side(name: str) -> tuple[str, Code | None]:
    match = _SIDED.fullmatch(name) or _SIDED_BEFORE.fullmatch(name)
    if match is None:
        return name, None
    return match["pair"], LEFT if match["left"] else RIGHT
