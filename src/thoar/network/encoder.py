"""The encoder that the coarse and the fine network share (S4 to S7)."""

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from jaxtyping import Float
from torch import Size, Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from thoar.core.configuration import Network
from thoar.network.blocks import ConvolutionUnit, ResidualBlock

Levels = list[Float[Tensor, "batch _channel _z _y _x"]]
"""Features of the stem and of each residual block, finest first."""


@runtime_checkable
class Level(Protocol):
    """Features of one level: a tensor, or what gives those of a box when they are asked for."""

    @property
    def shape(self) -> Size:
        """(batch, channel, z, y, x)."""
        ...

    def __getitem__(self, part: tuple[slice, ...], /) -> Tensor:
        """Return the features inside a box, given by a slice for each of the five axes."""
        ...


KeptLevels = Sequence[Level]
"""Levels of which nothing but boxes is wanted."""


class Encoder(nn.Module):
    """A stem convolution and residual blocks; every level's features are handed out.

    Args:
        configuration: widths, strides, dilations. The paper's: 16 to 256 channels, 1/(2, 8, 8) at the end.

    Attributes:
        recomputed_levels: so many first levels keep only their input and are computed again on the way back:
            the finest take most of the memory. What comes out is the same.
    """

    def __init__(self, configuration: Network) -> None:
        super().__init__()
        self.recomputed_levels = 0
        self.stem = ConvolutionUnit(1, configuration.stem_channels)
        widths = configuration.channels_of_levels
        self.blocks = nn.ModuleList(
            ResidualBlock(
                before,
                block.channels,
                convolutions=block.convolutions,
                stride_zyx=block.stride_zyx,
                dilation=block.dilation,
                shortcut_kernel=configuration.shortcut_kernel,
            )
            for before, block in zip(widths, configuration.blocks, strict=False)
        )

    def forward(self, image: Float[Tensor, "batch 1 z y x"]) -> Levels:
        """Return the features of every level of an image.

        The image's axes must be multiples of the total stride, so that every level divides evenly.
        """
        levels: Levels = []
        features = image
        for index, layer in enumerate((self.stem, *self.blocks)):
            if index < self.recomputed_levels and is_grad_enabled():
                features = _recomputed(layer, features)
            else:
                features = layer(features)
            levels.append(features)
        return levels


def _recomputed(layer: nn.Module, features: Tensor) -> Tensor:
    """Return a layer's output, whose inner values are not kept for the way back."""
    return cast("Tensor", checkpoint(layer, features, use_reentrant=False, preserve_rng_state=False))
