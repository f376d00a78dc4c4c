"""A network by slabs in settings that take less and less memory."""

import copy
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from thoar.inference.slabs.decoder import SlabDecoder
from thoar.inference.slabs.encoder import SlabEncoder
from thoar.inference.slabs.precision import Precision
from thoar.network.network import CoarseToFineNetwork

AS_CHOSEN = "as chosen"
APART = "shortcuts apart"
HALVED = "maps in float16"


def ladder(network: CoarseToFineNetwork, precision: Precision) -> dict[str, CoarseToFineNetwork]:
    """Return the network itself and twins that take less memory and more time, which share its weights.

    A block's shortcut may be made after its convolutions, when one map fewer waits; then maps that wait in
    float32 may wait in float16, which rounds them.

    Args:
        network: as :func:`thoar.inference.slabs.network.by_slabs` returns it.
        precision: that it has.
    """
    rungs = {APART: replace(precision, together=False)}
    if precision.stored == torch.float32:
        rungs[HALVED] = replace(rungs[APART], stored=torch.float16)
    twins = {name: cast("CoarseToFineNetwork", _in_precision(network, rung)) for name, rung in rungs.items()}
    return {AS_CHOSEN: network, **twins}


def _in_precision(module: nn.Module, precision: Precision) -> nn.Module:
    twin = copy.copy(module)
    if isinstance(twin, SlabEncoder):
        twin.precision = precision
        twin.residuals = [replace(residual, precision=precision) for residual in twin.residuals]
    elif isinstance(twin, SlabDecoder):
        twin.precision = precision
        twin.refine = [replace(residual, precision=precision) for residual in twin.refine]
    parts = {name: _in_precision(part, precision) for name, part in module.named_children()}
    twin._modules = dict[str, nn.Module | None](parts)  # noqa: SLF001 (a copy shares them with the original)
    return twin
