import json
import math
import statistics
from pathlib import Path

import pytest

from thoar.core.errors import InputError
from thoar.metrics.scores import OrganScores
from thoar.training.cross_validation import CROSS_VALIDATION, summarise_folds
from thoar.training.final import ValidatedCase, ValidationRecord, write_validation


def scores(dice: float) -> OrganScores:
    distance_mm = math.inf if dice == 0 else 1.0
    return OrganScores(
        dice=dice,
        hausdorff_mm=distance_mm,
        hausdorff95_mm=distance_mm,
        assd_mm=distance_mm,
        surface_dice=dice,
        average_hausdorff_mm=distance_mm,
        centroid_distance_mm=distance_mm,
        predicted_volume_ml=1.0,
        reference_volume_ml=1.0,
    )


def write_fold(folder: Path, number: int, **dice_of_case: dict[str, float]) -> None:
    (folder / f"fold_{number}").mkdir(parents=True)
    cases = tuple(
        ValidatedCase(case_id=name, group=name, scores={organ: scores(dice) for organ, dice in found.items()})
        for name, found in dice_of_case.items()
    )
    record = ValidationRecord(thoar_version="0", organs=("heart", "aorta"), cases=cases)
    write_validation(folder / f"fold_{number}" / "validation.json", record)


def write_splits_file(folder: Path, *held: list[str]) -> None:
    everyone = {name for names in held for name in names}
    folds = [{"train": sorted(everyone - set(names)), "val": names} for names in held]
    (folder / "splits.json").write_text(json.dumps(folds))


@pytest.fixture
def cv(tmp_path: Path) -> Path:
    write_fold(tmp_path, 0, a={"heart": 0.9, "aorta": 0.8}, b={"heart": 0.7, "aorta": 0.6}, c={"heart": 0.2})
    write_fold(tmp_path, 1, d={"heart": 0.95, "aorta": math.nan})
    return tmp_path


def test_statistics_are_over_all_cases_of_all_folds_and_not_over_folds(cv: Path) -> None:
    found = summarise_folds(cv)
    heart = found.summaries["heart"]["dice"]
    assert heart.n == 4
    assert heart.mean == pytest.approx((0.9 + 0.7 + 0.2 + 0.95) / 4)
    assert heart.median == pytest.approx(0.8)
    assert heart.sd == pytest.approx(statistics.stdev([0.9, 0.7, 0.2, 0.95]))
    assert found.summaries["aorta"]["dice"].n_undefined == 1
    assert [(fold.name, fold.cases) for fold in found.folds] == [("fold_0", 3), ("fold_1", 1)]
    assert found.folds[0].summaries["heart"]["dice"].mean == pytest.approx(0.6)
    assert [(case.case_id, case.fold) for case in found.cases][-1] == ("d", "fold_1")
    assert found.missing == {}


def test_worst_cases_are_named_lowest_first_with_their_folds(cv: Path) -> None:
    worst = summarise_folds(cv).worst
    assert [(case.case_id, case.fold) for case in worst["heart"]] == [
        ("c", "fold_0"),
        ("b", "fold_0"),
        ("a", "fold_0"),
        ("d", "fold_1"),
    ]
    assert [case.case_id for case in worst["aorta"]] == ["b", "a"]


def test_missed_organ_makes_the_mean_distance_infinite_and_is_written_so(tmp_path: Path) -> None:
    write_fold(tmp_path, 0, a={"heart": 0.9}, b={"heart": 0.0})
    assert summarise_folds(tmp_path).summaries["heart"]["hausdorff_mm"].mean == math.inf
    raw = json.loads((tmp_path / CROSS_VALIDATION).read_text())
    assert raw["schema"] == "thoar.cross-validation/1"
    assert raw["summaries"]["heart"]["hausdorff_mm"]["mean"] == "inf"
    assert raw["summaries"]["aorta"]["dice"]["mean"] is None


def test_folds_that_are_missing_are_named_with_what_they_lack(cv: Path) -> None:
    write_splits_file(cv, ["a", "b", "c"], ["d"], ["e"], ["f"])
    (cv / "fold_2").mkdir()
    assert summarise_folds(cv).missing == {"fold_2": "has not ended", "fold_3": "has not begun"}


def test_fold_of_other_cases_than_the_splits_say_does_not_count(cv: Path) -> None:
    write_splits_file(cv, ["a", "b", "c"], ["z"])
    found = summarise_folds(cv)
    assert found.missing == {"fold_1": "held out other cases than splits.json says"}
    assert found.summaries["heart"]["dice"].n == 3


def test_folds_without_a_file_of_splits_are_those_that_are_there(cv: Path) -> None:
    (cv / "fold_7").mkdir()
    assert summarise_folds(cv).missing == {"fold_7": "has not ended"}


def test_before_any_fold_has_ended_all_are_missing(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    found = summarise_folds(tmp_path)
    assert found.missing == {"fold_0": "has not ended"}
    assert (found.organs, found.summaries, found.cases) == ((), {}, ())


def test_damaged_record_of_a_fold_is_refused_by_name(cv: Path) -> None:
    (cv / "fold_1" / "validation.json").write_text("{")
    with pytest.raises(InputError, match=r"fold_1/validation\.json: is no record"):
        summarise_folds(cv)
    assert not (cv / CROSS_VALIDATION).exists()


def test_folds_of_other_organs_are_refused(cv: Path) -> None:
    record = ValidationRecord(thoar_version="0", organs=("trachea",), cases=())
    (cv / "fold_2").mkdir()
    write_validation(cv / "fold_2" / "validation.json", record)
    with pytest.raises(InputError, match=r"heart, aorta and trachea"):
        summarise_folds(cv)
