import numpy as np
import pytest

from thoar.core.errors import InputError
from thoar.evaluation.predictions import SEGMENTATIONS, find_predictions, training_cases
from thoar.pipeline.outputs import LABEL_MAP_SUFFIXES


def test_folders_of_cases_are_found_in_order_and_other_folders_passed_over(world):
    world.predict("b")
    world.predict("a")
    (world.predictions / "pictures").mkdir()
    assert [(p.name, p.named) for p in find_predictions(world.predictions)] == [("a", True), ("b", True)]


def test_one_case_is_found_in_the_folder_itself_and_named_by_its_record(world):
    world.predict("", record={"case_id": "Patient_07"})
    (found,) = find_predictions(world.predictions)
    assert (found.name, found.named) == ("Patient_07", True)


def test_every_name_that_segment_gives_a_label_map_is_known():
    assert tuple(f"segmentation{suffix}" for suffix in LABEL_MAP_SUFFIXES.values()) == SEGMENTATIONS


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_a_prediction_in_any_format_is_found(world, name):
    record = {"case_id": "Patient_07", "model": {"training_cases": []}}
    below = world.predict("a", name=name, record=record)
    (found,) = find_predictions(world.predictions)
    assert (found.name, found.named, found.path) == ("a", True, below)
    for place in (below.parent, below):
        (found,) = find_predictions(place)
        assert (found.name, found.path, found.training_cases) == ("Patient_07", below, frozenset())


def test_a_prediction_in_several_formats_counts_once(world):
    for name in SEGMENTATIONS:
        world.predict("a", name=name)
    (found,) = find_predictions(world.predictions)
    assert found.path.name == "segmentation.nii.gz"


def test_a_label_map_is_a_prediction_named_after_the_file(world):
    path = world.label(world.predictions / "Patient_03.nii.gz", np.zeros((8, 16, 18), dtype=np.uint8))
    (found,) = find_predictions(path)
    assert (found.name, found.named, found.training_cases) == ("Patient_03", False, None)


def test_a_place_without_predictions_is_refused(world, tmp_path):
    with pytest.raises(InputError, match="holds no predictions"):
        find_predictions(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        find_predictions(tmp_path / "absent")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_run_record_is_refused_by_name(world, text):
    world.predict("a")
    (world.predictions / "a" / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        find_predictions(world.predictions)


@pytest.mark.parametrize("record", [{}, {"model": None}, {"model": {}}, {"model": {"training_cases": None}}])
def test_a_record_that_lists_no_training_cases_knows_nothing(record):
    assert training_cases(record) is None
