from pathlib import Path

import pytest

from thoar.core.errors import ConfigError, LabelError
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase
from thoar.datasets.layouts.vocabulary import vocabulary_of


def named(*structures: str) -> Source:
    label = LabelFile(path=Path("gt.nii.gz"), names=dict(enumerate(structures, 1)))
    case = SourceCase(id="a", image=Path("a.nii.gz"), labels=(label,))
    return Source(layout="test", place=Path("source"), cases=(case,))


def names(folder: Path, text: str) -> Path:
    (folder / "names.toml").write_text(text, encoding="utf-8")
    return folder / "names.toml"


def test_labels_keep_their_names_but_those_that_we_know() -> None:
    found = vocabulary_of(named("Herz", "Liver (left lobe)"))
    assert found.organ_of == {"Herz": "heart", "Liver (left lobe)": "liver_left_lobe"}
    assert found.label_set.organ("heart") == SEGTHOR.organ("heart")
    assert found.label_set.organ("liver_left_lobe").id == 5


def test_only_organs_asked_for_are_taken() -> None:
    found = vocabulary_of(named("Herz", "liver"), organs=("liver",))
    assert (found.label_set.names, found.left_out) == (("liver",), ("Herz",))


def test_two_labels_of_one_organ_are_refused() -> None:
    with pytest.raises(LabelError, match="several labels are heart; say in a file of names"):
        vocabulary_of(named("heart", "Herz"))


def test_with_a_file_of_names_labels_that_may_mean_an_organ_must_be_decided(tmp_path: Path) -> None:
    source = named("Heart_v2", "liver")
    with pytest.raises(LabelError, match="the labels Heart_v2 may mean an organ"):
        vocabulary_of(source, names_file=names(tmp_path, ""))
    decided = names(tmp_path, '[[organs]]\norgan = "heart"\nnames = ["Heart_v2"]')
    found = vocabulary_of(source, names_file=decided)
    assert (found.organ_of, found.left_out) == ({"Heart_v2": "heart"}, ("liver",))


def test_a_file_of_names_may_bring_its_own_label_set(tmp_path: Path) -> None:
    text = '[[label_set.organs]]\nname = "lung"\nid = 9\n[[organs]]\norgan = "lung"\nnames = ["L", "R"]\n'
    found = vocabulary_of(named("L", "R"), names_file=names(tmp_path, text + 'when_several = "join"'))
    assert found.organ_of == {"L": "lung", "R": "lung"}
    assert found.label_set.organ("lung").id == 9


def test_a_source_that_says_what_its_ids_mean_is_believed_over_the_usual_ids(tmp_path: Path) -> None:
    said = LabelSet(organs=(Organ(name="heart", id=1), Organ(name="esophagus", id=2)))
    case = SourceCase(id="a", image=Path("a.nii.gz"), labels=(LabelFile(path=Path("gt.nii.gz")),))
    source = Source(layout="test", place=Path("source"), cases=(case,), label_set=said)
    found = vocabulary_of(source, names_file=names(tmp_path, 'priority = ["heart"]'))
    assert {number: found.organ_of[name] for number, name in found.ids.items()} == {
        1: "heart",
        2: "esophagus",
    }


def test_where_no_label_is_an_organ_asked_for_all_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        LabelError, match=r"no label means any organ asked for \(the labels are liver, spleen"
    ):
        vocabulary_of(named("liver", "spleen"), names_file=names(tmp_path, ""))


def test_a_broken_file_of_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names\.toml"):
        vocabulary_of(named("liver"), names_file=names(tmp_path, "organ = 3"))


def test_a_case_may_list_an_organ_that_is_not_asked_for(tmp_path: Path) -> None:
    file = names(tmp_path, '[[organs]]\norgan = "heart"\nnames = ["Heart_v2"]')
    found = vocabulary_of(named("Heart_v2"), names_file=file, organs=("heart",))
    assert found.organs_of(("Heart_v2", "aorta"), "a") == ("heart",)
    with pytest.raises(LabelError, match="case a: no label is called hart; there are Heart_v2, esophagus"):
        found.organs_of(("hart",), "a")
