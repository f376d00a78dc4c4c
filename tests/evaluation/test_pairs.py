import pytest

from thoar.core.errors import InputError, LabelError
from thoar.core.labels import SEGTHOR
from thoar.datasets.manifest import Case, Dataset, write_dataset
from thoar.evaluation.pairs import pair_up


def test_cases_are_paired_by_id(world):
    for case_id in ("p1", "p2"):
        world.reference(case_id)
        world.predict(case_id)
    pairing = pair_up(world.predictions, world.references)
    assert [p.case_id for p in pairing.pairs] == ["p1", "p2"]
    assert all(p.case_id == p.prediction.parent.name == p.reference.parent.name for p in pairing.pairs)
    assert pairing.label_set == SEGTHOR


def test_unpaired_ones_of_either_side_are_refused_by_name(world):
    for case_id in ("p1", "lonely_label"):
        world.reference(case_id)
    for case_id in ("p1", "lonely_prediction"):
        world.predict(case_id)
    with pytest.raises(InputError, match=r"lonely_prediction.*lonely_label"):
        pair_up(world.predictions, world.references)


def test_a_prediction_for_a_case_without_label_map_is_set_aside(world):
    world.reference("p1")
    world.reference("p2", labelled=False)
    for case_id in ("p1", "p2"):
        world.predict(case_id)
    pairing = pair_up(world.predictions, world.references)
    assert [p.case_id for p in pairing.pairs] == ["p1"]
    assert pairing.unlabelled_cases == ("p2",)


def test_a_data_set_without_any_label_map_is_refused(world):
    world.reference("p1", labelled=False)
    world.predict("p1")
    with pytest.raises(InputError, match="no case of this data set has a label map"):
        pair_up(world.predictions, world.references)


def test_a_single_prediction_that_does_not_say_its_case_meets_the_only_labelled_one(world):
    world.reference("p1")
    world.predict("")
    (pair,) = pair_up(world.predictions, world.references).pairs
    assert pair.case_id == "p1"


def test_a_single_prediction_that_says_another_case_is_refused(world):
    world.reference("p1")
    world.predict("", record={"case_id": "p2"})
    with pytest.raises(InputError, match="p2"):
        pair_up(world.predictions, world.references)


def test_one_prediction_is_compared_with_one_label_map_directly(world):
    world.reference("p1")
    prediction = world.predict("")
    (pair,) = pair_up(prediction, world.references / "p1" / "GT.nii.gz").pairs
    assert (pair.prediction, pair.organs) == (prediction, SEGTHOR.names)


def test_several_predictions_for_one_label_map_are_refused(world):
    world.reference("p1")
    world.predict("p1")
    world.predict("p2")
    with pytest.raises(InputError, match="p1, p2"):
        pair_up(world.predictions, world.references / "p1" / "GT.nii.gz")


@pytest.mark.parametrize(
    ("record", "seen"),
    [
        (None, None),
        ({"model": {"training_cases": ["p1"]}}, True),
        ({"model": {"training_cases": ["patient A"]}}, True),
        ({"model": {"training_cases": ["p2"]}}, False),
    ],
    ids=["no record", "its id", "its group", "others"],
)
def test_a_case_the_model_was_trained_on_is_flagged_by_id_or_group(world, record, seen):
    world.reference("p1")
    folder = world.references / "p1"
    case = Case(
        id="p1",
        image=folder / "p1.nii.gz",
        label=folder / "GT.nii.gz",
        organs=("heart",),
        group="patient A",
    )
    write_dataset(world.references, Dataset(root=world.references, label_set=SEGTHOR, cases=(case,)))
    world.predict("p1", record=record)
    (pair,) = pair_up(world.predictions, world.references).pairs
    assert pair.in_training_data is seen
    assert pair.organs == ("heart",)


def test_organs_that_were_not_asked_for_are_left_out_not_missed(world):
    world.reference("p1")
    world.predict("p1", record={"organs_requested": ["heart"]})
    (pair,) = pair_up(world.predictions, world.references).pairs
    assert pair.organs == ("heart",)


def test_a_prediction_whose_ids_mean_other_organs_is_refused(world):
    world.reference("p1")
    world.predict("p1", record={"organs": {"heart": {"id": 1}}})
    with pytest.raises(LabelError, match="gives heart the id 1, the references 2"):
        pair_up(world.predictions, world.references)
