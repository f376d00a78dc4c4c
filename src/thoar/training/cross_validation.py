"""What a cross-validation says: the scores of all folds' held-out cases, ``cross_validation.json``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from thoar.core.errors import InputError
from thoar.core.versions import version_of
from thoar.inference.shipped import FOLD, folds_of
from thoar.io.atomic import atomic_bytes
from thoar.metrics.plain_numbers import plain_numbers
from thoar.metrics.scores import TOLERANCE_MM, OrganScores
from thoar.metrics.summary import Summary, summarise
from thoar.training.final import VALIDATION, ValidatedCase, ValidationRecord, read_validation
from thoar.training.split import SPLITS, stated_splits

CROSS_VALIDATION = "cross_validation.json"
WORST = 5
"""So many cases of each organ are named as its worst."""

Summaries = dict[str, dict[str, Summary]]
"""By organ, then by score."""


class FoldSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fold's cases.

    Attributes:
        name: of its run's folder.
        cases: how many were held out.
        summaries: of their scores.
    """

    name: str
    cases: int
    summaries: Summaries


class FoldCase(ValidatedCase, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case held out.

    Attributes:
        fold: in which.
    """

    fold: str


class WorstCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case to look at first."""

    case_id: str
    fold: str
    dice: float


class CrossValidation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of ``cross_validation.json``; odd numbers are spelt as in :mod:`thoar.metrics.plain_numbers`.

    Attributes:
        schema: version of this layout.
        thoar_version: that made it.
        tolerance_mm: of surface Dice.
        organs: in the label set's order.
        summaries: over all cases of all folds that are done.
        folds: those that are done.
        missing: what the others lack, by their names; with any, ``summaries`` are of a part of the cases.
        worst: per organ, the cases of the lowest Dice, lowest first.
        cases: of all folds that are done; one that two folds held out counts in both.
    """

    schema: Literal["thoar.cross-validation/1"] = "thoar.cross-validation/1"
    thoar_version: str
    tolerance_mm: float = TOLERANCE_MM
    organs: tuple[str, ...]
    summaries: Summaries
    folds: tuple[FoldSummary, ...]
    missing: dict[str, str]
    worst: dict[str, tuple[WorstCase, ...]]
    cases: tuple[FoldCase, ...]


def summarise_folds(folder: Path) -> CrossValidation:
    """Summarise the folds of a cross-validation and write ``cross_validation.json`` beside them.

    Args:
        folder: with ``fold_0``, ``fold_1`` and so on, of which none need have ended; and ``splits.json``
            where it is known how many there should be, and of which cases.

    Raises:
        InputError: if a fold's record is damaged, or two folds are of other organs.
    """
    done, missing = _folds(folder)
    organs = _common_organs(folder, done)
    cases = tuple(_with_fold(case, name) for name, record in done.items() for case in record.cases)
    summary = CrossValidation(
        thoar_version=version_of("thoar"),
        organs=organs,
        summaries=_summaries(organs, cases),
        folds=tuple(
            FoldSummary(name=name, cases=len(record.cases), summaries=_summaries(organs, record.cases))
            for name, record in done.items()
        ),
        missing=missing,
        worst={organ: _worst(organ, cases) for organ in organs},
        cases=cases,
    )
    plain = plain_numbers(msgspec.to_builtins(summary))
    atomic_bytes(folder / CROSS_VALIDATION, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
    return summary


def _folds(folder: Path) -> tuple[dict[str, ValidationRecord], dict[str, str]]:
    """Return the records of the folds that are done, and what the others lack, by name."""
    done: dict[str, ValidationRecord] = {}
    missing: dict[str, str] = {}
    for name, held_out in _expected(folder).items():
        path = folder / name / VALIDATION
        if not path.is_file():
            missing[name] = "has not ended" if path.parent.is_dir() else "has not begun"
            continue
        record = read_validation(path)
        if held_out is not None and held_out != {case.case_id for case in record.cases}:
            missing[name] = f"held out other cases than {SPLITS} says"
        else:
            done[name] = record
    return done, missing


def _expected(folder: Path) -> dict[str, set[str] | None]:
    """Return the folds there should be, and the cases each holds out; None where nobody says."""
    if (folder / SPLITS).is_file():
        return {f"{FOLD}{k}": set(split.val) for k, split in enumerate(stated_splits(folder / SPLITS))}
    return {run.name: None for run in folds_of(folder)}


def _common_organs(folder: Path, done: dict[str, ValidationRecord]) -> tuple[str, ...]:
    kinds = {record.organs for record in done.values()}
    if len(kinds) > 1:
        named = " and ".join(", ".join(kind) for kind in sorted(kinds))
        raise InputError(f"{folder}: its folds are of other organs ({named}); train them on one data set")
    return kinds.pop() if kinds else ()


def _with_fold(case: ValidatedCase, name: str) -> FoldCase:
    return FoldCase(case_id=case.case_id, group=case.group, scores=case.scores, fold=name)


def _summaries(organs: Sequence[str], cases: Sequence[ValidatedCase]) -> Summaries:
    names = [field.name for field in msgspec.structs.fields(OrganScores)]
    return {
        organ: {
            name: summarise(getattr(case.scores[organ], name) for case in cases if organ in case.scores)
            for name in names
        }
        for organ in organs
    }


def _worst(organ: str, cases: Sequence[FoldCase]) -> tuple[WorstCase, ...]:
    scored = [
        WorstCase(case_id=case.case_id, fold=case.fold, dice=case.scores[organ].dice)
        for case in cases
        if organ in case.scores and not math.isnan(case.scores[organ].dice)
    ]
    return tuple(sorted(scored, key=lambda case: (case.dice, case.case_id))[:WORST])
