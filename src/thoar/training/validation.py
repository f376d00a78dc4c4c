"""How good the network is on held-out cases, through the same ``Predictor`` that users get."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thoar.core.labels import LabelSet
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import CoarseResult, Segmentation
from thoar.metrics.overlap import dice
from thoar.training.cases import TrainingCase, coarse_target


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationScores:
    """Mean scores per organ over the cases that show it.

    Attributes:
        coarse_dice: on the coarse grid.
        fine_dice: on the prepared grid; empty in the coarse stage.
        example: the first case's result; None in the coarse stage.
    """

    coarse_dice: dict[str, float]
    fine_dice: dict[str, float]
    example: Segmentation | None = None

    @property
    def score(self) -> float:
        """The mean over organs of the fine Dice, or of the coarse one where there is no fine one."""
        values = list((self.fine_dice or self.coarse_dice).values())
        return float(np.mean(values)) if values else 0.0


def validate(predictor: Predictor, cases: Sequence[TrainingCase], *, fine: bool) -> ValidationScores:
    """Return the mean scores over held-out cases.

    Args:
        predictor: of the network as it stands.
        cases: to score.
        fine: whether the fine decoders are run.
    """
    coarse: dict[str, list[float]] = {}
    drawn: dict[str, list[float]] = {}
    example = None
    for case in cases:
        prepared = case.prepared()
        if fine:
            segmentation = predictor.predict_prepared(prepared)
            example = example or segmentation
            _add_fine(drawn, segmentation, case, predictor.label_set)
            found = segmentation.coarse
        else:
            found = predictor.locate(prepared)
        _add_coarse(coarse, found, case, predictor)
    return ValidationScores(coarse_dice=_means(coarse), fine_dice=_means(drawn), example=example)


def _add_fine(
    scores: dict[str, list[float]], segmentation: Segmentation, case: TrainingCase, label_set: LabelSet
) -> None:
    labels = case.labels()[case.content_box.slices]
    for name in case.box_cells:
        truth = labels == label_set.organ(name).id
        scores.setdefault(name, []).append(dice(segmentation.mask(name), truth))


def _add_coarse(
    scores: dict[str, list[float]], found: CoarseResult, case: TrainingCase, predictor: Predictor
) -> None:
    stride_zyx = predictor.configuration.network.total_stride_zyx
    labels = np.asarray(case.labels())
    for name in case.box_cells:
        truth = coarse_target(labels, predictor.label_set.organ(name).id, stride_zyx)
        scores.setdefault(name, []).append(dice(found.mask[name], truth))


def _means(scores: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in scores.items()}
