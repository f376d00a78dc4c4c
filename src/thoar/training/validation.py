"""How good the network is on held-out cases, through the same ``Predictor`` that users get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thoar.core.labels import LabelSet
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import CoarseResult, Segmentation
from thoar.metrics.overlap import dice
from thoar.training.cases import TrainingCase, coarse_target
from thoar.training.heap import release_heap
from thoar.training.world import ALONE, World


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


def validate(
    predictor: Predictor, cases: Sequence[TrainingCase], *, fine: bool, world: World = ALONE
) -> ValidationScores:
    """Return the mean scores over held-out cases.

    Args:
        predictor: of the network as it stands.
        cases: to score.
        fine: whether the fine decoders are run.
        world: the processes that share the cases; all return the same means, the leader an example.
    """
    coarse: dict[str, list[float]] = {}
    drawn: dict[str, list[float]] = {}
    example = None
    for case in world.own(cases):
        prepared = case.prepared()
        if fine:
            segmentation = predictor.predict_prepared(prepared)
            example = example or segmentation
            _add_fine(drawn, segmentation, case, predictor.label_set)
            found = segmentation.coarse
        else:
            found = predictor.locate(prepared)
        _add_coarse(coarse, found, case, predictor)
        release_heap()
    names = predictor.label_set.names
    return ValidationScores(
        coarse_dice=_means(coarse, names, world), fine_dice=_means(drawn, names, world), example=example
    )


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


def _means(scores: Mapping[str, Sequence[float]], names: Sequence[str], world: World) -> dict[str, float]:
    """Return the mean per organ that any process has scored."""
    sums = world.sum([float(sum(scores.get(name, ()))) for name in names])
    counts = world.sum([float(len(scores.get(name, ()))) for name in names])
    return {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count}
