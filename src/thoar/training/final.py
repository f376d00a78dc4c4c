"""What a finished run is worth: every score of its model on the cases held out, in ``validation.json``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from thoar.core.errors import InputError
from thoar.core.versions import version_of
from thoar.inference.predictor import Predictor
from thoar.io.atomic import atomic_bytes
from thoar.metrics.plain_numbers import numbers_again, plain_numbers
from thoar.metrics.scores import TOLERANCE_MM, OrganScores, score_organ
from thoar.training.cases import TrainingCase

VALIDATION = "validation.json"


class ValidatedCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case held out.

    Attributes:
        case_id: its id in the data set.
        group: the cases it belongs with.
        scores: of the organs that are labelled in it.
    """

    case_id: str
    group: str
    scores: dict[str, OrganScores]


class ValidationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of ``validation.json``; NaN and infinity are spelt as in :mod:`thoar.metrics.plain_numbers`.

    Attributes:
        schema: version of this layout.
        thoar_version: that made it.
        tolerance_mm: of surface Dice.
        organs: of the model, in the label set's order.
        cases: in the split's order.
    """

    schema: Literal["thoar.validation/1"] = "thoar.validation/1"
    thoar_version: str
    tolerance_mm: float = TOLERANCE_MM
    organs: tuple[str, ...]
    cases: tuple[ValidatedCase, ...]


def score_validation(predictor: Predictor, cases: Sequence[TrainingCase]) -> ValidationRecord:
    """Return every score on cases held out, on the grid they were prepared on.

    Args:
        predictor: of the model.
        cases: prepared as the model wants them. An organ that is not labelled in a case has no score there;
            one that is known to be absent has, by the rules for empty masks.
    """
    return ValidationRecord(
        thoar_version=version_of("thoar"),
        organs=predictor.network.drawn,
        cases=tuple(_scored(predictor, case) for case in cases),
    )


def write_validation(path: Path, record: ValidationRecord) -> None:
    """Write ``validation.json``, whole or not at all."""
    plain = plain_numbers(msgspec.to_builtins(record))
    atomic_bytes(path, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")


def read_validation(path: Path) -> ValidationRecord:
    """Read a ``validation.json``.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        raw: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        for case in raw["cases"]:
            case["scores"] = numbers_again(case["scores"])
        return msgspec.convert(raw, ValidationRecord)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no record of a validation ({error}); let the run end anew") from error


def _scored(predictor: Predictor, case: TrainingCase) -> ValidatedCase:
    segmentation = predictor.predict_prepared(case.prepared())
    truth = case.labels()[case.content_box.slices]
    return ValidatedCase(
        case_id=case.id,
        group=case.group,
        scores={
            organ.name: score_organ(
                segmentation.mask(organ.name),
                np.equal(truth, organ.id),
                spacing_zyx_mm=segmentation.geometry.spacing_zyx_mm,
            )
            for organ in segmentation.label_set.organs
            if organ.name in case.organs
        },
    )
