"""A network whose parts work by slabs."""

import copy
from typing import cast

from torch import Tensor, nn

from thoar.inference.slabs.decoder import SlabDecoder
from thoar.inference.slabs.encoder import SlabEncoder
from thoar.inference.slabs.precision import Precision
from thoar.network.coarse import HEADS, CoarseDecoder, CoarseMaps
from thoar.network.encoder import Encoder, KeptLevels
from thoar.network.fine import FineDecoder
from thoar.network.network import CoarseToFineNetwork


def by_slabs(network: CoarseToFineNetwork, precision: Precision) -> CoarseToFineNetwork:
    """Return a network for inference with a network's weights as they are now, where they lie now.

    Every encoder and fine decoder in it is replaced, whatever it is composed of (an ensemble, say). Its maps
    differ from the given network's by rounding.

    Args:
        network: in evaluation mode; it is left as it is.
        precision: of the maps.
    """
    return cast("CoarseToFineNetwork", _replaced(network, precision))


class WideCoarse(nn.Module):
    """A coarse decoder on the levels in float32: its heads are small, and organs begin with them.

    Args:
        decoder: whose weights are taken over.
    """

    def __init__(self, decoder: CoarseDecoder) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder).float()

    def forward(self, levels: KeptLevels) -> CoarseMaps:
        """Return the coarse maps."""
        heads = cast("list[Tensor]", levels[-HEADS:])
        return self.decoder([level.float() for level in heads])


def _replaced(module: nn.Module, precision: Precision) -> nn.Module:
    if isinstance(module, Encoder):
        return SlabEncoder(module, precision)
    if isinstance(module, FineDecoder):
        return SlabDecoder(module, precision)
    if isinstance(module, CoarseDecoder):
        return WideCoarse(module)
    parts = {name: _replaced(part, precision) for name, part in module.named_children()}
    twin = copy.copy(module)
    twin._modules = dict[str, nn.Module | None](parts)  # noqa: SLF001 (a copy shares them with the original)
    return twin
