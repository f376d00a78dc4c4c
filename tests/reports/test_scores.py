import json

import pytest

from thoar.reports.page import Section, page
from thoar.reports.run_files import colors_of, read_scored
from thoar.reports.scores import MOST_CASES, score_blocks


@pytest.fixture
def told(tmp_path, sound_page):
    """The text that a file of scores becomes."""

    def tell(content):
        path = tmp_path / "validation.json"
        path.write_text(json.dumps(content))
        scored = read_scored(path)
        blocks = tuple(score_blocks(scored, colors_of(scored.organs)))
        return sound_page(page("p", [Section(title="s", blocks=blocks)]))

    return tell


def file_of(cases, organs=("heart", "aorta")):
    return {
        "schema": "thoar.results/1",
        "organs": list(organs),
        "tolerance_mm": 3.0,
        "cases": [{"case_id": case, "scores": scores} for case, scores in cases.items()],
    }


def test_the_worst_cases_come_first(told, of):
    seen = told(file_of({"good": {"heart": of(0.9)}, "bad": {"heart": of(0.1)}, "none": {"heart": of(None)}}))
    table = seen[seen.index("worst mean Dice first") :]
    assert table.index("bad") < table.index("good") < table.index("none")


def test_means_medians_and_what_they_leave_out_are_said(told, of):
    seen = told(
        file_of(
            {
                "a": {"heart": of(0.9), "aorta": of(0.5)},
                "b": {"heart": of(0.7), "aorta": of(None, None)},
                "c": {"heart": of(0.0, "inf")},
            }
        )
    )
    assert "heart 3 0.533 ± 0.473 0.700 ∞ 2.00 ∞ 0.533" in seen
    assert "aorta 1 0.500 0.500 2.00 2.00 2.00 0.500" in seen
    assert "aorta: undefined in 1 of the cases" in seen
    assert "heart: one mask is empty in 1 of the cases" in seen
    assert "surface Dice @ 3 mm" in seen


def test_cases_the_model_has_learnt_from_are_named(told, of):
    content = file_of({"a": {"heart": of(0.9)}, "b": {"heart": of(0.9)}})
    content["cases"][1]["in_training_data"] = True
    assert "In the model's training data: b." in told(content)


def test_many_cases_are_folded_but_all_there(told, of):
    seen = told(file_of({f"case-{n:02d}": {"heart": of(n / 40)} for n in range(30)}))
    assert f"{30 - MOST_CASES} more cases" in seen
    assert all(f"case-{n:02d}" in seen for n in range(30))


def test_a_file_without_cases_is_said_to_have_none(told):
    assert "No case was scored" in told(file_of({}))
