"""Which cases are trained on and which held out: by number, by folds, or as a file of one's own says."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from thoar.core.errors import ConfigError, InputError, UsageError
from thoar.core.random import rng_for
from thoar.datasets.manifest import Case
from thoar.io.atomic import atomic_bytes

SPLITS = "splits.json"
"""The splits of a cross-validation, in its folder."""
_FEWEST_FOLDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The two sides of one training run; no group of cases lies on both.

    Attributes:
        training: cases trained on, in the data set's order.
        validation: cases held out, by id; may be none.

    Raises:
        InputError: if there is nothing to train on, or a case or a group lies on both sides.
    """

    training: tuple[Case, ...]
    validation: tuple[Case, ...]

    def __post_init__(self) -> None:
        if not self.training:
            raise InputError("a split without a case to train on")
        for what, training, validation in (
            ("case", _ids(self.training), _ids(self.validation)),
            ("group", _groups(self.training), _groups(self.validation)),
        ):
            if both := sorted(set(training) & set(validation)):
                raise InputError(
                    f"{what} {', '.join(both[:5])}: lies on both sides of a split, so its scores would say "
                    "nothing; keep it on one side"
                )


class StatedSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A split as a file states it, in nnU-Net's words: ids of cases to train on and to validate on."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def held_out(cases: Sequence[Case], *, validation_cases: int, seed: int) -> Split:
    """Return the split of one run: so many cases held out, the cases of one group on one side.

    Groups are taken in random order for validation as long as they fit into the number asked for.

    Args:
        cases: all of the data set.
        validation_cases: how many to hold out; 0 for none.
        seed: of the draw.

    Raises:
        ConfigError: if no training case would be left, or every group is larger than what is to be held out.
    """
    groups = _by_group(cases)
    names = sorted(groups)
    held: list[Case] = []
    for index in rng_for(seed, "split").permutation(len(names)):
        if len(held) + len(groups[names[index]]) <= validation_cases:
            held += groups[names[index]]
    if len(held) == len(cases) or (validation_cases and not held):
        raise ConfigError(
            f"train.validation_cases = {validation_cases} cannot be held out of {len(cases)} cases in "
            f"{len(groups)} groups; give more cases or another number (0 trains without validation)"
        )
    return _without(cases, held)


def folds(cases: Sequence[Case], count: int, *, seed: int) -> tuple[Split, ...]:
    """Return the splits of a cross-validation: every group is held out exactly once.

    Groups are dealt out in random order, the largest first and each to the fold that has fewest cases so far,
    so that sizes differ by no more than groups make them; among groups of one size, those of the same
    sources and labelled organs follow each other, so that every fold gets its share of them.

    Args:
        cases: all of the data set.
        count: of folds, at least 2.
        seed: of the draw.

    Raises:
        UsageError: if there are fewer groups than folds.
    """
    groups = _by_group(cases)
    if not _FEWEST_FOLDS <= count <= len(groups):
        enough = len(groups) >= _FEWEST_FOLDS
        advice = f"ask for {_FEWEST_FOLDS} to {len(groups)} folds" if enough else "that takes two at least"
        raise UsageError(
            f"{count} folds cannot be made of {len(cases)} cases in {len(groups)} groups, which are never "
            f"parted; {advice}"
        )
    names = sorted(groups)
    shuffled = [groups[names[index]] for index in rng_for(seed, "folds").permutation(len(names))]
    held: list[list[Case]] = [[] for _ in range(count)]
    for group in sorted(shuffled, key=lambda group: (-len(group), _kind(group))):
        min(held, key=len).extend(group)
    return tuple(_without(cases, part) for part in held)


def read_splits(path: Path, cases: Sequence[Case]) -> tuple[Split, ...]:
    """Read the splits of a cross-validation from a file in the form of nnU-Net's ``splits_final.json``.

    ``[{"train": ["Patient_01", …], "val": ["Patient_02", …]}, …]``. Cases that a split does not name take no
    part in it.

    Args:
        path: of the file.
        cases: all of the data set.

    Raises:
        InputError: if the file cannot be read, names a case that there is not or names one twice, or a split
            has nothing to train on, or a case or a group on both sides.
    """
    by_id = {case.id: case for case in cases}
    return tuple(
        _stated_split(fold, by_id, where=f"{path}, fold {k}") for k, fold in enumerate(stated_splits(path))
    )


def stated_splits(path: Path) -> tuple[StatedSplit, ...]:
    """Read what a file of splits states, at least one, without asking what cases there are.

    Raises:
        InputError: if the file cannot be read or is no list of splits.
    """
    try:
        stated = msgspec.json.decode(path.read_bytes(), type=tuple[StatedSplit, ...])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'{path}: is no list of splits ({error}); write [{{"train": ["id", …], "val": ["id", …]}}, …]'
        ) from error
    if not stated:
        raise InputError(f"{path}: holds no split; write at least one")
    return stated


def write_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write splits as :func:`read_splits` reads them, whole or not at all."""
    stated = [StatedSplit(train=_ids(split.training), val=_ids(split.validation)) for split in splits]
    atomic_bytes(path, msgspec.json.format(msgspec.json.encode(stated), indent=2) + b"\n")


def refuse_shared_content(training: Mapping[str, str], validation: Mapping[str, str]) -> None:
    """Refuse a split that holds out what it trains on under another name.

    Args:
        training: a key of its image's content per id of the cases trained on.
        validation: likewise of the cases held out.

    Raises:
        InputError: naming the two cases.
    """
    trained_on = {key: case_id for case_id, key in training.items()}
    for case_id, key in validation.items():
        if key in trained_on:
            raise InputError(
                f"case {case_id}: is held out, and its image is that of case {trained_on[key]}, which is "
                "trained on; give both the same group in dataset.toml, or take one out"
            )


def _stated_split(fold: StatedSplit, by_id: Mapping[str, Case], *, where: str) -> Split:
    doubled = [case_id for side in (fold.train, fold.val) for case_id, n in Counter(side).items() if n > 1]
    unknown = [case_id for case_id in (*fold.train, *fold.val) if case_id not in by_id]
    for problem, ids in (("names more than once", doubled), ("names cases that there are not:", unknown)):
        if ids:
            raise InputError(f"{where}: {problem} {', '.join(ids[:5])}; mend that list")
    held = set(fold.val)
    try:
        return Split(
            training=tuple(by_id[case_id] for case_id in by_id if case_id in set(fold.train)),
            validation=_by_id(case for case in by_id.values() if case.id in held),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _without(cases: Sequence[Case], held: Sequence[Case]) -> Split:
    ids = set(_ids(held))
    return Split(training=tuple(case for case in cases if case.id not in ids), validation=_by_id(held))


def _by_group(cases: Sequence[Case]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    return groups


def _kind(group: Sequence[Case]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what makes two groups alike."""
    return tuple(sorted({(case.source, case.organs) for case in group}))


def _by_id(cases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: case.id))


def _ids(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.id for case in cases)


def _groups(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.group for case in cases)
