"""What the paper says of the network, S4 to S9, S11 to S16 and S20 of docs/explanation/method.md."""

import itertools

import pytest
import torch
from torch import nn

from thoar.core.box import Box

ORGANS = ("esophagus", "heart", "trachea", "aorta")


def convolutions(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv3d)]


def parameters(module, kind=nn.Module):
    return sum(
        p.numel() for m in module.modules() if isinstance(m, kind) for p in m.parameters(recurse=False)
    )


def test_s4_one_encoder_feeds_both_decoders(paper_network):
    passes = []
    handle = paper_network.encoder.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        levels = paper_network.encode(torch.rand(1, 1, 8, 32, 32))
        paper_network.locate(levels)
        for organ in ORGANS:
            paper_network.draw(levels, organ, Box.of_shape((8, 32, 32)))
    handle.remove()
    assert len(passes) == 1


def test_s5_the_encoder_ends_with_256_channels_at_an_eighth_an_eighth_and_a_half(paper_network):
    with torch.no_grad():
        levels = paper_network.encode(torch.rand(1, 1, 16, 48, 64))
    assert levels[-1].shape == (1, 256, 16 / 2, 48 / 8, 64 / 8)
    assert [level.shape[1] for level in levels] == [16, 32, 64, 128, 256]
    assert [tuple(level.shape[2:]) for level in levels] == [
        (16, 48, 64), (16, 24, 32), (8, 12, 16), (8, 6, 8), (8, 6, 8)
    ]  # fmt: skip
    assert paper_network.strides_zyx == ((1, 1, 1), (1, 2, 2), (2, 4, 4), (2, 8, 8), (2, 8, 8))


def test_s6_one_convolution_and_four_blocks_of_two_two_three_and_three(paper_network):
    assert len(convolutions(paper_network.encoder.stem)) == 1
    assert [len(convolutions(b.residual)) for b in paper_network.encoder.blocks] == [2, 2, 3, 3]


def test_s6_the_strides_are_those_of_the_list(paper_network):
    strides = [[c.stride for c in convolutions(b.residual)] for b in paper_network.encoder.blocks]
    assert [s[0] for s in strides] == [(1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 1, 1)]
    assert {stride for s in strides for stride in s[1:]} == {(1, 1, 1)}


def test_s7_the_latter_two_blocks_are_dilated_by_3_and_6_and_nothing_else_is(paper_network):
    dilations = [{c.dilation for c in convolutions(b.residual)} for b in paper_network.encoder.blocks]
    assert dilations == [{(1, 1, 1)}, {(1, 1, 1)}, {(3, 3, 3)}, {(6, 6, 6)}]
    dilated = [c for c in convolutions(paper_network) if c.dilation != (1, 1, 1)]
    assert len(dilated) == 3 + 3


def test_s8_three_heads_sit_on_the_latter_three_blocks(paper_network):
    shapes = [tuple(head.weight.shape) for head in paper_network.coarse.heads]
    assert shapes == [(5, 64, 3, 3, 3), (5, 128, 3, 3, 3), (5, 256, 3, 3, 3)]
    assert all(not head.bias.any() for head in paper_network.coarse.heads)


def test_s9_the_average_has_five_channels_on_the_coarse_grid(paper_network):
    with torch.no_grad():
        maps = paper_network.locate(paper_network.encode(torch.rand(1, 1, 8, 32, 48)))
    assert maps.probability.shape == (1, 1 + 4, 4, 4, 6)
    assert paper_network.coarse.average == "sigmoids"


def test_s15_features_are_narrowed_to_the_upper_level_and_added_not_concatenated(paper_network):
    decoder = paper_network.fine["heart"]
    steps = [256, 128, 64, 32, 16]
    narrow = [(unit[0].in_channels, unit[0].out_channels) for unit in decoder.narrow]
    assert narrow == list(itertools.pairwise(steps))
    refine = [[(c.in_channels, c.out_channels) for c in convolutions(block)] for block in decoder.refine]
    assert refine == [[(width, width)] * 2 for width in steps[1:]]
    assert (decoder.last.in_channels, decoder.last.out_channels) == (16, 1)


def test_s16_every_organ_has_a_decoder_of_its_own(paper_network):
    assert tuple(paper_network.fine) == ORGANS
    weights = [{id(p) for p in decoder.parameters()} for decoder in paper_network.fine.values()]
    assert len(set.union(*weights)) == sum(len(w) for w in weights)


def test_s20_every_convolution_is_3_by_3_by_3_and_padded_by_its_dilation(paper_network):
    layers = convolutions(paper_network)
    assert len(layers) == 1 + (3 + 3 + 4 + 4) + 3 + 4 * (4 + 8 + 1)
    assert {layer.kernel_size for layer in layers} == {(3, 3, 3)}
    assert all(layer.padding == layer.dilation and layer.padding_mode == "zeros" for layer in layers)


def test_only_convolutions_without_a_norm_have_a_bias(paper_network):
    biased = {name for name, m in paper_network.named_modules() if getattr(m, "bias", None) is not None}
    norms = {name for name, m in paper_network.named_modules() if isinstance(m, nn.InstanceNorm3d)}
    heads = {f"coarse.heads.{i}" for i in range(3)} | {f"fine.{organ}.last" for organ in ORGANS}
    assert biased == norms | heads


def test_every_norm_is_an_instance_norm_with_scale_and_shift_that_keeps_no_statistics(paper_network):
    norms = [m for m in paper_network.modules() if "Norm" in type(m).__name__]
    assert len(norms) == len(convolutions(paper_network)) - 3 - 4
    assert all(isinstance(m, nn.InstanceNorm3d) and m.affine and not m.track_running_stats for m in norms)


def test_parameters_are_as_many_as_the_kernels_say(paper_network):
    encoder = 27 * (1 * 16 + sum((a + b) * n for a, b, n in _encoder_pairs()))
    assert encoder == parameters(paper_network.encoder, nn.Conv3d) == 6_912_432
    assert parameters(paper_network.encoder) == encoder + 2 * (16 + 3 * 32 + 3 * 64 + 4 * 128 + 4 * 256)
    assert parameters(paper_network.coarse) == (64 + 128 + 256) * 27 * 5 + 3 * 5


def _encoder_pairs():
    """Return (channels in, twice or thrice out, channels out): shortcut and convolutions of each block."""
    for before, after, count in [(16, 32, 2), (32, 64, 2), (64, 128, 3), (128, 256, 3)]:
        yield 2 * before, (count - 1) * after, after


@pytest.mark.parametrize(
    ("part", "count"), [("encoder", 6_916_112), ("coarse", 60_495), ("fine", 4 * 2_351_953)]
)
def test_each_part_has_as_many_parameters_as_written_down(paper_network, part, count):
    assert parameters(getattr(paper_network, part)) == count


def test_each_decoder_has_2_35_million_parameters_and_all_16_4(paper_network):
    assert {parameters(decoder) for decoder in paper_network.fine.values()} == {2_351_953}
    assert parameters(paper_network) == 16_384_419
