"""The encoder by slabs: of its levels all but the stem's lie in memory."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.inference.slabs.maps import LAST, Kernel, Moments, Norm, Slab, layer_of, settled, spans
from thoar.inference.slabs.precision import Precision
from thoar.inference.slabs.residual import Residual
from thoar.network.blocks import ConvolutionUnit, ResidualBlock
from thoar.network.encoder import Encoder, Level


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stem:
    """The stem's features, computed anew for every slab and every box; their norm is the whole scan's.

    Attributes:
        image: prepared, float32: in bfloat16 a patient's water would be known by steps of 8 HU.
        kernel: float32, likewise.
        norm: None until it is known.
        compute: the type of what is given out.
    """

    image: Float[Tensor, "1 1 z y x"]
    kernel: Kernel
    norm: Norm
    compute: torch.dtype

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        return torch.Size((1, self.kernel.weight.shape[0], *self.image.shape[2:]))

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the features."""
        return self[:, :, start:stop]

    def __getitem__(self, part: tuple[slice, ...]) -> Slab:
        """Return the features inside a box, given by slices as of a tensor, the first two of them ``:``."""
        return self.norm(stem_slab(self.image, self.kernel, part[2:])).to(self.compute)


def stem_slab(image: Float[Tensor, "1 1 z y x"], kernel: Kernel, part_zyx: tuple[slice, ...]) -> Slab:
    """Return the stem's convolution inside a box, given by up to three slices, before its norm."""
    given, kept = [slice(None)] * 2, [slice(None)] * 2
    whole = [slice(None)] * (3 - len(part_zyx))
    for size, span in zip(image.shape[2:], (*part_zyx, *whole), strict=True):
        start, stop, _ = span.indices(size)
        first = max(start - kernel.reach, 0)
        given.append(slice(first, min(stop + kernel.reach, size)))
        kept.append(slice(start - first, stop - first))
    rows = image[tuple(given)]
    before = kernel.reach - kept[2].start  # rows of air that the image does not have
    after = kept[2].stop + kernel.reach - rows.shape[2]
    made = kernel(functional.pad(rows, (0, 0, 0, 0, before, after)) if before or after else rows)
    return made[(slice(None),) * 3 + tuple(kept[3:])].contiguous(memory_format=LAST)


class SlabEncoder(nn.Module):
    """An encoder in evaluation, with the weights that it had; :class:`thoar.network.encoder.Encoder`.

    Args:
        encoder: whose weights are taken over.
        precision: of its maps.
    """

    def __init__(self, encoder: Encoder, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        convolution, norm, _ = cast("ConvolutionUnit", encoder.stem)
        self.stem = layer_of(cast("nn.Conv3d", convolution), norm, relu=True, compute=torch.float32)
        self.residuals = [Residual.of(cast("ResidualBlock", block), precision) for block in encoder.blocks]

    def forward(self, image: Float[Tensor, "1 1 z y x"]) -> list[Level]:
        """Return every level's features; the stem's come when they are asked for."""
        stem = self._stem(image.float())
        levels: list[Level] = [stem]
        features = stem
        for residual in self.residuals:
            features = settled(residual(features), self.precision)
            levels.append(features.values)
        return levels

    def _stem(self, image: Float[Tensor, "1 1 z y x"]) -> Stem:
        kernel = self.stem.kernel
        moments = Moments(kernel.weight)
        values_per_row = kernel.weight.shape[0] * image[0, 0, 0].numel()
        for start, stop in spans(image.shape[2], values_per_row, self.precision):
            moments.add(stem_slab(image, kernel, (slice(start, stop),)))
        return Stem(image=image, kernel=kernel, norm=self.stem.norm(moments), compute=self.precision.compute)
