"""The coarse decoder: three heads on the last three blocks, averaged on the coarse grid (S8, S9)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.configuration import Network
from thoar.network.blocks import convolution, single_or_double
from thoar.network.encoder import Levels

HEADS = 3


class CoarseMaps(NamedTuple):
    """What the coarse decoder says, in float32 on the coarse grid.

    Attributes:
        probability: the average, the paper's F_ave; channel 0 is background (untrained, never read),
            then the organs.
        heads: the paper's F1, F2, F3 on the same grid, for logs.
    """

    probability: Float[Tensor, "batch channel z y x"]
    heads: tuple[Float[Tensor, "batch channel z y x"], ...]


class CoarseDecoder(nn.Module):
    """A convolution per head; the heads of finer blocks are average-pooled to the coarse grid.

    Args:
        configuration: widths and strides of the blocks, and how the heads are averaged.
        organs: how many; one channel more stands for the background.
    """

    def __init__(self, configuration: Network, organs: int) -> None:
        super().__init__()
        widths = configuration.channels_of_levels[-HEADS:]
        self.heads = nn.ModuleList(convolution(width, 1 + organs, bias=True) for width in widths)
        self.average: Literal["sigmoids", "logits"] = configuration.average

    def forward(self, levels: Levels) -> CoarseMaps:
        """Return the coarse maps of the encoder's levels."""
        z, y, x = levels[-1].shape[2:]
        logits = [
            single_or_double(head(level)) for head, level in zip(self.heads, levels[-HEADS:], strict=True)
        ]
        if self.average == "logits":
            pooled = [functional.adaptive_avg_pool3d(map_, (z, y, x)) for map_ in logits]
            return CoarseMaps(
                torch.sigmoid(torch.stack(pooled).mean(0)), tuple(torch.sigmoid(map_) for map_ in pooled)
            )
        heads = [functional.adaptive_avg_pool3d(torch.sigmoid(map_), (z, y, x)) for map_ in logits]
        return CoarseMaps(torch.stack(heads).mean(0), tuple(heads))


def joined(maps: Sequence[CoarseMaps]) -> CoarseMaps:
    """Return one decoder's maps, followed by the organs' channels of the others."""
    if len(maps) == 1:
        return maps[0]
    heads = zip(*(one.heads for one in maps), strict=True)
    return CoarseMaps(_organs_joined([one.probability for one in maps]), tuple(map(_organs_joined, heads)))


def _organs_joined(maps: Sequence[Tensor]) -> Tensor:
    return torch.cat([maps[0], *(other[:, 1:] for other in maps[1:])], dim=1)
