"""Soft Dice and the mining of hard voxels (S10, S17, S18).

Probabilities p and targets g are float tensors of one organ; every loss is a scalar.
"""

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thoar.core.configuration import Loss

Map = Float[Tensor, "z y x"]
Scalar = Float[Tensor, ""]


def dice_loss(probability: Map, target: Map, *, loss: Loss, weight: Map | None = None) -> Scalar:
    """Return one organ's soft Dice loss.

    With ``loss.union == "sum"``: 1 − (2 Σ w p g + s) / (Σ w p + Σ w g + s), from 0 to 1.
    With ``"literal"``, the paper's formula as printed: 1 − 2 (Σ w p g + s/2) / (Σ w (p + g − p g) + s),
    which runs from −1 to 1 and is not clamped.

    Args:
        probability: p.
        target: g, 0 or 1.
        loss: ``union`` and ``smoothing`` s.
        weight: w per voxel, 1 where None.
    """
    shared = probability * target
    total = probability + target - shared if loss.union == "literal" else probability + target
    if weight is not None:
        shared, total = shared * weight, total * weight
    return 1 - (2 * shared.sum() + loss.smoothing) / (total.sum() + loss.smoothing)


def soft_dice(probability: Map, target: Map, *, loss: Loss) -> Scalar:
    """Return the unweighted soft Dice, 1 at best, for logs; ``loss`` gives the smoothing alone."""
    return 1 - dice_loss(probability, target, loss=msgspec.structs.replace(loss, union="sum"))


def absent_loss(probability: Map) -> Scalar:
    """Return what a coarse map says where an organ is known to be absent: Σ p² / (Σ p + 1), 0 to 1.

    The mean probability of a cell that is drawn as often as the map claims it: unlike Dice with an empty
    target, its gradient does not fade where much is claimed.
    """
    return probability.square().sum() / (probability.sum() + 1)


def coarse_loss(
    probability: Float[Tensor, "organ z y x"],
    target: Float[Tensor, "organ z y x"],
    *,
    labelled: list[bool],
    loss: Loss,
) -> Scalar:
    """Return the mean loss over a sample's organs (S10).

    Args:
        probability: F_ave without its background channel.
        target: the labels' maximum over each coarse cell.
        labelled: organs that are not labelled in this sample give no term.
        loss: ``absent`` says what a labelled organ without a voxel gives.

    Returns:
        0, without a gradient, where no organ gives a term.
    """
    terms: list[Tensor] = []
    for p, g, known in zip(probability, target, labelled, strict=True):
        if known and bool(g.any()):
            terms.append(dice_loss(p, g, loss=loss))
        elif known and loss.absent == "suppress":
            terms.append(absent_loss(p))
    return torch.stack(terms).mean() if terms else probability.new_zeros(())


def fine_loss(probability: Map, target: Map, *, loss: Loss, alpha: float) -> Scalar:
    """Return one organ's fine loss with its hard voxels mined (S17, S18).

    ``weights`` puts 1 + alpha·|p − g|^gamma, detached, inside the Dice sums. ``topk`` adds the mean
    cross-entropy of the hardest voxels. ``ohem`` keeps, of the background, only its hardest voxels in the
    Dice sums. ``none`` is plain Dice.

    Args:
        probability: in the organ's box.
        target: likewise.
        loss: which mining, and its numbers.
        alpha: of ``weights``, as its ramp stands.
    """
    match loss.mining:
        case "weights":
            weight = 1 + alpha * (probability - target).detach().abs() ** loss.mining_gamma
            return dice_loss(probability, target, loss=loss, weight=weight)
        case "topk":
            known = probability.nan_to_num(0.5)  # torch would abort; Dice passes what is no number on
            entropy = functional.binary_cross_entropy(known, target, reduction="none").flatten()
            hardest = entropy.topk(_count(entropy.numel(), loss.hardest_fraction)).values
            return dice_loss(probability, target, loss=loss) + hardest.mean()
        case "ohem":
            weight = _hardest_background(probability.detach(), target, loss.hardest_fraction)
            return dice_loss(probability, target, loss=loss, weight=weight)
        case "none":
            return dice_loss(probability, target, loss=loss)


def mining_alpha(loss: Loss, *, joint_epoch: int) -> float:
    """Return alpha in a joint epoch, counted from 0: it rises evenly and is whole from the ramp's end."""
    if loss.mining_ramp_epochs <= 0:
        return loss.mining_alpha
    return loss.mining_alpha * min(1.0, joint_epoch / loss.mining_ramp_epochs)


def _hardest_background(probability: Tensor, target: Tensor, fraction: float) -> Tensor:
    """Return 1 for the organ's voxels and for the background voxels of highest probability, else 0."""
    background = target == 0
    scores = probability[background]
    weight = (~background).to(probability.dtype)
    if scores.numel():
        least = scores.topk(_count(scores.numel(), fraction)).values[-1]
        weight = torch.where(background & (probability >= least), torch.ones_like(weight), weight)
    return weight


def _count(total: int, fraction: float) -> int:
    return max(1, round(total * fraction))
