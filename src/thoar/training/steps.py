"""One training step of either stage: a sample in, gradients on the weights out."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from thoar.core.box import Box
from thoar.core.configuration import Configuration
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
        device: where it computes.
        cap_cells: per organ, most cells of a training box.
    """

    configuration: Configuration
    label_set: LabelSet
    device: torch.device
    cap_cells: dict[str, float]

    def autocast(self) -> torch.autocast:
        """Return the precision the network computes in."""
        enabled = self.configuration.train.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


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
        )
    masks = torch.stack([(labels == organ.id).float() for organ in context.label_set.organs])
    return Sample(
        case=case,
        image=image,
        labels=labels,
        coarse=functional.max_pool3d(masks[None], stride_zyx)[0],
        labelled=[name in case.organs for name in context.label_set.names],
    )


def coarse_step(network: CoarseToFineNetwork, sample: Sample, context: Context) -> dict[str, float]:
    """Add the coarse loss's gradients to the weights and return the losses by name."""
    with context.autocast():
        levels = network.encode(sample.image[None, None])
        maps = network.locate(levels)
    loss = _coarse_loss(maps, sample, context)
    if loss.requires_grad:
        loss.backward()
    return {"coarse": loss.item(), **_head_losses(maps, sample, context)}


def joint_step(
    network: CoarseToFineNetwork,
    sample: Sample,
    context: Context,
    *,
    epoch: int,
    localisation: dict[str, OrganLocalisation],
) -> dict[str, float]:
    """Add the gradients of coarse and fine losses to the weights and return the losses by name.

    Every decoder's loss goes back into detached copies of the levels, one organ at a time, and their sum
    once through the encoder: memory holds one decoder's activations, not all (S19).

    Args:
        network: in training mode.
        sample: one case.
        context: of the run.
        epoch: of the run, counted over both stages.
        localisation: how boxes are predicted.
    """
    with context.autocast():
        levels = network.encode(sample.image[None, None])
    leaves: Levels = [level.detach().requires_grad_() for level in levels]
    with context.autocast():
        maps = network.locate(leaves)
    loss = _coarse_loss(maps, sample, context)
    if loss.requires_grad:
        loss.backward()
    losses = {"coarse": loss.item(), **_head_losses(maps, sample, context)}
    boxes = _boxes(maps, sample, context, epoch=epoch, localisation=localisation)
    for organ, box in boxes.items():
        losses |= _organ_step(
            network, leaves, organ, box, sample=sample, context=context, epoch=epoch, share=1 / len(boxes)
        )
    reached = [
        (level, leaf.grad) for level, leaf in zip(levels, leaves, strict=True) if leaf.grad is not None
    ]
    if reached:
        torch.autograd.backward([level for level, _ in reached], [gradient for _, gradient in reached])
    return losses


def _organ_step(
    network: CoarseToFineNetwork,
    leaves: Levels,
    organ: str,
    box_zyx: Box,
    *,
    sample: Sample,
    context: Context,
    epoch: int,
    share: float,
) -> dict[str, float]:
    settings, train = context.configuration.loss, context.configuration.train
    target = (sample.labels[box_zyx.slices] == context.label_set.organ(organ).id).float()
    with context.autocast():
        probability = network.draw(leaves, organ, box_zyx)[0, 0]
    alpha = mining_alpha(settings, joint_epoch=epoch - train.coarse_epochs)
    loss = fine_loss(probability, target, loss=settings, alpha=alpha)
    (share * loss).backward()
    dice = soft_dice(probability.detach(), target, loss=settings)
    return {f"fine_{organ}": loss.item(), f"fine_dice_{organ}": dice.item()}


def _coarse_loss(maps: CoarseMaps, sample: Sample, context: Context) -> Tensor:
    return coarse_loss(
        maps.probability[0, 1:], sample.coarse, labelled=sample.labelled, loss=context.configuration.loss
    )


def _head_losses(maps: CoarseMaps, sample: Sample, context: Context) -> dict[str, float]:
    """Return every head's own soft Dice and the maximum of F_ave, per organ with a voxel in the sample."""
    settings, values = context.configuration.loss, {}
    for index, name in enumerate(context.label_set.names):
        target = sample.coarse[index]
        if not sample.labelled[index] or not target.any():
            continue
        for number, head in enumerate(maps.heads, start=1):
            dice = soft_dice(head[0, 1 + index].detach(), target, loss=settings)
            values[f"head{number}_dice_{name}"] = dice.item()
        values[f"coarse_max_{name}"] = maps.probability[0, 1 + index].max().item()
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
