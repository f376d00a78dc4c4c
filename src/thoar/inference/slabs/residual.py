"""A residual block by slabs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from thoar.inference.slabs.maps import Layer, Map, Sum, convolved, layer_of
from thoar.inference.slabs.precision import Precision
from thoar.network.blocks import ResidualBlock


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residual:
    """A residual block's weights; :class:`thoar.network.blocks.ResidualBlock`.

    Attributes:
        layers: of the residual, each but the last with a ReLU.
        shortcut: None where it is the identity.
        precision: of its maps.
    """

    layers: Sequence[Layer]
    shortcut: Layer | None
    precision: Precision

    @classmethod
    def of(cls, block: ResidualBlock, precision: Precision) -> "Residual":
        """Take over the weights of a block."""
        parts = [part for part in block.residual if not isinstance(part, nn.ReLU)]
        pairs = [(cast("nn.Conv3d", parts[i]), parts[i + 1]) for i in range(0, len(parts), 2)]
        shortcut = None
        if isinstance(block.shortcut, nn.Sequential):
            projection, norm = block.shortcut
            shortcut = layer_of(cast("nn.Conv3d", projection), norm, relu=False, compute=precision.compute)
        return cls(
            layers=[
                layer_of(convolution, norm, relu=number < len(pairs), compute=precision.compute)
                for number, (convolution, norm) in enumerate(pairs, start=1)
            ],
            shortcut=shortcut,
            precision=precision,
        )

    def __call__(self, source: Map) -> Sum:
        """Return the block's features of a map, which are computed when they are asked for."""
        first, *others = self.layers
        taken = [first] if self.shortcut is None or not self.precision.together else [first, self.shortcut]
        features, *besides = convolved(source, taken, self.precision)
        for layer in others:
            (features,) = convolved(features, [layer], self.precision)
        if self.shortcut is None:
            return Sum(residual=features, shortcut=source)
        (shortcut,) = besides or convolved(source, [self.shortcut], self.precision)
        return Sum(residual=features, shortcut=shortcut)
