"""A fine decoder by slabs."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.inference.slabs.maps import (
    LAST,
    Kernel,
    Layer,
    Map,
    Normalised,
    Slab,
    Stored,
    Sum,
    Wide,
    convolved,
    empty_map,
    kernel_of,
    layer_of,
    slabs_of,
    spans,
)
from thoar.inference.slabs.precision import Precision
from thoar.inference.slabs.residual import Residual
from thoar.network.blocks import ConvolutionUnit, ResidualBlock
from thoar.network.encoder import Levels
from thoar.network.fine import FineDecoder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entered:
    """A crop of a level, on a decoder's own width."""

    crop: Slab
    kernel: Kernel | None
    compute: torch.dtype

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        channels = self.crop.shape[1] if self.kernel is None else self.kernel.weight.shape[0]
        return torch.Size((1, channels, *self.crop.shape[2:]))

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the crop."""
        rows = self.crop[:, :, start:stop].to(self.compute)
        return rows.contiguous(memory_format=LAST) if self.kernel is None else self.kernel(rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upsampled:
    """A map on a finer grid, interpolated linearly in float32 (align_corners=False)."""

    source: Normalised
    shape: torch.Size

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the finer map."""
        if self.source.shape == self.shape:
            return self.source.wide(start, stop)
        depth = self.source.shape[2]
        times = self.shape[2] // depth
        first = max((2 * start + 1 - times) // (2 * times), 0)
        last = min((2 * stop - 1 - times) // (2 * times) + 1, depth - 1)
        rows = self.source.wide(first, last + 1)
        size = [rows.shape[2] * times, *self.shape[3:]]
        finer = functional.interpolate(rows, size=size, mode="trilinear", align_corners=False)
        return finer[:, :, start - first * times : stop - first * times]


class SlabDecoder(nn.Module):
    """A fine decoder in evaluation, with the weights it had; :class:`thoar.network.fine.FineDecoder`.

    Args:
        decoder: whose weights are taken over.
        precision: of its maps.
    """

    def __init__(self, decoder: FineDecoder, precision: Precision) -> None:
        super().__init__()
        compute = precision.compute
        self.precision = precision
        self.entrances = [
            None if isinstance(enter, nn.Identity) else kernel_of(cast("nn.Conv3d", enter), compute)
            for enter in decoder.enter
        ]
        self.narrow = [
            layer_of(cast("nn.Conv3d", convolution), norm, relu=True, compute=compute)
            for convolution, norm, _ in (cast("ConvolutionUnit", unit) for unit in decoder.narrow)
        ]
        self.refine = [Residual.of(cast("ResidualBlock", block), precision) for block in decoder.refine]
        self.last = kernel_of(decoder.last, torch.float32)

    def forward(self, crops: Levels) -> Float[Tensor, "1 1 z y x"]:
        """Return the organ's probability on the grid of the finest crop, in float32."""
        here = self.last.weight.device
        *uppers, deepest = [
            Entered(crop=crop.to(here), kernel=kernel, compute=self.precision.compute)
            for crop, kernel in zip(crops, self.entrances, strict=True)
        ]
        features: Map = deepest
        for narrow, refine, upper in zip(self.narrow, self.refine, reversed(uppers), strict=True):
            features = self._joined(features, narrow, upper)
            features = refine(features)
        probability = torch.empty((1, 1, *features.shape[2:]), device=here)
        for start, stop, (logits,) in slabs_of(_wide(features), [self.last], self.precision):
            probability[:, :, start:stop] = torch.sigmoid(logits)
        return probability

    def _joined(self, features: Map, narrow: Layer, upper: Map) -> Stored:
        """Return a level's crop with what comes from below added to it, stored."""
        (narrowed,) = convolved(features, [narrow], self.precision)
        below = Upsampled(source=narrowed, shape=upper.shape)
        whole = empty_map(upper.shape, self.last.weight.device, self.precision.stored)
        for start, stop in spans(upper.shape[2], upper.shape[1:].numel() // upper.shape[2], self.precision):
            whole[:, :, start:stop] = below.slab(start, stop).add_(upper.slab(start, stop))
        return Stored(values=whole, compute=self.precision.compute)


def _wide(features: Map) -> Map:
    return Wide(source=features) if isinstance(features, Sum) else features
