import pytest

from thoar.core.errors import InputError
from thoar.core.labels import LabelSet, Organ
from thoar.evaluation.results import CaseResult, Results
from thoar.reports.run_files import (
    RunFacts,
    Scored,
    ScoredCase,
    colors_of,
    read_facts,
    read_measured,
    read_scored,
    read_text,
)
from thoar.training.cross_validation import CrossValidation, FoldCase
from thoar.training.final import ValidatedCase, ValidationRecord
from thoar.training.record import RunRecord


def names(record):
    return set(record.__struct_fields__)


def test_what_is_read_is_called_as_it_is_written():
    assert names(RunFacts) <= names(RunRecord)
    for whole, case in (
        (Results, CaseResult),
        (ValidationRecord, ValidatedCase),
        (CrossValidation, FoldCase),
    ):
        assert {"organs", "cases", "tolerance_mm", "thoar_version"} <= names(whole)
        assert {"case_id", "scores"} <= names(case)
    assert names(Scored) <= names(Results) | names(CrossValidation)
    assert names(ScoredCase) <= names(CaseResult) | names(FoldCase)


def test_organs_come_in_the_label_sets_order_and_strangers_last():
    label_set = LabelSet(organs=(Organ(name="a", id=1, color_rgb=(0, 0, 0)), Organ(name="b", id=2)))
    colors = colors_of(("x", "b", "y", "a"), label_set)
    assert list(colors) == ["a", "b", "x", "y"]
    assert colors["a"] == (0, 0, 0)
    assert len(set(colors.values())) == 4


def test_organs_that_were_given_no_colour_of_their_own_can_be_told_apart():
    label_set = LabelSet(organs=(Organ(name="a", id=1), Organ(name="b", id=2), Organ(name="c", id=3)))
    assert len(set(colors_of(("a", "b", "c"), label_set).values())) == 3


DAMAGED = (
    (read_facts, b"\xff\x00"),
    (read_facts, b"[1"),
    (read_facts, b'{"seed": "seven"}'),
    (read_scored, b"{}"),
    (read_scored, b'{"cases": [1], "organs": []}'),
    (read_scored, b'{"cases": [{"case_id": "a", "scores": {"heart": {"dice": 1}}}], "organs": []}'),
    (read_scored, b'{"cases": {}, "organs": []}'),
    (read_measured, b""),
    (read_measured, b"epoch,name\n1,a\n"),
    (read_measured, b"epoch,stage,name,value\n1,joint\n"),
    (read_measured, b"epoch,stage,name,value\n1,joint,a,b\n"),
    (read_measured, b"\xff\x00"),
    (read_text, b"\xff\x00"),
)


@pytest.mark.parametrize(("read", "content"), DAMAGED)
def test_a_damaged_file_is_an_input_error_that_names_it(tmp_path, read, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json"):
        read(tmp_path if read is read_facts else path)
