"""What reports read of run folders and of files of scores.

Only what is shown is read, and anything may be absent, so that a run of another version, or one that was
killed, still has its report. What cannot be read is an ``InputError``, which the page then says.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import numpy as np
from jaxtyping import Float

from thoar.core.errors import InputError
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.metrics.plain_numbers import numbers_again
from thoar.metrics.scores import OrganScores

_Record = TypeVar("_Record")

COLUMNS = ("epoch", "stage", "name", "value")
"""Of ``metrics.csv``."""

SPARE_COLORS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (148, 103, 189), (140, 86, 75), (23, 130, 150))
"""Of organs whose label set is not at hand."""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run's ``run.json``; see :class:`thoar.training.record.RunRecord` for what each means."""

    thoar: str = "unknown"
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    commit: str | None = None
    command: tuple[str, ...] = ()
    started: str = ""
    ended: str | None = None
    outcome: str = "unknown"
    error: str | None = None
    seed: int | None = None
    device: str = "unknown"
    processes: int = 1
    threads: int | None = None
    precision: str = "unknown"
    deterministic: bool = False
    not_reproducible: tuple[str, ...] | None = None
    data_sha256: str = ""
    training: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    fold: int | None = None
    initial_model: str | None = None
    epochs_done: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    seconds_per_step: float | None = None
    data_share: float | None = None
    peak_memory_mib: float | None = None
    float32_steps: int = 0
    warnings: tuple[str, ...] = ()


class ScoredCase(msgspec.Struct, frozen=True, kw_only=True):
    """One case of a file of scores.

    Attributes:
        case_id: its id.
        scores: by organ.
        in_training_data: whether the model has learnt from it; None where nobody says.
        fold: the name of the run that held it out, in a cross-validation.
    """

    case_id: str
    scores: dict[str, OrganScores]
    in_training_data: bool | None = None
    fold: str = ""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A run's ``validation.json``, a ``cross_validation.json``, or the results file of ``thoar evaluate``.

    Attributes:
        organs: in the label set's order.
        cases: in the file's order.
        thoar_version: that made it, where it says so.
        tolerance_mm: of surface Dice, where it says so.
        unlabelled_cases: ids of predictions for which there is no reference.
        missing: folds that are not in it, and why.
    """

    organs: tuple[str, ...]
    cases: tuple[ScoredCase, ...]
    thoar_version: str = ""
    tolerance_mm: float | None = None
    unlabelled_cases: tuple[str, ...] = ()
    missing: dict[str, str] = msgspec.field(default_factory=dict)


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    label_set: LabelSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One value of ``metrics.csv`` over the epochs."""

    epochs: Float[np.ndarray, " point"]
    values: Float[np.ndarray, " point"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """A run's ``metrics.csv``.

    Attributes:
        series: by name.
        stages: the first epoch of each, by name, in order.
    """

    series: Mapping[str, Series]
    stages: Mapping[str, int]

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that anything was measured of."""
        found = (self.per_organ(prefix) for prefix in ("train/fine_dice_", "validation/coarse_dice_"))
        return tuple(dict.fromkeys(name for series in found for name in series))

    def per_organ(self, prefix: str) -> dict[str, Series]:
        """Return the series whose name is a prefix and an organ, by organ."""
        return {name[len(prefix) :]: s for name, s in self.series.items() if name.startswith(prefix)}


def read_facts(run: Path) -> RunFacts:
    """Read a run's ``run.json``.

    Raises:
        InputError: if it is missing or damaged.
    """
    return _decoded(run / "run.json", _json(run / "run.json"), RunFacts)


def read_scored(path: Path) -> Scored:
    """Read a file of scores.

    Raises:
        InputError: if it is missing, or holds none.
    """
    raw = _json(path)
    for case in _listed(raw.get("cases")):
        if isinstance(case, dict):
            case["scores"] = numbers_again(case.get("scores"))
    return _decoded(path, raw, Scored)


def read_measured(path: Path) -> Measured:
    """Read a ``metrics.csv``.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        rows = _metric_rows(path)
    except OSError as error:
        raise InputError(_unreadable(path, error)) from error
    except (TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path.name}: is not what a run writes ({error})") from error
    series: dict[str, list[tuple[int, float]]] = {}
    stages: dict[str, int] = {}
    for epoch, stage, name, value in rows:
        stages.setdefault(stage, epoch)
        series.setdefault(name, []).append((epoch, value))
    points = {name: np.array(pairs, dtype=np.float64) for name, pairs in series.items()}
    return Measured(
        series=MappingProxyType({n: Series(epochs=p[:, 0], values=p[:, 1]) for n, p in points.items()}),
        stages=MappingProxyType(stages),
    )


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: if it is missing or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(_unreadable(path, error)) from error


def read_label_set(run: Path) -> LabelSet:
    """Return the label set of a run's model; SegTHOR's where no model can be read, since it only colours."""
    for model in ("best", "last"):
        path = run / model / "manifest.json"
        try:
            return _decoded(path, _json(path), _Manifest).label_set
        except InputError:
            continue
    return SEGTHOR


def colors_of(organs: tuple[str, ...], label_set: LabelSet = SEGTHOR) -> dict[str, tuple[int, int, int]]:
    """Return each organ's colour, in the label set's order.

    Organs that the label set does not know, and those whose colour another has already, get spare ones.
    """
    chosen = {organ.name: organ.color_rgb for organ in label_set.organs if organ.name in organs}
    spare = cycle(SPARE_COLORS)
    colors: dict[str, tuple[int, int, int]] = {}
    for name in (*chosen, *(name for name in organs if name not in chosen)):
        own = chosen.get(name)
        colors[name] = next(spare) if own is None or own in colors.values() else own
    return colors


def _metric_rows(path: Path) -> list[tuple[int, str, str, float]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        head = next(rows, [])
        if tuple(head) != COLUMNS:
            raise ValueError(f"its columns are {', '.join(head)}, not {', '.join(COLUMNS)}")
        return [(int(epoch), stage, name, float(value)) for epoch, stage, name, value in rows]


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(_unreadable(path, error)) from error


def _decoded(path: Path, raw: object, kind: type[_Record]) -> _Record:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path.name}: is not what thoar writes ({error})") from error


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path.name} is missing"
    return f"{path.name}: cannot be read ({error})"
