"""One training step of either stage: a sample in, gradients on the weights out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from thoar.core.box import Box
from thoar.core.configuration import Configuration, Train
from thoar.core.labels import LabelSet
from thoar.core.random import rng_for
from thoar.inference.localisation import OrganLocalisation, box_of_cells, coarse_mask
from thoar.network.coarse import CoarseMaps
from thoar.network.encoder import Levels
from thoar.network.network import CoarseToFineNetwork
from thoar.training.augmentation import augment, draw_augmentation
from thoar.training.boxes import training_box, uses_prediction
from thoar.training.cases import TrainingCase
from thoar.training.losses import coarse_loss, fine_loss, mining_alpha, soft_dice

Losses = dict[str, Float[Tensor, ""]]
"""By name, detached, on whatever device they were computed."""

LOW_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A case as one step sees it.

    Attributes:
        case: where it comes from.
        image: 0 to 1, on the device.
        labels: ids on the same grid.
        coarse: per organ of the label set, its coarse target.
        labelled: per organ, whether it is labelled in this case.
    """

    case: TrainingCase
    image: Float[Tensor, "z y x"]
    labels: UInt8[Tensor, "z y x"]
    coarse: Float[Tensor, "organ cz cy cx"]
    labelled: list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every step of a run shares.

    Attributes:
        configuration: the run's.
        label_set: its organs.
        device: where the encoder and the coarse heads compute, and samples lie.
        decoder_device: where the fine decoders compute; None for the same (S19's split over two devices).
        cap_cells: per organ, most cells of a training box.
    """

    configuration: Configuration
    label_set: LabelSet
    device: torch.device
    decoder_device: torch.device | None = None
    cap_cells: dict[str, float]

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of all losses that a step may return."""
        kinds = ("fine", "fine_dice", "coarse_max", "head1_dice", "head2_dice", "head3_dice")
        return ("coarse", *(f"{kind}_{name}" for kind in kinds for name in self.label_set.names))


def precision_of(train: Train, device: torch.device) -> torch.autocast:
    """Return the precision the network computes in; losses and sigmoids leave it for float32 themselves."""
    dtype = LOW_PRECISIONS.get(train.precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def draw_sample(case: TrainingCase, context: Context, *, epoch: int) -> Sample:
    """Return a case, changed at random as its epoch and id say."""
    configuration = context.configuration
    ranges, stride_zyx = configuration.augmentation, configuration.network.total_stride_zyx
    image = torch.from_numpy(np.array(case.image())).to(context.device)
    labels = torch.from_numpy(np.array(case.labels())).to(context.device)
    if ranges.enabled:
        rng = rng_for(configuration.train.seed, "augment", epoch, case.id)
        parameters = draw_augmentation(rng, ranges, coarse_slices=image.shape[0] // stride_zyx[0])
        image, labels = augment(
            image,
            labels,
            parameters=parameters,
            ranges=ranges,
            preparation=configuration.preparation,
            stride_z=stride_zyx[0],
            label_set=context.label_set,
        )
    masks = torch.stack([(labels == organ.id).float() for organ in context.label_set.organs])
    return Sample(
        case=case,
        image=image.double() if configuration.train.precision == "float64" else image,
        labels=labels,
        coarse=functional.max_pool3d(masks[None], stride_zyx)[0],
        labelled=[name in case.organs for name in context.label_set.names],
    )


def backward_coarse(
    network: CoarseToFineNetwork,
    image: Float[Tensor, "1 1 z y x"],
    *,
    loss: Callable[[CoarseMaps], Tensor],
    autocast: Callable[[], torch.autocast],
) -> None:
    """Add the gradients of a loss of the coarse maps to the weights.

    Like :func:`backward_joint` it asks no tensor for a value, so it runs on torch's ``meta`` device too.
    """
    with autocast():
        maps = network.locate(network.encode(image))
    value = loss(maps)
    if value.requires_grad:
        value.backward()


def backward_joint(
    network: CoarseToFineNetwork,
    image: Float[Tensor, "1 1 z y x"],
    *,
    coarse_loss: Callable[[CoarseMaps], Tensor],
    boxes: Callable[[CoarseMaps], Mapping[str, Box]],
    fine_loss: Callable[[str, Box, Tensor], Tensor],
    autocast: Callable[[], torch.autocast],
) -> None:
    """Add the gradients of coarse and fine losses to the weights.

    Every decoder's loss goes back into detached copies of the levels, one organ at a time, and their sum
    once through the encoder: memory holds one decoder's activations, not all (S19).

    Args:
        network: in training mode.
        image: one sample's.
        coarse_loss: of the coarse maps.
        boxes: which organs are drawn, and where, in voxels.
        fine_loss: of an organ, its box and its probability (z y x) there.
        autocast: gives the precision of the network's arithmetic.
    """
    with autocast():
        levels = cast("Levels", network.encode(image))
    leaves: Levels = [level.detach().requires_grad_(level.requires_grad) for level in levels]
    with autocast():
        maps = network.locate(leaves)
    value = coarse_loss(maps)
    wanted = boxes(maps)
    if value.requires_grad:
        value.backward()
    del value, maps
    for organ, box in wanted.items():
        with autocast():
            probability = network.draw(leaves, organ, box)[0, 0]
        fine_loss(organ, box, probability).backward()
        del probability
    reached = [
        (level, leaf.grad) for level, leaf in zip(levels, leaves, strict=True) if leaf.grad is not None
    ]
    if reached:
        torch.autograd.backward([level for level, _ in reached], [gradient for _, gradient in reached])


def coarse_step(
    network: CoarseToFineNetwork, sample: Sample, context: Context, *, weight: float = 1.0
) -> Losses:
    """Add the coarse loss's gradients, times a weight, to the weights and return the losses by name."""
    losses: Losses = {}

    def loss(maps: CoarseMaps) -> Tensor:
        value = _coarse_loss(maps, sample, context)
        losses.update({"coarse": value.detach(), **_head_losses(maps, sample, context)})
        return weight * value

    backward_coarse(
        network,
        sample.image[None, None],
        loss=loss,
        autocast=lambda: precision_of(context.configuration.train, context.device),
    )
    return losses


def joint_step(
    network: CoarseToFineNetwork,
    sample: Sample,
    context: Context,
    *,
    epoch: int,
    localisation: dict[str, OrganLocalisation],
    weight: float = 1.0,
) -> Losses:
    """Add the gradients of coarse and fine losses, times a weight, to the weights; return the losses.

    Args:
        network: in training mode.
        sample: one case.
        context: of the run.
        epoch: of the run, counted over both stages.
        localisation: how boxes are predicted.
        weight: of this sample in its batch.
    """
    settings, train = context.configuration.loss, context.configuration.train
    alpha = mining_alpha(settings, joint_epoch=epoch - train.coarse_epochs)
    losses: Losses = {}
    drawn: list[str] = []

    def loss_of_maps(maps: CoarseMaps) -> Tensor:
        value = _coarse_loss(maps, sample, context)
        losses.update({"coarse": value.detach(), **_head_losses(maps, sample, context)})
        return weight * value

    def boxes_of(maps: CoarseMaps) -> dict[str, Box]:
        boxes = _boxes(maps, sample, context, epoch=epoch, localisation=localisation)
        drawn.extend(boxes)
        return boxes

    def loss_of_organ(organ: str, box_zyx: Box, probability: Tensor) -> Tensor:
        target = sample.labels[box_zyx.slices] == context.label_set.organ(organ).id
        target = target.to(probability.device, probability.dtype)
        value = fine_loss(probability, target, loss=settings, alpha=alpha)
        dice = soft_dice(probability.detach(), target, loss=settings)
        losses.update({f"fine_{organ}": value.detach(), f"fine_dice_{organ}": dice})
        return weight / len(drawn) * value

    backward_joint(
        network,
        sample.image[None, None],
        coarse_loss=loss_of_maps,
        boxes=boxes_of,
        fine_loss=loss_of_organ,
        autocast=lambda: precision_of(train, context.device),
    )
    return losses


def _coarse_loss(maps: CoarseMaps, sample: Sample, context: Context) -> Tensor:
    return coarse_loss(
        maps.probability[0, 1:], sample.coarse, labelled=sample.labelled, loss=context.configuration.loss
    )


def _head_losses(maps: CoarseMaps, sample: Sample, context: Context) -> Losses:
    """Return every head's own soft Dice and the maximum of F_ave, per organ with a voxel in the sample."""
    settings, values = context.configuration.loss, dict[str, Tensor]()
    for index, name in enumerate(context.label_set.names):
        target = sample.coarse[index]
        if not sample.labelled[index] or not target.any():
            continue
        for number, head in enumerate(maps.heads, start=1):
            values[f"head{number}_dice_{name}"] = soft_dice(
                head[0, 1 + index].detach(), target, loss=settings
            )
        values[f"coarse_max_{name}"] = maps.probability[0, 1 + index].detach().max()
    return values


def _boxes(
    maps: CoarseMaps,
    sample: Sample,
    context: Context,
    *,
    epoch: int,
    localisation: dict[str, OrganLocalisation],
) -> dict[str, Box]:
    """Return the training box, in voxels, of every organ that has a voxel in the sample."""
    configuration = context.configuration
    settings, train = configuration.localisation, configuration.train
    progress = (epoch - train.coarse_epochs) / max(1, train.joint_epochs)
    boxes: dict[str, Box] = {}
    for index, name in enumerate(context.label_set.names):
        truth = Box.of_mask(sample.coarse[index].cpu().numpy() > 0)
        if truth is None or not sample.labelled[index]:
            continue
        rng = rng_for(train.seed, "box", epoch, sample.case.id, name)
        predicted = None
        if uses_prediction(configuration.boxes, joint_progress=progress, rng=rng):
            where = localisation[name]
            map_ = maps.probability[0, 1 + index].detach().cpu().numpy()
            cells = coarse_mask(map_, where.threshold, least_cells=settings.min_component_cells)
            predicted = box_of_cells(cells, where, least_cells_per_axis=settings.min_box_cells)
        box = training_box(
            truth,
            predicted=predicted,
            settings=configuration.boxes,
            cap_cells=context.cap_cells[name],
            least_cells_per_axis=settings.min_box_cells,
            grid=Box.of_shape(sample.coarse.shape[1:]),
            rng=rng,
        )
        boxes[name] = box.scaled_up(configuration.network.total_stride_zyx)
    return boxes
