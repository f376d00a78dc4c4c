"""How fast a device takes training steps, measured by a short trial."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from thoar.core.box import Index3
from thoar.core.configuration import Augmentation, Configuration
from thoar.training.augmentation import AugmentationParameters, augment
from thoar.training.memory import training_cost, trial_network, trial_step

TRIAL_CELLS = {"cpu": (12, 12, 12), "cuda": (32, 32, 32)}
"""Coarse cells of the trial's scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of one device with one network.

    Attributes:
        flops_per_s: of a joint step.
        drawing_s_per_voxel: for changing a sample at random.
    """

    flops_per_s: float
    drawing_s_per_voxel: float


def measured_speed(configuration: Configuration, organs: Sequence[str], *, device: torch.device) -> Speed:
    """Take a few joint steps on a small scan of noise and return how fast they were; a few seconds."""
    z, y, x = TRIAL_CELLS["cuda" if device.type == "cuda" else "cpu"]
    sz, sy, sx = configuration.network.total_stride_zyx
    shape = (z * sz, y * sy, x * sx)
    boxes = dict.fromkeys(organs, (z // 2 * sz, y // 2 * sy, x // 2 * sx))
    network = trial_network(configuration, organs).to(device)
    image = torch.rand((1, 1, *shape), device=device)
    cost = training_cost(configuration, organs, shape_zyx=shape, boxes_zyx=boxes)
    step_s = _shortest(lambda: trial_step(network, image, configuration, boxes_zyx=boxes), device)
    return Speed(
        flops_per_s=cost.flops / step_s,
        drawing_s_per_voxel=_drawing_s(configuration, shape, device) / math.prod(shape),
    )


def _drawing_s(configuration: Configuration, shape_zyx: Index3, device: torch.device) -> float:
    """Return how long a change of every kind takes, times how often each happens."""
    ranges = configuration.augmentation
    if not ranges.enabled:
        return 0.0
    image = torch.rand(shape_zyx, device=device)
    labels = torch.zeros(shape_zyx, dtype=torch.uint8, device=device)
    labels[: shape_zyx[0] // 2] = 1

    def change() -> None:
        augment(
            image,
            labels,
            parameters=_everything(ranges),
            ranges=ranges,
            preparation=configuration.preparation,
            stride_z=configuration.network.total_stride_zyx[0],
        )

    return ranges.probability * _shortest(change, device)


def _everything(ranges: Augmentation) -> AugmentationParameters:
    return AugmentationParameters(
        rotation_degrees_zyx=ranges.rotation_degrees_zyx,
        scale_zyx=(1 + ranges.scale, 1.0, 1.0),
        elastic_mm=ranges.elastic_mm,
        noise_hu=ranges.noise_hu,
        blur_mm=ranges.blur_mm,
        thick_slices_mm=ranges.thick_slices_mm,
    )


def _shortest(work: Callable[[], None], device: torch.device, *, times: int = 3) -> float:
    seconds: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
