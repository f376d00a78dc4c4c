import json
import math

import msgspec
import numpy as np
import pytest

from thoar.core.errors import InputError
from thoar.evaluation.evaluate import evaluate
from thoar.evaluation.results import read_results, write_results


@pytest.fixture
def results(world, ground_truth):
    """The trachea is missed, the aorta in neither mask."""
    world.reference("p1", np.where(ground_truth == 4, 0, ground_truth).astype(np.uint8))
    world.predict("p1", np.where(ground_truth > 2, 0, ground_truth).astype(np.uint8))
    return evaluate(world.predictions, world.references)


def test_a_results_file_is_strict_json_with_null_for_undefined_and_inf_for_infinite(results, tmp_path):
    write_results(tmp_path / "results.json", results)

    def refuse(name):
        raise AssertionError(name)

    raw = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    scores = raw["cases"][0]["scores"]
    assert scores["trachea"]["hausdorff_mm"] == "inf"
    assert scores["aorta"]["dice"] is None
    assert raw["summaries"]["trachea"]["hausdorff_mm"]["mean"] == "inf"
    assert raw["summaries"]["aorta"]["dice"]["mean"] is None
    assert raw["schema"] == "thoar.results/1"
    assert raw["cases"][0]["in_training_data"] is None


def test_a_results_file_reads_back_as_it_was(results, tmp_path):
    write_results(tmp_path / "results.json", results)
    again = read_results(tmp_path / "results.json")
    assert repr(again) == repr(results)  # NaN is not equal to itself, its text is
    assert math.isnan(again.cases[0].scores["aorta"].dice)
    assert again.cases[0].in_training_data is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"cases": [1], "summaries": {}}', '{"cases": [], "schema": "thoar.results/99"}'],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no results file"):
        read_results(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "absent.json")


def test_unknown_keys_are_refused(results, tmp_path):
    path = tmp_path / "results.json"
    write_results(path, results)
    raw = msgspec.json.decode(path.read_bytes())
    raw["cases"][0]["scores"]["heart"]["dise"] = 1.0
    path.write_bytes(msgspec.json.encode(raw))
    with pytest.raises(InputError, match="dise"):
        read_results(path)
