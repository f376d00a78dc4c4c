"""Which runs a command means, and that the runs of one cross-validation share its folds."""

from pathlib import Path

import pytest

from thoar.cli.train_folds import Plan, keep_splits, plans_of
from thoar.core.configuration import Train
from thoar.core.errors import UsageError
from thoar.datasets.manifest import Case

CASES = tuple(
    Case(id=f"case-{n}", image=Path("image.nii"), label=Path("label.nii"), organs=("heart",), group=f"g{n}")
    for n in range(6)
)


def plans(out: Path, *, fold: str | None, folds: int | None = None, split: Path | None = None) -> list[Plan]:
    return plans_of(CASES, Train(validation_cases=2), out, fold=fold, folds=folds, split=split)


def held(plan: Plan) -> list[str]:
    return [case.id for case in plan.split.validation]


def test_lone_run_holds_out_as_many_cases_as_it_is_told(tmp_path: Path) -> None:
    (plan,) = plans(tmp_path, fold=None)
    assert (plan.fold, plan.folder, len(held(plan))) == (None, tmp_path, 2)


def test_all_folds_hold_out_every_case_once_each_in_a_folder_of_its_own(tmp_path: Path) -> None:
    every = plans(tmp_path, fold="all", folds=3)
    assert sorted(name for plan in every for name in held(plan)) == [case.id for case in CASES]
    assert [plan.folder.name for plan in every] == ["fold_0", "fold_1", "fold_2"]
    (second,) = plans(tmp_path, fold="1", folds=3)
    assert held(second) == held(every[1])


def test_number_of_folds_is_remembered(tmp_path: Path) -> None:
    assert len(plans(tmp_path, fold="all")) == 5
    every = plans(tmp_path, fold="all", folds=3)
    keep_splits(every, tmp_path)
    assert [held(plan) for plan in plans(tmp_path, fold="all")] == [held(plan) for plan in every]


def test_folds_of_another_division_are_not_mixed_with_those_that_are_there(tmp_path: Path) -> None:
    keep_splits(plans(tmp_path, fold="all", folds=3), tmp_path)
    keep_splits(plans(tmp_path, fold="0", folds=3), tmp_path)
    with pytest.raises(UsageError, match=r"splits\.json: the folds trained here were others"):
        keep_splits(plans(tmp_path, fold="0", folds=2), tmp_path)


@pytest.mark.parametrize("fold", ["3", "-1", "one"])
def test_fold_that_is_not_there_is_refused(tmp_path: Path, fold: str) -> None:
    with pytest.raises(UsageError, match=f"--fold {fold}: expected 0 to 2, or all"):
        plans(tmp_path, fold=fold, folds=3)
    assert not list(tmp_path.iterdir())


def test_file_of_one_split_needs_no_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('[{"train": ["case-0", "case-1"], "val": ["case-2"]}]')
    (plan,) = plans(tmp_path, fold=None, split=path)
    assert (plan.fold, held(plan)) == (0, ["case-2"])
