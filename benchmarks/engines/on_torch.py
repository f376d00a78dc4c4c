"""Engines made of the network's own modules, by torch alone."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thoar.core.box import Box
from thoar.network.coarse import CoarseMaps
from thoar.network.encoder import KeptLevels
from thoar.network.network import CoarseToFineNetwork

LAST = torch.channels_last_3d
Context = Callable[[], AbstractContextManager[object]]


class SameModules(CoarseToFineNetwork):
    """A network with another's modules, to be run in another way.

    Args:
        network: whose modules it has.
    """

    def __init__(self, network: CoarseToFineNetwork) -> None:
        super().__init__(
            encoder=network.encoder,
            coarse=network.coarse,
            fine=dict(network.fine.items()),
            strides_zyx=network.strides_zyx,
            own_coarse=dict(network.own_coarse.items()),
        )


class Within(SameModules):
    """A network that computes within a context, and is given images of a type and a layout.

    Args:
        network: whose modules it has.
        context: makes the context of each call.
        dtype: of images.
        layout: likewise.
    """

    def __init__(
        self,
        network: CoarseToFineNetwork,
        *,
        context: Context = nullcontext,
        dtype: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__(network)
        self.context = context
        self.dtype = dtype
        self.layout = layout

    def encode(self, image: Float[Tensor, "1 1 z y x"]) -> KeptLevels:
        """Return the levels of an image."""
        with self.context():
            return super().encode(image.to(self.dtype).contiguous(memory_format=self.layout))

    def locate(self, levels: KeptLevels) -> CoarseMaps:
        """Return the coarse maps."""
        with self.context():
            return super().locate(levels)

    def draw(self, levels: KeptLevels, organ: str, box_zyx: Box) -> Float[Tensor, "1 1 z y x"]:
        """Return one organ's probability in a box."""
        with self.context():
            return super().draw(levels, organ, box_zyx)


def of_type(network: CoarseToFineNetwork, dtype: torch.dtype, layout: torch.memory_format) -> Within:
    """Return a network whose weights and maps have a type and a layout."""
    return Within(network.to(dtype=dtype, memory_format=layout), dtype=dtype, layout=layout)


def under_autocast(network: CoarseToFineNetwork, dtype: torch.dtype) -> Within:
    """Return a network whose convolutions torch casts."""
    return Within(network, context=partial(torch.autocast, "cpu", dtype=dtype))


def with_onednn(network: CoarseToFineNetwork) -> CoarseToFineNetwork:
    """Return a network all of whose convolutions are oneDNN's, the small ones too."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.forward = partial(_convolved, module)
    return network


def _convolved(module: nn.Conv3d, features: Tensor) -> Tensor:
    return torch.mkldnn_convolution(
        features, module.weight, module.bias, module.padding, module.stride, module.dilation, module.groups
    )


def with_norms_in_place(network: CoarseToFineNetwork) -> CoarseToFineNetwork:
    """Return a network whose norms write over what they are given."""
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d):
            module.forward = partial(_normalised, module)
    return network


def _normalised(norm: nn.InstanceNorm3d, features: Tensor) -> Tensor:
    variance, mean = torch.var_mean(features, dim=(2, 3, 4), correction=0, keepdim=True)
    weight, bias = (values.view(1, -1, 1, 1, 1) for values in (norm.weight, norm.bias))
    scale = weight / (variance + norm.eps).sqrt()
    return features.mul_(scale).add_(bias - mean * scale)


def compiled(network: CoarseToFineNetwork, *, freezing: bool, context: Context) -> Within:
    """Return a network whose parts are compiled by inductor, for every shape anew.

    A convolution that oneDNN does cannot be compiled for shapes that change (torch 2.13 ends in an error).
    """
    import torch._dynamo.config as dynamo  # noqa: PLC0415 (takes seconds)
    import torch._inductor.config as inductor  # noqa: PLC0415

    inductor.freezing = freezing
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = 10_000  # else it would stop compiling
    network.encoder = torch.compile(network.encoder, dynamic=False)
    network.coarse = torch.compile(network.coarse, dynamic=False)
    for organ, decoder in network.fine.items():
        network.fine[organ] = torch.compile(decoder, dynamic=False)
    return Within(network, context=context)
