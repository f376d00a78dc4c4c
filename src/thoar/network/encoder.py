"""The encoder that the coarse and the fine network share (S4 to S7)."""

from jaxtyping import Float
from torch import Tensor, nn

from thoar.core.configuration import Network
from thoar.network.blocks import ConvolutionUnit, ResidualBlock

Levels = list[Float[Tensor, "batch _channel _z _y _x"]]
"""Features of the stem and of each residual block, finest first."""


class Encoder(nn.Module):
    """A stem convolution and residual blocks; every level's features are handed out.

    Args:
        configuration: widths, strides, dilations. The paper's: 16 to 256 channels, 1/(2, 8, 8) at the end.
    """

    def __init__(self, configuration: Network) -> None:
        super().__init__()
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
        levels: Levels = [self.stem(image)]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        return levels
