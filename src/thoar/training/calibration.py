"""Thresholds and margins of the boxes, set from validation cases instead of from the configuration."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from thoar.core.box import Box, Index3
from thoar.core.configuration import Localisation
from thoar.inference.localisation import OrganLocalisation, coarse_mask, uncalibrated
from thoar.inference.predictor import Predictor
from thoar.metrics.overlap import dice
from thoar.training.cases import TrainingCase, coarse_target

THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(15))
ENOUGH_CASES = 20
"""Fewer cases never move a threshold, nor make a margin smaller than the configuration's."""

Observation = tuple[Float32[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]
"""One case's coarse probability of an organ, and its true cells."""


def calibrate(predictor: Predictor, cases: Sequence[TrainingCase]) -> dict[str, OrganLocalisation]:
    """Return every organ's threshold and margins, measured on held-out cases.

    An organ that no case shows keeps what the predictor has.

    Args:
        predictor: with the weights to calibrate for.
        cases: held out.
    """
    seen: dict[str, list[Observation]] = {}
    stride_zyx = predictor.configuration.network.total_stride_zyx
    for case in cases:
        coarse = predictor.locate(case.prepared())
        labels = np.asarray(case.labels())
        for name in case.box_cells:
            truth = coarse_target(labels, predictor.label_set.organ(name).id, stride_zyx)
            seen.setdefault(name, []).append((coarse.probability[name], truth))
    settings = predictor.configuration.localisation
    measured = {name: calibrate_organ(name, observations, settings) for name, observations in seen.items()}
    return predictor.localisation | measured


def calibrate_organ(
    organ: str, observations: Sequence[Observation], settings: Localisation
) -> OrganLocalisation:
    """Return the threshold of the best mean coarse Dice, and per face the margin that 95 % of boxes need.

    A face's error is by how many cells the box of the coarse mask falls short of the truth. A margin is
    never below 1. With fewer than ``ENOUGH_CASES`` cases the configuration's threshold stays, and its margins
    are the least.

    Args:
        organ: its name.
        observations: one per case, at least one.
        settings: the configuration's threshold, margins and least component.
    """
    stated = uncalibrated(settings, organ)

    def mean_dice(least_probability: float) -> float:
        masks = [
            coarse_mask(p, least_probability, least_cells=settings.min_component_cells)
            for p, _ in observations
        ]
        return float(
            np.mean([dice(mask, truth) for mask, (_, truth) in zip(masks, observations, strict=True)])
        )

    enough = len(observations) >= ENOUGH_CASES
    threshold = max((stated.threshold, *THRESHOLDS), key=mean_dice) if enough else stated.threshold
    errors = [
        _shortfall(coarse_mask(p, threshold, least_cells=settings.min_component_cells), truth)
        for p, truth in observations
    ]
    known = [error for error in errors if error is not None]
    least = 1 if enough else max(1, *stated.margin_before_zyx)
    margins = np.full(6, least)
    if known:
        margins = np.maximum(margins, np.ceil(np.percentile(known, 95, axis=0)).astype(int))
    return OrganLocalisation(
        threshold=threshold, margin_before_zyx=_index3(margins[:3]), margin_after_zyx=_index3(margins[3:])
    )


def _shortfall(mask: Bool[np.ndarray, "z y x"], truth: Bool[np.ndarray, "z y x"]) -> tuple[int, ...] | None:
    """Return by how many cells the mask's box ends short of the truth's, per face; None without a box."""
    found, wanted = Box.of_mask(mask), Box.of_mask(truth)
    if found is None or wanted is None:
        return None
    before = [f - w for f, w in zip(found.start_zyx, wanted.start_zyx, strict=True)]
    after = [w - f for f, w in zip(found.stop_zyx, wanted.stop_zyx, strict=True)]
    return (*before, *after)


def _index3(values: np.ndarray) -> Index3:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
