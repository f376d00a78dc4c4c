"""What work by slabs takes of memory, from shapes alone: known before any map is made.

Maps are counted one by one, in the order in which they come and go; what a slab takes besides was measured
(``tests/inference/slabs/test_memory.py`` holds the sum to real allocations).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from thoar.core.box import Index3
from thoar.inference.slabs.decoder import SlabDecoder
from thoar.inference.slabs.encoder import SlabEncoder
from thoar.inference.slabs.maps import Layer
from thoar.inference.slabs.precision import Precision
from thoar.inference.slabs.residual import Residual
from thoar.network.coarse import HEADS, CoarseDecoder

WIDE = torch.float32.itemsize
SLABS = 4
"""So many slabs' bytes are alive while a layer works: input, output, and the norms' float32 values."""
HEAP_BYTES = 128 * 2**20
"""What the C library's heap keeps in holes between slabs."""
FINISHED_BYTES = 16
"""Per voxel of an organ's box while it is finished: its probability, its components and its masks."""
PASTED_BYTES, RESULT_BYTES = 8, 3
"""Per voxel of the scan's own grid in a box while it is pasted, and afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A map's."""

    channels: int
    shape_zyx: Index3

    @property
    def values(self) -> int:
        """How many there are."""
        return self.channels * math.prod(self.shape_zyx)

    def after(self, layer: Layer) -> "Size":
        """Return the size of a layer's output."""
        z, y, x = (-(-n // s) for n, s in zip(self.shape_zyx, layer.kernel.stride_zyx, strict=True))
        return Size(channels=layer.kernel.weight.shape[0], shape_zyx=(z, y, x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes besides what is there before.

    Attributes:
        kept: afterwards.
        peak: at most on the way.
    """

    kept: int
    peak: int


def encoding_need(network: nn.Module, shape_zyx: Index3, *, image_bytes: int = 0) -> Need:
    """Return what encoding and locating take.

    Args:
        network: as :func:`thoar.inference.slabs.network.by_slabs` returns it; what is in it besides its
            encoders and coarse decoders is not counted.
        shape_zyx: of the prepared scan.
        image_bytes: of the image, where it is copied for the network.
    """
    encoders = [part for part in network.modules() if isinstance(part, SlabEncoder)]
    kept = peak = image_bytes + (HEAP_BYTES if encoders else 0)
    for encoder in encoders:
        need = _encoder_need(encoder, shape_zyx)
        kept, peak = kept + need.kept, max(peak, kept + need.peak)
    coarse = [part for part in network.modules() if isinstance(part, CoarseDecoder)]
    if encoders and coarse:
        peak = max(peak, kept + max(_coarse_bytes(one, encoders[0], shape_zyx) for one in coarse))
    return Need(kept=kept, peak=peak)


def drawing_need(
    decoder: nn.Module, shape_zyx: Index3, strides_zyx: Sequence[Index3], *, finer: float = 1.0
) -> Need:
    """Return what drawing and pasting one organ take besides the levels.

    Args:
        decoder: the organ's, of a network by slabs.
        shape_zyx: of its box, in input voxels.
        strides_zyx: of the levels.
        finer: voxels of the scan's own grid to one of the box.
    """
    parts = [part for part in decoder.modules() if isinstance(part, SlabDecoder)]
    voxels = math.prod(shape_zyx)
    crops = [_stem_channels(part) * voxels * part.precision.compute.itemsize for part in parts]
    peak = 0
    for number, part in enumerate(parts):
        cut = 2 * _stem_channels(part) * voxels * WIDE  # the convolution and its norm, in float32
        own = strides_zyx[number * len(part.entrances) :][: len(part.entrances)]
        peak = max(peak, sum(crops[:number]) + cut, sum(crops) + _decoder_peak(part, shape_zyx, own))
    finished = round((FINISHED_BYTES + PASTED_BYTES * finer) * voxels)
    return Need(kept=round(RESULT_BYTES * finer * voxels), peak=peak + finished)


def _encoder_need(encoder: SlabEncoder, shape_zyx: Index3) -> Need:
    size = Size(channels=encoder.stem.kernel.weight.shape[0], shape_zyx=shape_zyx)
    kept, peak = 0, SLABS * _slab_bytes(encoder.precision, size)
    for residual in encoder.residuals:
        peak = max(peak, kept + _residual_peak(residual, size))
        for layer in residual.layers:
            size = size.after(layer)
        kept += size.values * encoder.precision.stored.itemsize
    return Need(kept=kept, peak=peak)


def _residual_peak(residual: Residual, source: Size) -> int:
    """Return the most that a block takes besides its source."""
    precision, (first, *others) = residual.precision, residual.layers
    made = source.after(first)
    raw = made.values * precision.stored.itemsize
    together = residual.shortcut is not None and precision.together
    beside = raw if together else 0
    begun = (
        beside + raw + _working_bytes([first, residual.shortcut] if together else [first], source, precision)
    )
    gone_on = [beside + 2 * raw + _working_bytes([layer], made, precision) for layer in others]
    ended = 0
    if residual.shortcut is not None and not together:
        ended = 2 * raw + _working_bytes([residual.shortcut], source, precision)
    return max(begun, ended, *gone_on)


def _working_bytes(layers: Sequence[Layer | None], source: Size, precision: Precision) -> int:
    """Return what convolutions of a map take besides that map and their outputs as they are stored."""
    taken = [layer for layer in layers if layer is not None]
    if all(layer.kernel.dilation == 1 for layer in taken):
        return SLABS * max(
            _slab_bytes(precision, source), *(_slab_bytes(precision, source.after(layer)) for layer in taken)
        )
    values = source.values + sum(source.after(layer).values for layer in taken)
    return values * precision.compute.itemsize


def _slab_bytes(precision: Precision, size: Size) -> int:
    """Return what one slab takes: at least three rows, which a convolution reads."""
    return max(precision.slab_bytes, 3 * size.values // size.shape_zyx[0] * WIDE)


def _coarse_bytes(decoder: CoarseDecoder, encoder: SlabEncoder, shape_zyx: Index3) -> int:
    """Return what the heads take: their levels in float32, laid out once more for each, and their maps."""
    size, levels = Size(channels=1, shape_zyx=shape_zyx), list[Size]()
    for residual in encoder.residuals:
        for layer in residual.layers:
            size = size.after(layer)
        levels.append(size)
    seen = levels[-HEADS:]
    widened = 0 if encoder.precision.stored.itemsize == WIDE else sum(level.values for level in seen)
    channels = cast("nn.Conv3d", decoder.heads[0]).out_channels
    maps = sum(2 * channels * math.prod(level.shape_zyx) for level in seen)
    return (widened + max(level.values for level in seen) + maps) * WIDE


def _stem_channels(decoder: SlabDecoder) -> int:
    kernel = decoder.entrances[0]
    return (decoder.last if kernel is None else kernel).weight.shape[1]


def _decoder_peak(decoder: SlabDecoder, shape_zyx: Index3, strides_zyx: Sequence[Index3]) -> int:
    """Return the most that one decoder takes besides its crops."""
    precision, peak = decoder.precision, 0
    uppers = [
        Size(channels=refine.layers[-1].kernel.weight.shape[0], shape_zyx=_over(shape_zyx, stride_zyx))
        for refine, stride_zyx in zip(decoder.refine, reversed(strides_zyx[:-1]), strict=True)
    ]
    features, below = 0, _over(shape_zyx, strides_zyx[-1])
    for narrow, refine, upper in zip(decoder.narrow, decoder.refine, uppers, strict=True):
        narrowed = Size(channels=narrow.kernel.weight.shape[0], shape_zyx=below)
        raw, joined = (size.values * precision.stored.itemsize for size in (narrowed, upper))
        slabs = SLABS * max(_slab_bytes(precision, size) for size in (narrowed, upper))
        peak = max(peak, features + raw + joined + slabs, joined + _residual_peak(refine, upper))
        features, below = 2 * joined, upper.shape_zyx
    return peak


def _over(shape_zyx: Index3, stride_zyx: Index3) -> Index3:
    z, y, x = (n // s for n, s in zip(shape_zyx, stride_zyx, strict=True))
    return (z, y, x)
