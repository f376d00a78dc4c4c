import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from thoar.core.errors import ConfigError, InputError, UsageError
from thoar.datasets.manifest import Case
from thoar.training.split import (
    Split,
    folds,
    held_out,
    read_splits,
    refuse_shared_content,
    stated_splits,
    write_splits,
)


def cases(*groups: str, source: str = "") -> list[Case]:
    return [
        Case(
            id=f"{group}-{i}",
            image=Path("image.nii.gz"),
            label=Path("label.nii.gz"),
            organs=(),
            group=group,
            source=source,
        )
        for i, group in enumerate(groups)
    ]


def ids(side: Sequence[Case]) -> list[str]:
    return [case.id for case in side]


def test_cases_of_one_group_stay_on_one_side() -> None:
    all_cases = cases("a", "a", "b", "b", "c", "c", "d", "d")
    for seed in range(10):
        split = held_out(all_cases, validation_cases=4, seed=seed)
        assert len(split.validation) == 4
        assert not {case.group for case in split.training} & {case.group for case in split.validation}
        assert {*ids(split.training), *ids(split.validation)} == set(ids(all_cases))


def test_split_depends_on_the_seed_and_on_nothing_else() -> None:
    all_cases = cases(*"abcdefgh")
    first = held_out(all_cases, validation_cases=3, seed=1).validation
    assert held_out(all_cases[::-1], validation_cases=3, seed=1).validation == first
    assert any(held_out(all_cases, validation_cases=3, seed=s).validation != first for s in range(2, 9))


def test_group_that_does_not_fit_is_trained_on() -> None:
    split = held_out(cases("a", "a", "a", "b"), validation_cases=1, seed=0)
    assert [case.group for case in split.validation] == ["b"]
    assert len(split.training) == 3


def test_impossible_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be held out of 3 cases in 1 groups"):
        held_out(cases("a", "a", "a"), validation_cases=1, seed=0)
    with pytest.raises(ConfigError, match="cannot be held out"):
        held_out(cases("a", "b"), validation_cases=2, seed=0)


def test_no_validation_trains_on_everything() -> None:
    assert held_out(cases("a", "b"), validation_cases=0, seed=0).validation == ()


def test_a_split_made_by_hand_has_no_group_on_both_sides() -> None:
    one, twin, other = cases("a", "a", "b")
    with pytest.raises(InputError, match="group a: lies on both sides"):
        Split(training=(one, other), validation=(twin,))
    with pytest.raises(InputError, match="case a-0: lies on both sides"):
        Split(training=(one, other), validation=(one,))
    with pytest.raises(InputError, match="without a case to train on"):
        Split(training=(), validation=(one,))


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_every_group_is_held_out_in_exactly_one_fold_and_trained_on_in_the_others(count: int) -> None:
    all_cases = cases(*"aaabbcdefghhij")
    splits = folds(all_cases, count, seed=4)
    assert len(splits) == count
    held = [case.id for split in splits for case in split.validation]
    assert sorted(held) == sorted(ids(all_cases))
    for split in splits:
        assert not {case.group for case in split.training} & {case.group for case in split.validation}
        assert {*ids(split.training), *ids(split.validation)} == set(ids(all_cases))


def test_folds_are_of_one_size_as_far_as_groups_allow() -> None:
    def sizes(*groups: str, count: int) -> list[int]:
        return sorted(len(split.validation) for split in folds(cases(*groups), count, seed=0))

    assert sizes(*"abcdefghijkl", count=5) == [2, 2, 2, 3, 3]
    assert sizes(*"aaaabbbccd", count=3) == [3, 3, 4]
    assert sizes(*"aaaaaaaabc", count=2) == [2, 8]


def test_folds_depend_on_the_seed_and_not_on_the_order_of_cases() -> None:
    all_cases = cases(*"abcdefghij")

    def held(given: Sequence[Case], seed: int) -> list[tuple[Case, ...]]:
        return [split.validation for split in folds(given, 5, seed=seed)]

    assert held(all_cases[::-1], 1) == held(all_cases, 1)
    assert held(all_cases, 2) != held(all_cases, 1)


def test_every_fold_gets_its_share_of_each_source_and_of_what_is_labelled() -> None:
    ours, theirs = cases(*"abcdefghij", source="ours"), cases(*"klmnopqrst", source="theirs")
    partly = [replace(case, organs=("heart",)) for case in theirs[:5]]
    for split in folds([*ours, *partly, *theirs[5:]], 5, seed=3):
        kinds = Counter((case.source, case.organs) for case in split.validation)
        assert kinds == {("ours", ()): 2, ("theirs", ("heart",)): 1, ("theirs", ()): 1}


@pytest.mark.parametrize("count", [0, 1, 4])
def test_more_folds_than_groups_or_fewer_than_two_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=rf"{count} folds .* 5 cases in 3 groups.*ask for 2 to 3"):
        folds(cases("a", "a", "b", "b", "c"), count, seed=0)


def test_splits_come_back_from_their_file_which_is_nnunet_s(tmp_path: Path) -> None:
    all_cases = cases(*"abcdef")
    splits = folds(all_cases, 3, seed=0)
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json", all_cases) == splits
    raw = json.loads((tmp_path / "splits.json").read_text())
    assert [set(fold) for fold in raw] == [{"train", "val"}] * 3
    assert raw[0]["val"] == ids(splits[0].validation)


def test_a_split_of_one_s_own_may_leave_cases_out_and_hold_none_out(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('[{"train": ["c-2", "a-0"], "val": []}]')
    (split,) = read_splits(tmp_path / "own.json", cases(*"abc"))
    assert (ids(split.training), split.validation) == (["a-0", "c-2"], ())


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ('[{"train": ["a-0", "x"], "val": ["b-1"]}]', "fold 0: names cases that there are not: x"),
        ('[{"train": ["a-0", "a-0"], "val": ["b-1"]}]', "fold 0: names more than once a-0"),
        ('[{"train": ["a-0"], "val": ["b-1", "b-1"]}]', "fold 0: names more than once b-1"),
        ('[{"train": ["a-0"], "val": ["b-1", "a-0"]}]', "fold 0: case a-0: lies on both sides"),
        ('[{"train": ["a-0"], "val": []}, {"train": ["a-0", "c-2"], "val": ["c-3"]}]', "fold 1: group c:"),
        ('[{"train": [], "val": ["b-1"]}]', "fold 0: a split without a case to train on"),
        ('[{"train": ["a-0"]}]', "is no list of splits"),
        ('[{"train": ["a-0"], "val": [], "test": []}]', "is no list of splits"),
        ('{"train": ["a-0"], "val": []}', "is no list of splits"),
        ("[]", "holds no split"),
        ("nonsense", "is no list of splits"),
    ],
)
def test_faulty_split_is_refused_by_name(tmp_path: Path, content: str, finding: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_splits(path, cases("a", "b", "c", "c"))
    assert str(path) in str(caught.value)
    assert finding in str(caught.value)


def test_missing_file_of_splits_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        stated_splits(tmp_path / "gone.json")


def test_one_image_on_both_sides_is_refused_whatever_it_is_called() -> None:
    refuse_shared_content({"a": "1", "b": "1"}, {"c": "2", "d": "2"})
    with pytest.raises(InputError, match="case d: is held out, and its image is that of case b"):
        refuse_shared_content({"a": "1", "b": "2"}, {"c": "3", "d": "2"})
