"""Decoding a crop is cropping what the whole volume decodes to, as far as the kernels reach."""

import itertools
import math

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.network.fine import FineDecoder

NARROW = Network(
    stem_channels=2,
    blocks=tuple(
        Block(channels=n, convolutions=2, stride_zyx=s)
        for n, s in [(2, (1, 2, 2)), (3, (2, 2, 2)), (3, (1, 2, 2)), (4, (1, 1, 1))]
    ),
)
IMAGE = (56, 144, 152)
BOX = Box(start_zyx=(4, 8, 8), stop_zyx=(52, 136, 144))


def test_a_level_is_narrowed_upsampled_added_and_refined():
    decoder = FineDecoder(NARROW)
    crops = [torch.randn(1, n, *s) for n, s in [(2, (8, 32, 32)), (2, (8, 16, 16)), (3, (4, 8, 8))]]
    crops += [torch.randn(1, 3, 4, 4, 4), torch.randn(1, 4, 4, 4, 4)]
    features = crops[-1]
    for narrow, refine, upper in zip(decoder.narrow, decoder.refine, crops[-2::-1], strict=True):
        convolution, norm, _ = narrow
        up = torch.relu(norm(convolution(features)))
        up = functional.interpolate(up, upper.shape[2:], mode="trilinear", align_corners=False)
        features = refine(up + upper)
    torch.testing.assert_close(decoder(crops), torch.sigmoid(decoder.last(features)))


def test_widths_of_its_own_are_reached_by_a_1_by_1_by_1_convolution_where_they_differ():
    configuration = msgspec.structs.replace(NARROW, decoder_channels=(3, 2, 5, 3, 7))
    decoder = FineDecoder(configuration)
    assert [tuple(p.shape for p in e.parameters()) for e in decoder.enter] == [
        ((3, 2, 1, 1, 1), (3,)), (), ((5, 3, 1, 1, 1), (5,)), (), ((7, 4, 1, 1, 1), (7,))
    ]  # fmt: skip
    assert [unit[0].out_channels for unit in decoder.narrow] == [3, 5, 2, 3]
    crops = [torch.randn(1, n, *s) for n, s in [(2, (8, 32, 32)), (2, (8, 16, 16)), (3, (4, 8, 8))]]
    crops += [torch.randn(1, 3, 4, 4, 4), torch.randn(1, 4, 4, 4, 4)]
    entered = [enter(crop) for enter, crop in zip(decoder.enter, crops, strict=True)]
    drawn = decoder(crops)
    assert drawn.shape == (1, 1, 8, 32, 32)
    decoder.enter = nn.ModuleList(nn.Identity() for _ in crops)
    torch.testing.assert_close(decoder(entered), drawn)


def test_without_widths_of_its_own_it_has_no_weight_but_the_papers():
    decoder = FineDecoder(NARROW)
    assert not list(decoder.enter.parameters())


def influence_radius_zyx(decoder, strides_zyx):
    """Return how many voxels from a face of the box what lies beyond it can matter, along each axis.

    Counted level by level upward: a kernel carries the influence its reach further; upsampling by f makes
    of the first c cells those voxels whose lower neighbour, at (i + 1/2) / f - 1/2, is among them.
    """
    return tuple(_radius([s[axis] for s in strides_zyx], decoder, axis) for axis in range(3))


def _radius(strides, decoder, axis):
    touched = 0
    factors = [lower // upper for upper, lower in itertools.pairwise(strides)]
    for narrow, refine, factor in zip(decoder.narrow, decoder.refine, reversed(factors), strict=True):
        touched += _reach(narrow, axis)
        touched = math.ceil(factor * touched + (factor - 1) / 2)
        touched += _reach(refine.residual, axis)
    return touched + _reach(decoder.last, axis)


def _reach(module, axis):
    layers = [m for m in module.modules() if isinstance(m, nn.Conv3d)]
    return sum((m.kernel_size[axis] - 1) // 2 * m.dilation[axis] for m in layers)


@pytest.mark.parametrize("configuration", [Network(), NARROW], ids=["paper", "narrow"])
def test_the_influence_radius_is_60_voxels_in_plane_and_21_slices(configuration):
    decoder = FineDecoder(configuration)
    assert influence_radius_zyx(decoder, configuration.stride_zyx_of_levels) == (21, 60, 60)


def without_norms(module):
    for child_of in module.modules():
        for name, child in child_of.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                setattr(child_of, name, nn.Identity())
    return module


def decoded_crop_and_cropped_decode(network):
    """Return one organ decoded in its box, and the same box of the organ decoded everywhere."""
    kept = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, *IMAGE, generator=generator).to(kept)
    with torch.inference_mode():
        levels = network.encode(image)
        crop, whole = (network.draw(levels, "heart", box)[0, 0] for box in (BOX, Box.of_shape(IMAGE)))
    return crop, whole[BOX.slices]


def softened(network, factor):
    """Scale the last convolution so that no sigmoid is saturated: a difference then shows."""
    with torch.no_grad():
        network.fine["heart"].last.weight *= factor
    return network


@pytest.mark.parametrize("configuration", [Network(), NARROW], ids=["paper", "narrow"])
def test_a_decoded_crop_is_the_crop_of_a_whole_decode_beyond_the_influence_radius(
    configuration, seeded_network
):
    network = softened(without_norms(seeded_network(configuration)), 0.1)
    radius = influence_radius_zyx(network.fine["heart"], network.strides_zyx)
    crop, whole = decoded_crop_and_cropped_decode(network)
    inner = tuple(slice(r, n - r) for r, n in zip(radius, crop.shape, strict=True))
    difference = (crop - whole).abs()
    assert crop[inner].std() > 0.01, "saturated probabilities prove nothing"
    assert difference[inner].max() < 1e-5
    assert difference.max() > 1e-3, "near its faces a box does lack what lies beyond"


def test_one_voxel_nearer_to_a_face_than_the_radius_the_outside_does_matter(seeded_network):
    network = without_norms(seeded_network(NARROW)).double()
    with torch.no_grad():  # nothing cancels and no ReLU cuts: every path a kernel offers carries influence
        for parameter in network.parameters():
            parameter.abs_().mul_(0.1)
        network.fine["heart"].last.bias.fill_(0)
    decoder = network.fine["heart"]
    decoder.last.register_forward_hook(lambda _, __, out: touched.append(out[0, 0]))
    touched = []
    decoded_crop_and_cropped_decode(network)
    inside, everywhere = touched
    relative = ((inside - everywhere[BOX.slices]) / everywhere[BOX.slices]).abs()
    for axis, radius in enumerate(influence_radius_zyx(decoder, network.strides_zyx)):
        middle = [n // 2 for n in relative.shape]
        assert all(r <= m for r, m in zip((21, 60, 60), middle, strict=True))
        line = relative[tuple(slice(None) if a == axis else m for a, m in enumerate(middle))]
        assert line[radius - 1] > 1e-12
        assert line[radius:-radius].max() < 1e-14


def test_with_the_norms_a_decoded_crop_differs_because_its_statistics_are_the_boxs(seeded_network):
    crop, whole = decoded_crop_and_cropped_decode(seeded_network(NARROW))
    inner = tuple(slice(r, n - r) for r, n in zip((21, 60, 60), crop.shape, strict=True))
    assert (crop - whole).abs()[inner].max() > 1e-5
