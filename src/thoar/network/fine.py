"""One organ's fine decoder, from its crops to its mask at full resolution (S14 to S17)."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.configuration import Network
from thoar.network.blocks import ConvolutionUnit, ResidualBlock, convolution, single_or_double
from thoar.network.encoder import Levels


class FineDecoder(nn.Module):
    """Level by level upward: convolution and ReLU, upsampling, addition, residual block.

    Args:
        configuration: widths of the encoder's levels and of the decoder's own; where they differ, a 1×1×1
            convolution leads from the former to the latter.
    """

    def __init__(self, configuration: Network) -> None:
        super().__init__()
        given, widths = configuration.channels_of_levels, configuration.decoder_channels_of_levels
        self.enter = nn.ModuleList(_entrance(*pair) for pair in zip(given, widths, strict=True))
        upward = list(itertools.pairwise(reversed(widths)))
        self.narrow = nn.ModuleList(ConvolutionUnit(below, above) for below, above in upward)
        self.refine = nn.ModuleList(ResidualBlock(above, above) for _, above in upward)
        self.last = convolution(widths[0], 1, bias=True)

    def forward(self, crops: Levels) -> Float[Tensor, "batch 1 z y x"]:
        """Return the organ's probability on the grid of the finest crop, on this decoder's own device."""
        here = self.last.weight.device
        *uppers, features = (enter(crop.to(here)) for enter, crop in zip(self.enter, crops, strict=True))
        for narrow, refine, upper in zip(self.narrow, self.refine, reversed(uppers), strict=True):
            features = _upsampled(narrow(features), upper)
            features = refine(features + upper)
        return torch.sigmoid(single_or_double(self.last(features)))


def _entrance(channels_in: int, channels_out: int) -> nn.Module:
    if channels_in == channels_out:
        return nn.Identity()
    return convolution(channels_in, channels_out, kernel=1, bias=True)


def _upsampled(features: Tensor, like: Tensor) -> Tensor:
    if features.shape[2:] == like.shape[2:]:
        return features
    return functional.interpolate(features, size=like.shape[2:], mode="trilinear", align_corners=False)
