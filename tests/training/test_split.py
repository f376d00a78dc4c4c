from pathlib import Path

import pytest

from thoar.core.errors import ConfigError
from thoar.datasets.manifest import Case
from thoar.training.split import split_cases


def cases(*groups: str) -> list[Case]:
    return [
        Case(
            id=f"{group}-{i}", image=Path("image.nii.gz"), label=Path("label.nii.gz"), organs=(), group=group
        )
        for i, group in enumerate(groups)
    ]


def test_cases_of_one_group_stay_on_one_side() -> None:
    all_cases = cases("a", "a", "b", "b", "c", "c", "d", "d")
    for seed in range(10):
        training, held = split_cases(all_cases, validation_cases=4, seed=seed)
        assert len(held) == 4
        assert not {case.group for case in training} & {case.group for case in held}
        assert {case.id for case in training + held} == {case.id for case in all_cases}


def test_split_depends_on_the_seed_and_on_nothing_else() -> None:
    all_cases = cases(*"abcdefgh")
    first = split_cases(all_cases, validation_cases=3, seed=1)
    assert split_cases(all_cases[::-1], validation_cases=3, seed=1)[1] == first[1]
    assert any(split_cases(all_cases, validation_cases=3, seed=s)[1] != first[1] for s in range(2, 9))


def test_group_that_does_not_fit_is_trained_on() -> None:
    training, held = split_cases(cases("a", "a", "a", "b"), validation_cases=1, seed=0)
    assert [case.group for case in held] == ["b"]
    assert len(training) == 3


def test_impossible_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be held out of 3 cases in 1 groups"):
        split_cases(cases("a", "a", "a"), validation_cases=1, seed=0)
    with pytest.raises(ConfigError, match="cannot be held out"):
        split_cases(cases("a", "b"), validation_cases=2, seed=0)


def test_no_validation_trains_on_everything() -> None:
    assert split_cases(cases("a", "b"), validation_cases=0, seed=0)[1] == []
