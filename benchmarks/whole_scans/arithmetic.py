"""How much arithmetic a network's passes are: counted on tensors that hold nothing."""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode
from whole_scans.told import Pass

from thoar.core.box import Box
from thoar.core.configuration import Configuration
from thoar.network.network import build_network


def gflop_of(configuration: Configuration, organs: Sequence[str], seen: Pass) -> dict[str, float]:
    """Return the convolutions' multiplications and additions, in 10⁹, of one scan by what it went into.

    They are those of the plain network: what is computed twice to save memory counts once.
    """
    with torch.device("meta"):
        network = build_network(configuration.network, organs).eval()
        image = torch.empty((1, 1, *seen.image_zyx))
    found: dict[str, float] = {}
    with torch.inference_mode():
        with FlopCounterMode(display=False) as encode:
            levels = network.encode(image)
        with FlopCounterMode(display=False) as locate:
            network.locate(levels)
        with FlopCounterMode(display=False) as draw:
            for organ, shape in seen.boxes_zyx:
                network.draw(levels, organ, Box.of_shape(shape))
    for name, counter in (("encode", encode), ("locate", locate), ("draw", draw)):
        found[name] = counter.get_total_flops() / 1e9
    return found
