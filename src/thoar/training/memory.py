"""What a step needs of memory and arithmetic, found by taking it with tensors that hold nothing.

The real step (:mod:`thoar.training.steps`) runs on torch's fake tensors, which have a shape, a device and an
autograd history but no values: a few tenths of a second for a scan of any size. What lives at the same time
is counted (:mod:`thoar.training.live`); what convolutions take besides was measured (:func:`_workspace`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import no_type_check

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.network.coarse import CoarseMaps
from thoar.network.encoder import Encoder
from thoar.network.network import CoarseToFineNetwork, build_network
from thoar.training.live import LiveStorages
from thoar.training.losses import dice_loss, fine_loss
from thoar.training.steps import backward_coarse, backward_joint, precision_of

BLOCKED_CHANNELS = 16
"""Convolutions on a CPU copy their maps into an order in which channels come in sixteens."""


class StepCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one step on one scan takes.

    Attributes:
        peak_bytes: most bytes alive at once: weights, gradients, the image, maps, what convolutions take.
        small_bytes: the same of blocks under :data:`thoar.training.live.SMALL_BYTES` alone.
        saved_bytes: of these, what the encoder's maps take when it is done: kept for the way back.
        weight_bytes: of these, the weights.
        flops: multiplications and additions of the convolutions.
    """

    peak_bytes: int
    small_bytes: int
    saved_bytes: int
    weight_bytes: int
    flops: int


def training_cost(
    configuration: Configuration,
    organs: Sequence[str],
    *,
    shape_zyx: Index3,
    boxes_zyx: Mapping[str, Index3] | None = None,
    device: torch.device | None = None,
) -> StepCost:
    """Return what a training step takes, without the optimiser's own state and without drawing the sample.

    Args:
        configuration: the network, its precision and what is computed again.
        organs: of the label set.
        shape_zyx: of the prepared scan.
        boxes_zyx: the shape of each organ's box in voxels, multiples of the total stride; the coarse stage's
            step where None.
        device: where it would run; a CPU by default. A GPU that is not here is taken for a CPU in what
            precision its operations have.
    """
    return _cost(
        lambda network, image: trial_step(network, image, configuration, boxes_zyx=boxes_zyx),
        configuration,
        organs,
        shape_zyx=shape_zyx,
        device=device,
    )


def trial_step(
    network: CoarseToFineNetwork,
    image: Float[Tensor, "1 1 z y x"],
    configuration: Configuration,
    *,
    boxes_zyx: Mapping[str, Index3] | None,
) -> None:
    """Take a training step towards empty masks, as :func:`training_cost` does; arguments as there."""

    def autocast() -> torch.autocast:
        return precision_of(configuration.train, image.device)

    if boxes_zyx is None:
        backward_coarse(network, image, loss=_coarse_loss(configuration), autocast=autocast)
        return
    boxes = _placed(boxes_zyx)
    backward_joint(
        network,
        image,
        coarse_loss=_coarse_loss(configuration),
        boxes=lambda _: boxes,
        fine_loss=_fine_loss(configuration),
        autocast=autocast,
    )


def trial_inference(
    network: CoarseToFineNetwork, image: Float[Tensor, "1 1 z y x"], *, boxes_zyx: Mapping[str, Index3]
) -> None:
    """Encode, locate and draw, as :func:`inference_cost` does; arguments as there."""
    with torch.no_grad():
        levels = network.encode(image)
        network.locate(levels)
        for organ, box in _placed(boxes_zyx).items():
            network.draw(levels, organ, box)


def trial_network(configuration: Configuration, organs: Sequence[str]) -> CoarseToFineNetwork:
    """Return a network as a run has it, frozen and computed again where the configuration says so."""
    network = build_network(configuration.network, organs).train()
    for module in network.modules():
        if isinstance(module, Encoder):
            module.recomputed_levels = configuration.train.recomputed_levels
    if not configuration.train.encoder_rate:
        network.encoder.requires_grad_(requires_grad=False)
    return network


def inference_cost(
    configuration: Configuration,
    organs: Sequence[str],
    *,
    shape_zyx: Index3,
    boxes_zyx: Mapping[str, Index3],
    device: torch.device | None = None,
) -> StepCost:
    """Return what one scan takes in validation, without its preparation; arguments as in training."""
    return _cost(
        lambda network, image: trial_inference(network, image, boxes_zyx=boxes_zyx),
        configuration,
        organs,
        shape_zyx=shape_zyx,
        device=device,
    )


def _cost(
    step: Callable[[CoarseToFineNetwork, Tensor], None],
    configuration: Configuration,
    organs: Sequence[str],
    *,
    shape_zyx: Index3,
    device: torch.device | None,
) -> StepCost:
    """Return what a step takes that is given a network and an image of fake tensors."""
    target = device or torch.device("cpu")
    on_gpu = target.type == "cuda"
    here = target if on_gpu and torch.cuda.is_available() else torch.device("cpu")
    live = LiveStorages(partial(_workspace, on_cpu=not on_gpu))
    with FakeTensorMode():
        with torch.device(here):
            network = trial_network(configuration, organs)
        for weight in network.parameters():
            live.count(weight)
        weight_bytes, kept = live.bytes, list[int]()
        network.encoder.register_forward_hook(lambda *_: kept.append(live.bytes - weight_bytes))
        with live:
            step(network, torch.empty((1, 1, *shape_zyx), device=here))
    return StepCost(
        peak_bytes=live.peak_bytes,
        small_bytes=live.peak_small_bytes,
        saved_bytes=kept[0],
        weight_bytes=weight_bytes,
        flops=live.flops,
    )


def _coarse_loss(configuration: Configuration) -> Callable[[CoarseMaps], Tensor]:
    def loss(maps: CoarseMaps) -> Tensor:
        drawn = maps.probability[0, 1:]
        return torch.stack([dice_loss(p, torch.zeros_like(p), loss=configuration.loss) for p in drawn]).mean()

    return loss


def _fine_loss(configuration: Configuration) -> Callable[[str, Box, Tensor], Tensor]:
    """Return the fine loss; in place of ``ohem``, which asks for values, ``topk``, which holds as much."""
    settings = configuration.loss
    if settings.mining == "ohem":
        settings = msgspec.structs.replace(settings, mining="topk")

    def loss(_: str, __: Box, probability: Tensor) -> Tensor:
        target = torch.zeros_like(probability)
        return fine_loss(probability, target, loss=settings, alpha=settings.mining_alpha)

    return loss


def _placed(boxes_zyx: Mapping[str, Index3]) -> dict[str, Box]:
    return {organ: Box.of_shape(shape) for organ, shape in boxes_zyx.items()}


@no_type_check
def _workspace(name: str, given: list[Tensor], made: list[Tensor], *, on_cpu: bool) -> list[int]:
    """Return the blocks that a convolution takes besides its tensors.

    Measured on a CPU (oneDNN, AVX-512; ``benchmarks/memory.py``): forward one copy of the larger map in
    blocks of channels, backward one of both, as float32 where both are wide. Of a GPU, which lays channels
    out last, it is an estimate: the same copies, never wider.
    """
    if not name.startswith("convolution"):
        return []
    backward = "backward" in name
    maps = given[:2] if backward else [given[0], made[0]]
    wide = on_cpu and all(map_.shape[1] >= BLOCKED_CHANNELS for map_ in maps)
    sizes = [_blocked_bytes(map_, 4 if backward and wide else map_.element_size()) for map_ in maps]
    return sizes if backward else [max(sizes)]


def _blocked_bytes(map_: Tensor, value_bytes: int) -> int:
    channels = map_.shape[1]
    blocked = channels if channels == 1 else -(-channels // BLOCKED_CHANNELS) * BLOCKED_CHANNELS
    return map_.shape[0] * blocked * math.prod(map_.shape[2:]) * value_bytes
