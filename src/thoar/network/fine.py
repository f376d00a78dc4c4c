"""One organ's fine decoder, from its crops to its mask at full resolution (S14 to S17)."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.configuration import Network
from thoar.network.blocks import ConvolutionUnit, ResidualBlock, convolution
from thoar.network.encoder import Levels


class FineDecoder(nn.Module):
    """Level by level upward: convolution and ReLU, upsampling, addition, residual block.

    Args:
        configuration: widths of the encoder's levels.
    """

    def __init__(self, configuration: Network) -> None:
        super().__init__()
        upward = list(itertools.pairwise(reversed(configuration.channels_of_levels)))
        self.narrow = nn.ModuleList(ConvolutionUnit(below, above) for below, above in upward)
        self.refine = nn.ModuleList(ResidualBlock(above, above) for _, above in upward)
        self.last = convolution(configuration.stem_channels, 1, bias=True)

    def forward(self, crops: Levels) -> Float[Tensor, "batch 1 z y x"]:
        """Return the organ's probability, float32, on the grid of the finest crop."""
        *uppers, features = crops
        for narrow, refine, upper in zip(self.narrow, self.refine, reversed(uppers), strict=True):
            features = _upsampled(narrow(features), upper)
            features = refine(features + upper)
        return torch.sigmoid(self.last(features).float())


def _upsampled(features: Tensor, like: Tensor) -> Tensor:
    if features.shape[2:] == like.shape[2:]:
        return features
    return functional.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)
