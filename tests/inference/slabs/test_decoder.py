"""A fine decoder by slabs draws what the fine decoder draws."""

import itertools

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

from thoar.core.configuration import Block, Network
from thoar.inference.slabs.decoder import Entered, SlabDecoder, Upsampled
from thoar.inference.slabs.maps import LAST, Norm, Normalised, kernel_of
from thoar.network.blocks import convolution
from thoar.network.fine import FineDecoder

SLAB_BYTES = (1, 5000, 40_000, 2**40)
SHAPED = Network(
    stem_channels=4,
    blocks=tuple(
        Block(channels=n, convolutions=2, stride_zyx=s)
        for n, s in [(5, (1, 2, 2)), (5, (2, 2, 2)), (6, (1, 1, 1)), (7, (3, 2, 1))]
    ),
)
SIZES = ((18, 12, 20), (18, 6, 10), (9, 3, 5), (9, 3, 5), (3, 3, 5))
FLAT = ((6, 8, 12), (6, 4, 6), (3, 2, 3), (3, 2, 3), (1, 2, 3))


def noise(*size, seed=0):
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))


def decoder_of(configuration):
    torch.manual_seed(5)
    decoder = FineDecoder(configuration).eval()
    for name, parameter in decoder.named_parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, *((0.5, 1.5) if name.endswith("weight") else (-0.5, 0.5)))
    return decoder


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
@pytest.mark.parametrize("widths", [(), (4, 3, 6, 6, 5), (2, 2, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("sizes", [SIZES, FLAT, ((1, 4, 4),) * 5], ids=["deep", "flat", "one row"])
def test_a_crop_is_drawn_as_the_fine_decoder_draws_it(float32, difference, sizes, widths, slab_bytes):
    decoder = decoder_of(msgspec.structs.replace(SHAPED, decoder_channels=widths))
    channels = SHAPED.channels_of_levels
    crops = [noise(n, *size, seed=n) for n, size in zip(channels, sizes, strict=True)]
    before = [crop.clone() for crop in crops]
    with torch.inference_mode():
        expected = decoder(crops)
        drawn = SlabDecoder(decoder, float32(slab_bytes))(crops)
    assert expected.std() > 0.05, "saturated probabilities prove nothing"
    assert drawn.shape == (1, 1, *sizes[0])
    assert drawn.dtype == torch.float32
    assert difference(drawn, expected) < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(crops, before, strict=True))


def identical(raw):
    """Return a map whose norm changes nothing, so that interpolation is all that happens."""
    ones = torch.ones(raw.shape[1])
    norm = Norm(mean=0 * ones, variance=ones, weight=ones, bias=0 * ones, epsilon=0.0, relu=False)
    return Normalised(raw=raw.contiguous(memory_format=LAST), norm=norm, compute=torch.float32)


@pytest.mark.parametrize("times", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 1), (3, 1, 2), (4, 2, 2)], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_any_rows_of_a_finer_map_are_those_of_the_whole_interpolation(times, depth):
    raw = noise(3, depth, 4, 5)
    shape = torch.Size((1, 3, *(n * t for n, t in zip(raw.shape[2:], times, strict=True))))
    expected = functional.interpolate(raw, size=shape[2:], mode="trilinear", align_corners=False)
    finer = Upsampled(source=identical(raw), shape=shape)
    for start, stop in itertools.combinations(range(shape[2] + 1), 2):
        torch.testing.assert_close(finer.slab(start, stop), expected[:, :, start:stop], atol=1e-6, rtol=1e-6)


def test_a_crop_enters_on_the_decoders_width():
    enter, crop = convolution(4, 6, kernel=1, bias=True), noise(4, 5, 6, 7)
    nn.init.uniform_(enter.bias, 0.5, 1.0)
    with torch.inference_mode():
        entered = Entered(crop=crop, kernel=kernel_of(enter, torch.float32), compute=torch.float32)
        assert entered.shape == (1, 6, 5, 6, 7)
        torch.testing.assert_close(entered.slab(1, 4), enter(crop)[:, :, 1:4])
    same = Entered(crop=crop, kernel=None, compute=torch.float32)
    assert same.shape == crop.shape
    assert torch.equal(same.slab(1, 4), crop[:, :, 1:4])
