"""Which label maps a folder of predictions holds, and what their run records say."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from thoar.core.errors import InputError
from thoar.io.formats import volume_stem

SEGMENTATIONS = tuple(f"segmentation{suffix}" for suffix in (".nii.gz", ".nrrd", ".mha", ".safetensors"))
"""What `thoar segment` may call a label map; where there are several, the first counts: all hold the same."""
RUN_RECORD = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One predicted label map.

    Attributes:
        name: the case's id, or the best guess at it: the folder's or the file's name.
        named: whether the name is the case's id for certain.
        path: the label map.
        training_cases: ids the model was trained on; None where no record says.
        organs: that were asked for; None where no record says.
        ids: of organs in the label map, as far as a record says.
    """

    name: str
    named: bool
    path: Path
    training_cases: frozenset[str] | None
    organs: frozenset[str] | None = None
    ids: Mapping[str, object] = field(default_factory=dict)


def find_predictions(place: Path) -> tuple[Prediction, ...]:
    """Return the predictions at a place: a label map, or a folder as ``thoar segment`` writes it.

    Raises:
        InputError: if there is none, or a run record cannot be read.
    """
    if not place.exists():
        raise InputError(f"{place}: no such file or folder of predictions")
    if not place.is_dir():
        record = place.parent if place.name in SEGMENTATIONS else None
        return (_prediction(place, folder=record, name=volume_stem(place), named=False),)
    label_map = _label_map_in(place)
    if label_map is not None:
        return (_prediction(label_map, folder=place, name=place.resolve().name, named=False),)
    found = tuple(_cases_below(place))
    if not found:
        raise InputError(
            f"{place}: holds no predictions; expected {' or '.join(SEGMENTATIONS)}, or one folder per case "
            "with it, as `thoar segment` writes them"
        )
    return found


def training_cases(record: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the ids that a run record lists under ``model.training_cases``; None where it does not.

    >>> sorted(training_cases({"model": {"training_cases": ["Patient_02", "Patient_01"]}}))
    ['Patient_01', 'Patient_02']
    """
    model = record.get("model")
    return _names(cast("dict[str, object]", model).get("training_cases") if isinstance(model, dict) else None)


def _names(listed: object) -> frozenset[str] | None:
    return frozenset(str(name) for name in cast("list[object]", listed)) if isinstance(listed, list) else None


def _cases_below(place: Path) -> Iterator[Prediction]:
    for folder in sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")):
        label_map = _label_map_in(folder)
        if label_map is not None:
            yield _prediction(label_map, folder=folder, name=folder.name, named=True)


def _label_map_in(folder: Path) -> Path | None:
    return next((folder / name for name in SEGMENTATIONS if (folder / name).is_file()), None)


def _prediction(path: Path, *, folder: Path | None, name: str, named: bool) -> Prediction:
    record = {} if folder is None else _read_record(folder / RUN_RECORD)
    case_id = record.get("case_id")
    if isinstance(case_id, str) and not named:
        name, named = case_id, True
    return Prediction(
        name=name,
        named=named,
        path=path,
        training_cases=training_cases(record),
        organs=_names(record.get("organs_requested")),
        ids=_ids(record.get("organs")),
    )


def _ids(organs: object) -> dict[str, object]:
    listed = cast("dict[str, Any]", organs) if isinstance(organs, dict) else {}
    return {name: organ["id"] for name, organ in listed.items() if isinstance(organ, dict) and "id" in organ}


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); segment the case again") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: is no run record; segment the case again")
    return cast("dict[str, Any]", record)
