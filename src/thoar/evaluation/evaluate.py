"""Scores of predictions against references: every case, every organ, and the statistics."""

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from thoar.core.errors import GeometryError
from thoar.core.labels import LabelSet
from thoar.core.versions import version_of
from thoar.core.volume import Volume, to_canonical
from thoar.evaluation.pairs import Pair, pair_up
from thoar.evaluation.results import CaseResult, Results
from thoar.imaging.prepare import SAME_GRID_MM
from thoar.io.formats import read_labels
from thoar.metrics.scores import TOLERANCE_MM, OrganScores, score_organ
from thoar.metrics.summary import Summary, summarise

_log = logging.getLogger(__name__)


def evaluate(predictions: Path, references: Path, *, tolerance_mm: float = TOLERANCE_MM) -> Results:
    """Score predictions against references.

    Args:
        predictions: a folder as ``thoar segment`` writes it, or one label map.
        references: a data set's folder, or one label map in SegTHOR's ids.
        tolerance_mm: of surface Dice.

    Raises:
        InputError: if a prediction or a reference lacks its counterpart, or a file cannot be used.
        GeometryError: if a prediction lies on another grid than its reference.
        LabelError: if a label map holds ids that the label set does not.
    """
    pairing = pair_up(predictions, references)
    for case_id in pairing.unlabelled_cases:
        _log.warning("%s: not scored, the data set has no label map for it", case_id)
    cases = tuple(score_case(pair, pairing.label_set, tolerance_mm=tolerance_mm) for pair in pairing.pairs)
    organs = pairing.label_set.names
    return Results(
        thoar_version=version_of("thoar"),
        tolerance_mm=tolerance_mm,
        organs=organs,
        cases=cases,
        summaries={organ: _summaries(organ, cases) for organ in organs},
        skipped={organ: sum(organ in case.skipped for case in cases) for organ in organs},
        unlabelled_cases=pairing.unlabelled_cases,
    )


def score_case(pair: Pair, label_set: LabelSet, *, tolerance_mm: float = TOLERANCE_MM) -> CaseResult:
    """Score every organ that the reference of a pair shows.

    Raises:
        GeometryError: if the two label maps lie on different grids.
        InputError: if a file cannot be used.
    """
    prediction, reference = _read(pair.prediction, label_set), _read(pair.reference, label_set)
    _refuse_other_grid(pair, prediction, reference)
    scores = {
        organ.name: score_organ(
            np.equal(prediction.voxels, organ.id),
            np.equal(reference.voxels, organ.id),
            spacing_zyx_mm=reference.geometry.spacing_zyx_mm,
            tolerance_mm=tolerance_mm,
        )
        for organ in label_set.organs
        if organ.name in pair.organs
    }
    _log.info("%s: scored", pair.case_id)
    return CaseResult(
        case_id=pair.case_id,
        in_training_data=pair.in_training_data,
        scores=scores,
        skipped=tuple(name for name in label_set.names if name not in pair.organs),
    )


def _read(path: Path, label_set: LabelSet) -> Volume:
    """Read a label map with its axes in the usual order: files may store one grid in several."""
    labels = read_labels(path, label_set)
    return to_canonical(Volume(voxels=labels.voxels, geometry=labels.geometry))


def _refuse_other_grid(pair: Pair, prediction: Volume, reference: Volume) -> None:
    mine, other = prediction.geometry, reference.geometry
    if mine.same_grid(other, tolerance_mm=SAME_GRID_MM):
        return
    raise GeometryError(
        f"{pair.prediction}: lies on another grid than {pair.reference}: {_described(prediction)} against "
        f"{_described(reference)}, corners up to {mine.difference_mm(other):.3g} mm apart; predict on the "
        "image that the reference was drawn on, or resample one of the two first"
    )


def _described(volume: Volume) -> str:
    grid = volume.geometry
    spacing = ", ".join(f"{s:.4g}" for s in grid.spacing_zyx_mm)
    origin = ", ".join(f"{c:.4g}" for c in grid.origin_xyz_mm)
    return f"shape_zyx {grid.shape_zyx}, spacing_zyx_mm ({spacing}), origin_xyz_mm ({origin})"


def _summaries(organ: str, cases: Sequence[CaseResult]) -> dict[str, Summary]:
    scored = [case.scores[organ] for case in cases if organ in case.scores]
    names = [field.name for field in msgspec.structs.fields(OrganScores)]
    return {name: summarise(getattr(scores, name) for scores in scored) for name in names}
