"""What a structure's name means is known or asked, never guessed."""

import tomllib
from pathlib import Path

import pytest

from thoar.core.errors import ConfigError, LabelError
from thoar.core.labels import SEGTHOR
from thoar.datasets.dicom_import import FoundName
from thoar.datasets.names_proposal import proposal
from thoar.datasets.structure_names import Names, assign, meaning_of, plain_form, read_names

KNOWN = {
    "esophagus": ["Esophagus", "Oesophagus", "OESOPHAGUS ", "oesoph", "esoph", "Speiseröhre", "speiseroehre"],
    "heart": ["Heart", "HEART ", "heart", "coeur", "Cœur", "Herz", "corazon", "Whole_Heart", "心臓"],
    "trachea": ["Trachea", "trachée", "Luftröhre", "Tráquea"],
    "aorta": ["A_Aorta", "a aorta", "Aorta", "AORTE", "аорта"],
}
DERIVED = [
    *["heart PRV", "Heart_PRV05", "PRV_Heart", "z_heart", "zz Heart", "Heart_opt", "opt heart", "Heart-PTV"],
    *["GTV oesophagus", "GTVp1", "ITV Esophagus", "PTV_60", "CTVn", "Heart+5mm", "Aorta_3 mm", "avoid_heart"],
]
PARTS = [
    "Esophagus_S",
    "Esophagus_NAdj",
    "heart_myocardium",
    "heart atrium left",
    "A_Aorta_Asc",
    "Aortic arch",
]
DOUBTFUL = {
    "Heart_v2": "heart",
    "Heart 1": "heart",
    "hearth": "heart",
    "old_heart": "heart",
    "esophagus_new": "esophagus",
    "Thoracic aorta": "aorta",
    "Tracheal tube": "trachea",
    "Ösophagus (Planung)": "esophagus",
}
UNKNOWN = ["Lt Lung", "SpinalCord", "BODY", "Breast", "Areola", "", "Tumor Bed", "Liver"]


def named(tmp_path: Path, text: str) -> Names:
    path = tmp_path / "names.toml"
    path.write_text(text, encoding="utf-8")
    return read_names(path)


@pytest.mark.parametrize(("organ", "name"), [(o, n) for o, names in KNOWN.items() for n in names])
def test_spellings_languages_and_the_nomenclature_are_known(organ: str, name: str) -> None:
    meaning = meaning_of(name, read_names())
    assert (meaning.kind, meaning.organs) == ("organ", (organ,))


@pytest.mark.parametrize("name", DERIVED + PARTS)
def test_margins_targets_helpers_and_parts_are_not_the_organ(name: str) -> None:
    assert meaning_of(name, read_names()).kind == "ignored"


@pytest.mark.parametrize(("name", "organ"), DOUBTFUL.items())
def test_what_looks_like_an_organ_is_asked_about(name: str, organ: str) -> None:
    meaning = meaning_of(name, read_names())
    assert (meaning.kind, meaning.organs) == ("doubtful", (organ,))


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_structures_are_unknown(name: str) -> None:
    assert meaning_of(name, read_names()).kind == "unknown"


def test_a_file_of_names_decides_before_anything_known(tmp_path: Path) -> None:
    known = named(
        tmp_path,
        """
        ignore = ["Heart", "Trachea tube"]
        ignore_patterns = ['BODY.*']
        [[organs]]
        organ = "heart"
        names = ["Heart PRV", "Cardiac silhouette"]
        patterns = ['heart_final\\d+', 'Herz \\(neu\\)']
        """,
    )
    kinds = {name: meaning_of(name, known).kind for name in ("Heart", "heart prv", "Body outline", "Trachea")}
    assert kinds == {"Heart": "ignored", "heart prv": "organ", "Body outline": "ignored", "Trachea": "organ"}
    for name in ("Heart final12", "HERZ (NEU)", "cardiac-silhouette"):
        assert meaning_of(name, known).organs == ("heart",)
    assert meaning_of("Heart_final", known).kind == "doubtful"


def test_built_in_names_can_be_switched_off(tmp_path: Path) -> None:
    known = named(tmp_path, 'built_in = false\n[[organs]]\norgan = "heart"\nnames = ["H"]')
    assert meaning_of("H", known).kind == "organ"
    assert meaning_of("Esophagus", known).kind == "unknown"


def test_another_label_set_brings_its_own_organs(tmp_path: Path) -> None:
    known = named(
        tmp_path,
        """
        [[label_set.organs]]
        name = "lung_left"
        id = 7
        tg263 = "Lung_L"
        [[label_set.organs]]
        name = "heart"
        id = 1
        """,
    )
    assert known.label_set.names == ("lung_left", "heart")
    for name, organ in (("Lung L", "lung_left"), ("lung left", "lung_left"), ("coeur", "heart")):
        assert meaning_of(name, known).organs == (organ,)
    assert meaning_of("Trachea", known).kind == "unknown"


def test_organs_not_asked_for_are_ignored_not_doubtful() -> None:
    known = read_names(organs=("aorta",))
    assert meaning_of("Heart", known).kind == "ignored"
    assert meaning_of("Heart_v2", known).kind == "unknown"
    with pytest.raises(LabelError, match="liver"):
        read_names(organs=("liver",))


def test_later_organs_of_the_priority_come_last(tmp_path: Path) -> None:
    assert read_names().priority == SEGTHOR.names
    known = named(tmp_path, 'priority = ["heart", "esophagus"]')
    assert known.priority == ("trachea", "aorta", "heart", "esophagus")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organ = 1", "unknown field `organ`"),
        ('[[organs]]\norgan = "liver"', "liver"),
        ('priority = ["lung"]', "lung"),
        ("ignore_patterns = ['(']", "unterminated"),
        ('ignore = ["HEART"]\n[[organs]]\norgan = "heart"\nnames = ["heart "]', "both heart and ignore"),
        ('[[organs]]\norgan = "heart"\nwhen_several = "guess"', "Invalid enum value 'guess'"),
        ("ignore = [", "is no TOML"),
    ],
)
def test_broken_files_of_names_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        named(tmp_path, text)
    assert "names.toml" in str(caught.value)


# Several structures of one set


def test_two_drawn_structures_of_one_organ_are_refused_unless_the_file_decides(tmp_path: Path) -> None:
    names, drawn = ["Heart", "coeur", "Aorta"], [True, True, True]
    assert assign(names, read_names(), drawn=drawn).repeated == ("heart",)
    for rule, expected in (("first", (1,)), ("join", (0, 1))):
        text = f'[[organs]]\norgan = "heart"\nnames = ["Coeur", "Heart"]\nwhen_several = "{rule}"'
        found = assign(names, named(tmp_path, text), drawn=drawn)
        assert (found.organs["heart"], found.repeated) == (expected, ())


def test_structure_without_contours_does_not_contend() -> None:
    found = assign(["Heart", "HEART", "Aorta"], read_names(), drawn=[False, True, False])
    assert found.organs == {"heart": (1,), "aorta": (2,)}
    assert not assign(["Heart", "HEART"], read_names(), drawn=[False, False]).repeated


# The proposal


def test_proposed_file_lists_every_name_and_is_read_back_with_the_same_meaning(tmp_path: Path) -> None:
    names = [*KNOWN["heart"], *DERIVED, *DOUBTFUL, 'odd "quote" \\ back', "tab\tline\nfeed", "BODY"]
    known = read_names()
    found = [FoundName(name=n, sets=2, meaning=meaning_of(n, known)) for n in names]
    text = proposal(found, known)
    again = named(tmp_path, text)
    for item in found:
        expected = "ignored" if item.meaning.kind == "unknown" else item.meaning.kind
        assert meaning_of(item.name, again).kind == expected
        assert item.name.split("\n")[0].split('"')[0].split("\t")[0] in text
    assert '# "Heart_v2",  # in 2' in text
    assert "Heart" in tomllib.loads(text)["organs"][1]["names"]


def test_plain_form_joins_words_by_one_sign() -> None:
    assert plain_form("  Heart--(PRV)_05 ") == "heart_prv_05"
    assert plain_form("Spiserør") == "spiseror"
