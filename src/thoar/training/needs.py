"""Memory of every stage of a run, from what its data set is like."""

import math
from typing import Literal

import msgspec
import numpy as np
import torch

from thoar.core.box import Index3
from thoar.core.configuration import Configuration
from thoar.datasets.fingerprint import CaseFingerprint, Fingerprint
from thoar.inference.localisation import uncalibrated
from thoar.training.boxes import cap_of
from thoar.training.memory import StepCost, inference_cost, training_cost

PROCESS_BYTES = {"cpu": 330 * 2**20, "cuda": 3000 * 2**20}
"""Resident memory of a training process that has done nothing yet; with CUDA's libraries an estimate."""
CONTEXT_BYTES = 500 * 2**20
"""Of a GPU, for CUDA's own context and libraries: an estimate."""
HEAP_WASTE = {"coarse": 1.5, "joint": 1.5, "validation": 1.0}
"""A process's heap grows by so many of its small blocks' bytes beyond them (glibc; benchmarks/memory.py)."""
ALLOCATOR_WASTE = 0.1
"""Part of a GPU's tensors that torch holds besides them: an estimate."""
READ_BYTES, KEPT_BYTES, RESAMPLED_BYTES = 9, 3, 14
"""Per voxel of a scan while it is read, and once it is; per voxel of its resampled field of view."""
SAMPLE_BYTES = 5
"""Per voxel of a sample: float32 values and one byte of label ids, in memory as in the cache."""
DRAWING_BYTES = 43
"""Per voxel of a sample while it is changed at random."""
MASK_BYTES = 8
"""Per voxel and organ of a sample while its coarse targets are made."""
DRAWN_BYTES = 20
"""Per voxel of an organ's box in validation: its probability, its components and its masks."""
OPTIMISER_STATES = {"adam": 3, "adamw": 2}
"""Numbers per weight; Adam's are with amsgrad."""

Stage = Literal["preparation", "coarse", "joint", "validation"]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage has to hold.

    Attributes:
        shape_zyx: of a prepared scan.
        boxes_zyx: of every organ, in voxels.
    """

    shape_zyx: Index3
    boxes_zyx: dict[str, Index3]

    @property
    def voxels(self) -> int:
        """Of the scan."""
        return math.prod(self.shape_zyx)


class StageNeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one stage takes at its worst: the largest scan with the largest boxes.

    Attributes:
        stage: which.
        ram_bytes: of one process.
        vram_bytes: of its GPU; 0 without one.
        step: what a step takes of that; None in preparation.
    """

    stage: Stage
    ram_bytes: int
    vram_bytes: int
    step: StepCost | None = None


def needs(
    configuration: Configuration,
    found: Fingerprint,
    *,
    device: torch.device,
    workers: int = 1,
) -> tuple[StageNeed, ...]:
    """Return what every stage of a run takes.

    Args:
        configuration: the run's; its spacing may differ from the fingerprint's.
        found: the data set.
        device: where it trains.
        workers: scans that are prepared at the same time.
    """
    organs, largest = found.organs, largest_sample(configuration, found)
    whole = largest_scan(configuration, found)
    coarse = training_cost(configuration, organs, shape_zyx=largest.shape_zyx, device=device)
    steps: dict[Stage, tuple[StepCost, int]] = {
        "coarse": (coarse, _besides_step(configuration, coarse, largest, organs=len(organs))),
    }
    if configuration.train.joint_epochs:
        joint = training_cost(
            configuration,
            organs,
            shape_zyx=largest.shape_zyx,
            boxes_zyx=largest.boxes_zyx,
            device=device,
        )
        steps["joint"] = (joint, _besides_step(configuration, joint, largest, organs=len(organs)))
    seen = inference_cost(
        configuration, organs, shape_zyx=whole.shape_zyx, boxes_zyx=whole.boxes_zyx, device=device
    )
    steps["validation"] = (seen, _besides_validation(configuration, seen, whole))
    return (
        _preparation(found, device, workers),
        *(_need(stage, step, besides, device=device) for stage, (step, besides) in steps.items()),
    )


def largest_sample(configuration: Configuration, found: Fingerprint) -> Sizes:
    """Return the largest scan that a training step sees, and the largest training box of every organ."""
    whole = _largest_shape(configuration, found)
    grid = _cells(_cut(configuration, whole), configuration)
    boxes = {organ: _widest_box(organ, configuration, found, grid) for organ in found.organs}
    return Sizes(
        shape_zyx=_cut(configuration, whole),
        boxes_zyx={organ: _voxels(box, configuration) for organ, box in boxes.items() if box},
    )


def largest_scan(configuration: Configuration, found: Fingerprint) -> Sizes:
    """Return the largest whole scan, and every organ's largest box, its margins grown once."""
    whole = _largest_shape(configuration, found)
    grid = _cells(whole, configuration)
    boxes: dict[str, Index3] = {}
    for organ in found.organs:
        where = uncalibrated(configuration.localisation, organ)
        margin = 4 * max(*where.margin_before_zyx, *where.margin_after_zyx, 1)  # at both faces, twice
        tight = _tight_boxes(organ, configuration, found)
        if tight:
            z, y, x = max(tight, key=math.prod)
            boxes[organ] = _voxels(_within((z + margin, y + margin, x + margin), grid), configuration)
    return Sizes(shape_zyx=whole, boxes_zyx=boxes)


def typical_sample(configuration: Configuration, found: Fingerprint) -> Sizes:
    """Return the mean scan that a training step sees and the mean box of every organ, for times."""
    shapes = [_cut(configuration, prepared_shape(case, configuration, found)) for case in found.cases]
    shape = _whole_cells(np.mean(shapes, axis=0), configuration)
    grid = _cells(shape, configuration)
    boxes: dict[str, Index3] = {}
    for organ in found.organs:
        tight = _tight_boxes(organ, configuration, found)
        if tight:
            z, y, x = np.ceil(np.mean(tight, axis=0) + configuration.boxes.jitter_cells).astype(int).tolist()
            boxes[organ] = _voxels(_within((z, y, x), grid), configuration)
    return Sizes(shape_zyx=shape, boxes_zyx=boxes)


def prepared_shape(case: CaseFingerprint, configuration: Configuration, found: Fingerprint) -> Index3:
    """Return a case's prepared shape at a configuration's spacing, which need not be the fingerprint's."""
    ratio = np.divide(found.spacing_zyx_mm, configuration.preparation.spacing_zyx_mm)
    return _whole_cells(np.ceil(np.round(case.content_zyx * ratio, 6)), configuration)


def _largest_shape(configuration: Configuration, found: Fingerprint) -> Index3:
    shapes = [prepared_shape(case, configuration, found) for case in found.cases]
    return max(shapes, key=math.prod)


def _cut(configuration: Configuration, shape_zyx: Index3) -> Index3:
    """Return the part of a scan that a sample shows."""
    most = configuration.augmentation.longest_scan_cells if configuration.augmentation.enabled else 0
    z, y, x = shape_zyx
    return (min(z, most * configuration.network.total_stride_zyx[0]) if most else z, y, x)


def _tight_boxes(organ: str, configuration: Configuration, found: Fingerprint) -> list[Index3]:
    """Return the organ's box in coarse cells in every case that shows it."""
    now = np.multiply(configuration.preparation.spacing_zyx_mm, configuration.network.total_stride_zyx)
    ratio = np.multiply(found.spacing_zyx_mm, found.stride_zyx) / now
    boxes = [case.box_cells_zyx[organ] for case in found.cases if organ in case.box_cells_zyx]
    return [_triple(np.ceil(np.round(box * ratio, 6))) for box in boxes]


def _widest_box(organ: str, configuration: Configuration, found: Fingerprint, grid: Index3) -> Index3 | None:
    """Return the largest training box: up to twice the organ's, drawn in until the cap holds."""
    tight = _tight_boxes(organ, configuration, found)
    cap = cap_of([math.prod(box) for box in tight], configuration.boxes)
    widest = [_drawn_in(_within(box, grid), grid, cap, configuration) for box in tight]
    return max(widest, key=math.prod, default=None)


def _drawn_in(tight: Index3, grid: Index3, cap_cells: float, configuration: Configuration) -> Index3:
    jitter, least = 2 * configuration.boxes.jitter_cells, configuration.localisation.min_box_cells
    extra = [max(size, jitter) for size in tight]
    box = tight
    for part in np.linspace(1, 0, 21):
        box = _within(_triple(np.add(tight, np.floor(np.multiply(extra, part)))), grid)
        if math.prod(box) <= cap_cells:
            break
    return _within(_triple(np.maximum(box, least)), grid)


def _besides_step(configuration: Configuration, step: StepCost, sample: Sizes, *, organs: int) -> int:
    """Return what training holds besides a step's own: optimiser, averaged weights, samples."""
    train = configuration.train
    kept = OPTIMISER_STATES[train.optimiser] + bool(train.averaging)
    drawing = max(DRAWING_BYTES if configuration.augmentation.enabled else 0, MASK_BYTES * organs)
    ahead = train.prefetch * (drawing + SAMPLE_BYTES)
    return kept * step.weight_bytes + sample.voxels * (train.batch_cases * SAMPLE_BYTES + ahead)


def _besides_validation(configuration: Configuration, step: StepCost, scan: Sizes) -> int:
    train = configuration.train
    kept = 2 + OPTIMISER_STATES[train.optimiser]
    drawn = max((math.prod(box) for box in scan.boxes_zyx.values()), default=0)
    return kept * step.weight_bytes + SAMPLE_BYTES * scan.voxels + DRAWN_BYTES * drawn


def _need(stage: Stage, step: StepCost, besides: int, *, device: torch.device) -> StageNeed:
    if device.type == "cuda":
        vram = round((step.peak_bytes + besides) * (1 + ALLOCATOR_WASTE)) + CONTEXT_BYTES
        return StageNeed(stage=stage, ram_bytes=PROCESS_BYTES["cuda"], vram_bytes=vram, step=step)
    ram = PROCESS_BYTES["cpu"] + step.peak_bytes + round(HEAP_WASTE[stage] * step.small_bytes) + besides
    return StageNeed(stage=stage, ram_bytes=ram, vram_bytes=0, step=step)


def _preparation(found: Fingerprint, device: torch.device, workers: int) -> StageNeed:
    def bytes_of(case: CaseFingerprint) -> int:
        scan, resampled = math.prod(case.shape_zyx), math.prod(case.resampled_shape_zyx)
        return max(READ_BYTES * scan, KEPT_BYTES * scan + RESAMPLED_BYTES * resampled)

    most = max(bytes_of(case) for case in found.cases)
    base = PROCESS_BYTES["cuda" if device.type == "cuda" else "cpu"]
    return StageNeed(stage="preparation", ram_bytes=base + workers * most, vram_bytes=0)


def _cells(shape_zyx: Index3, configuration: Configuration) -> Index3:
    return _triple(np.floor_divide(shape_zyx, configuration.network.total_stride_zyx))


def _voxels(cells_zyx: Index3, configuration: Configuration) -> Index3:
    return _triple(np.multiply(cells_zyx, configuration.network.total_stride_zyx))


def _whole_cells(shape: np.ndarray, configuration: Configuration) -> Index3:
    stride = np.array(configuration.network.total_stride_zyx)
    return _triple(np.ceil(shape / stride) * stride)


def _within(cells_zyx: Index3, grid_zyx: Index3) -> Index3:
    return _triple(np.minimum(cells_zyx, grid_zyx))


def _triple(values: np.ndarray) -> Index3:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
