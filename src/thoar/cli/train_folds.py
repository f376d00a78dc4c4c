"""Which runs ``thoar train`` is to do: one, one fold of a cross-validation, or all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thoar.core.errors import UsageError

if TYPE_CHECKING:
    from thoar.core.configuration import Train
    from thoar.datasets.manifest import Case
    from thoar.training.split import Split


FOLDS = 5
"""Of a cross-validation, unless something else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run to be done.

    Attributes:
        fold: its number among the folds, from 0; None for a run of its own.
        split: its cases.
        folder: where it is kept.
        every: the splits of all folds.
    """

    fold: int | None
    split: "Split"
    folder: Path
    every: tuple["Split", ...] = ()


def plans_of(
    cases: "Sequence[Case]",
    settings: "Train",
    out: Path,
    *,
    fold: str | None,
    folds: int | None,
    split: Path | None,
) -> list[Plan]:
    """Return the runs asked for: one with some cases held out, one fold, or all.

    Args:
        cases: of the data set.
        settings: how many cases a lone run holds out, and the seed of the draw.
        out: of the run, or of all folds.
        fold: its number, ``all``, or None.
        folds: how many to make; those kept in ``out`` where None, else five.
        split: a file of folds instead.

    Raises:
        UsageError: if there is no such fold, or there cannot be so many.
        InputError: if the file of folds does not fit the cases.
        ConfigError: if too few cases would be left.
    """
    from thoar.training.split import SPLITS, held_out, read_splits
    from thoar.training.split import folds as made

    if fold is None and split is None:
        held = held_out(cases, validation_cases=settings.validation_cases, seed=settings.seed)
        return [Plan(fold=None, split=held, folder=out)]
    if split is None and folds is None and (out / SPLITS).is_file():
        split = out / SPLITS
    every = made(cases, folds or FOLDS, seed=settings.seed) if split is None else read_splits(split, cases)
    plans = [Plan(fold=k, split=one, folder=out / f"fold_{k}", every=every) for k, one in enumerate(every)]
    return plans if fold == "all" else [plans[_number(fold, len(plans))]]


def keep_splits(plans: Sequence[Plan], out: Path) -> None:
    """Write the folds of a cross-validation into its folder, once: all its runs must share them.

    Raises:
        UsageError: if other folds are kept there.
    """
    from thoar.training.split import SPLITS, stated_splits, write_splits

    every, path = plans[0].every, out / SPLITS
    if not every:
        return
    if path.exists():
        wanted = [(set(ids(one.training)), set(ids(one.validation))) for one in every]
        kept = [(set(one.train), set(one.val)) for one in stated_splits(path)]
        if kept != wanted:
            raise UsageError(
                f"{path}: the folds trained here were others; give the same --folds, --seed and data set, "
                f"name them with --split {path}, or choose another folder"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_splits(path, every)


def ids(cases: "Sequence[Case]") -> list[str]:
    """Return the cases' ids."""
    return [case.id for case in cases]


def _number(fold: str | None, count: int) -> int:
    """Return the number that ``--fold`` means; a file of one split needs none."""
    if fold is None and count == 1:
        return 0
    if fold is None or not fold.isdecimal() or int(fold) >= count:
        raise UsageError(f"--fold {fold or ''}: expected 0 to {count - 1}, or all")
    return int(fold)
