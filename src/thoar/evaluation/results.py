"""The results file: one JSON file per evaluation, for people's scripts and for reports.

JSON has no NaN and no infinity. Under ``scores`` and ``summaries``, ``null`` means undefined (NaN) and
``"inf"`` infinite; everything else is a plain number (docs/reference/metrics.md).
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from thoar.core.errors import InputError
from thoar.io.atomic import atomic_bytes
from thoar.metrics.plain_numbers import numbers_again, plain_numbers
from thoar.metrics.scores import OrganScores
from thoar.metrics.summary import Summary

Schema = Literal["thoar.results/1"]


class CaseResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case.

    Attributes:
        case_id: its id in the data set.
        in_training_data: whether the model was trained on it; None where no record says.
        scores: by organ.
        skipped: organs that the reference does not show or that were not asked for.
    """

    case_id: str
    in_training_data: bool | None
    scores: dict[str, OrganScores]
    skipped: tuple[str, ...]


class Results(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One evaluation.

    Attributes:
        schema: version of this layout.
        thoar_version: that made it.
        tolerance_mm: of surface Dice.
        organs: in the order of the label set.
        cases: in the order of the references.
        summaries: by organ, then by score.
        skipped: by organ, in how many cases it is left out.
        unlabelled_cases: ids of predictions for which there is no reference.
    """

    schema: Schema = "thoar.results/1"
    thoar_version: str
    tolerance_mm: float
    organs: tuple[str, ...]
    cases: tuple[CaseResult, ...]
    summaries: dict[str, dict[str, Summary]]
    skipped: dict[str, int]
    unlabelled_cases: tuple[str, ...]


def results_json(results: Results) -> str:
    """Return the results file's text."""
    plain = plain_numbers(msgspec.to_builtins(results))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def write_results(path: Path, results: Results) -> None:
    """Write the results file, whole or not at all.

    Raises:
        ResourceError: if the disk is full.
    """
    atomic_bytes(path, results_json(results).encode(), verify=_check_readable)


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        InputError: if it is missing, or is no results file of this version.
    """
    try:
        raw: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        raw["summaries"] = numbers_again(raw.get("summaries"))
        for case in raw["cases"]:
            case["scores"] = numbers_again(case["scores"])
        return msgspec.convert(raw, Results)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no results file of this version of thoar ({error}); evaluate again"
        ) from error


def _check_readable(path: Path) -> None:
    read_results(path)
