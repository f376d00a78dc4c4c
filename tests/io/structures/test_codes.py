import pytest
from pydicom.sr._concepts_dict import concepts

from thoar.core.labels import SEGTHOR, Organ
from thoar.io.structures import codes
from thoar.io.structures.codes import ANATOMICAL_STRUCTURE, LEFT, RIGHT, structure_code

KNOWN = [*codes._ONE.values(), *codes._PAIRED.values(), ANATOMICAL_STRUCTURE, LEFT, RIGHT]


@pytest.mark.parametrize("code", KNOWN, ids=lambda code: code.meaning)
def test_every_code_is_the_standards_own_and_means_what_it_says(code):
    meanings = {
        meaning.casefold()
        for entry in concepts["SCT"].values()
        for value, (meaning, _) in entry.items()
        if value == code.value
    }
    assert code.meaning.casefold() in meanings


@pytest.mark.parametrize("organ", SEGTHOR.organs, ids=lambda organ: organ.name)
def test_segthors_organs_have_codes_and_no_side(organ):
    code = structure_code(organ)
    assert code.kind != ANATOMICAL_STRUCTURE
    assert code.side is None


@pytest.mark.parametrize(
    ("name", "tg263", "meaning", "side"),
    [
        ("esophagus", "", "Esophagus", None),
        ("anything", "Lung_L", "Lung", LEFT),
        ("Lung_R", "", "Lung", RIGHT),
        ("left lung", "", "Lung", LEFT),
        ("lung_right", "", "Lung", RIGHT),
        ("lungs", "", "Lung", None),
        ("spinal cord", "SpinalCord", "Spinal cord", None),
        ("x", "Ventricle_L", "Left ventricle", None),
        ("main bronchus left", "Bronchus_Main_L", "Bronchus", LEFT),
        ("x", "V_Venacava_S", "Superior vena cava", None),
        ("x", "GTV", "Anatomical Structure", None),
        ("x", "Rib_R", "Anatomical Structure", RIGHT),
        ("left_something", "", "Anatomical Structure", LEFT),
    ],
)
def test_names_in_any_spelling_give_structure_and_side(name, tg263, meaning, side):
    code = structure_code(Organ(name=name, id=1, tg263=tg263))
    assert (code.kind.meaning, code.side) == (meaning, side)


def test_the_own_name_is_tried_where_tg263s_is_unknown():
    assert structure_code(Organ(name="heart", id=1, tg263="Cor")).kind.meaning == "Heart"


def test_no_name_stands_for_two_structures():
    for table in (codes._ONE, codes._PAIRED):
        names = [name for names in table for name in names]
        assert len(set(names)) == len(names)
