"""The pieces that encoder and decoders are made of."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thoar.core.box import Index3

KERNEL = 3
"""Every convolution is 3×3×3 (S20), the shortcut's projection too; of other recipes, not every projection."""


def convolution(
    channels_in: int,
    channels_out: int,
    *,
    stride_zyx: Index3 = (1, 1, 1),
    dilation: int = 1,
    kernel: int = KERNEL,
    bias: bool = False,
) -> nn.Conv3d:
    """Return a cubic convolution of odd size whose output has ``ceil(size / stride)`` voxels per axis.

    Its padding is 0, which stands for air (see the HU window in method.md).
    """
    padding = dilation * (kernel // 2)
    return nn.Conv3d(
        channels_in, channels_out, kernel, stride=stride_zyx, padding=padding, dilation=dilation, bias=bias
    )


def normalisation(channels: int) -> nn.Module:
    """Return the norm that follows a convolution: instance norm with scale and shift, since batches are 1."""
    return nn.InstanceNorm3d(channels, affine=True)


def single_or_double(values: Tensor) -> Tensor:
    """Return values out of half precision, in which sigmoids and losses are not computed."""
    return values if values.dtype == torch.float64 else values.float()


class ConvolutionUnit(nn.Sequential):
    """Convolution, norm, ReLU: the stem, and each step up in a fine decoder."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            convolution(channels_in, channels_out), normalisation(channels_out), nn.ReLU(inplace=True)
        )


class ResidualBlock(nn.Module):
    """Convolutions with norms, the input added before the last ReLU (S6, S7; post-activation).

    The stride sits in the first convolution, the dilation in all. The shortcut is the identity where the
    shape is kept, else one strided, undilated convolution of ``shortcut_kernel`` cubed with a norm.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        convolutions: int = 2,
        stride_zyx: Index3 = (1, 1, 1),
        dilation: int = 1,
        shortcut_kernel: int = KERNEL,
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * convolutions
        layers: list[nn.Module] = []
        for position, (before, after) in enumerate(itertools.pairwise(widths)):
            if position:
                layers.append(nn.ReLU(inplace=True))
            stride = stride_zyx if position == 0 else (1, 1, 1)
            layers += [
                convolution(before, after, stride_zyx=stride, dilation=dilation),
                normalisation(after),
            ]
        self.residual = nn.Sequential(*layers)
        keeps_shape = channels_in == channels_out and stride_zyx == (1, 1, 1)
        self.shortcut = (
            nn.Identity()
            if keeps_shape
            else nn.Sequential(
                convolution(channels_in, channels_out, stride_zyx=stride_zyx, kernel=shortcut_kernel),
                normalisation(channels_out),
            )
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Float[Tensor, "batch in z y x"]) -> Float[Tensor, "batch out z2 y2 x2"]:
        """Return the block's features, on the strided grid."""
        return self.activation(self.residual(features) + self.shortcut(features))
