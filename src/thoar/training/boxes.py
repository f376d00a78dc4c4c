"""The boxes that fine decoders are trained on: around the truth, and more and more as they are predicted."""

import numpy as np

from thoar.core.box import Box
from thoar.core.configuration import Boxes
from thoar.inference.localisation import at_least


def training_box(
    truth: Box,
    *,
    predicted: Box | None,
    settings: Boxes,
    cap_cells: float,
    least_cells_per_axis: int,
    grid: Box,
    rng: np.random.Generator,
) -> Box:
    """Return one organ's training box, in coarse cells; the organ is always inside.

    The ground-truth box with each face moved outward at random, now and then up to twice as wide; united
    with the predicted box where that stays moderate; never larger than a cap unless the organ is.

    Args:
        truth: around the organ's cells.
        predicted: the box inference would take, or None to train on ground truth alone.
        settings: jitter, widening, limits.
        cap_cells: most cells a box may have.
        least_cells_per_axis: fewest cells along each axis.
        grid: the coarse cells there are.
        rng: the sample's own stream.
    """
    box = _widened(truth, settings, rng)
    if predicted is not None:
        union = truth.union(predicted)
        if union.voxels < settings.union_limit * truth.voxels:
            box = box.union(union)
    box = _capped(box.intersection(grid) or truth, truth, cap_cells)
    return at_least(box, least_cells_per_axis, grid)


def uses_prediction(settings: Boxes, *, joint_progress: float, rng: np.random.Generator) -> bool:
    """Draw whether a step may use predicted boxes: never at first, always from ``prediction_from`` on.

    Args:
        settings: see there.
        joint_progress: part of the joint stage that is over, 0 to 1.
        rng: the sample's own stream.
    """
    if settings.prediction_from <= 0:
        return True
    return bool(rng.random() < joint_progress / settings.prediction_from)


def cap_of(box_cells: list[int], settings: Boxes) -> float:
    """Return the most cells an organ's box may have: so many times the 99th percentile of its boxes."""
    return settings.cap * float(np.percentile(box_cells, 99)) if box_cells else float("inf")


def _widened(truth: Box, settings: Boxes, rng: np.random.Generator) -> Box:
    if rng.random() < settings.wide_probability:
        extra = [int(rng.integers(0, n + 1)) for n in truth.shape_zyx]
        before = [int(rng.integers(0, e + 1)) for e in extra]
        return truth.expanded(before, [e - b for e, b in zip(extra, before, strict=True)])
    before, after = rng.integers(0, settings.jitter_cells + 1, size=(2, 3)).tolist()
    return truth.expanded(before, after)


def _capped(box: Box, truth: Box, cap_cells: float) -> Box:
    """Return the box with its faces drawn in towards the truth, evenly, until it has few enough cells."""
    before = np.subtract(truth.start_zyx, box.start_zyx)
    after = np.subtract(box.stop_zyx, truth.stop_zyx)
    for part in np.linspace(1, 0, 21):
        cut = truth.expanded((before * part).astype(int).tolist(), (after * part).astype(int).tolist())
        if cut.voxels <= cap_cells:
            return cut
    return truth
