import msgspec
import pytest
import torch
from torch.nn import functional

from thoar.core.configuration import Network
from thoar.network.coarse import CoarseDecoder

SHAPES = [(16, 8, 32, 32), (32, 8, 16, 16), (64, 4, 8, 8), (128, 4, 4, 4), (256, 4, 4, 4)]


@pytest.fixture
def levels():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, *shape, generator=generator) for shape in SHAPES]


def decoder(average):
    torch.manual_seed(0)
    return CoarseDecoder(msgspec.structs.replace(Network(), average=average), 4)


def pooled_in_plane(map_):
    return functional.avg_pool3d(map_, (1, 2, 2))


def test_sigmoids_are_pooled_to_the_coarse_grid_and_averaged(levels):
    coarse = decoder("sigmoids")
    maps = coarse(levels)
    f1, f2, f3 = (torch.sigmoid(h(v)) for h, v in zip(coarse.heads, levels[2:], strict=True))
    torch.testing.assert_close(maps.heads, (pooled_in_plane(f1), f2, f3))
    torch.testing.assert_close(maps.probability, (pooled_in_plane(f1) + f2 + f3) / 3)


def test_logits_are_pooled_and_averaged_under_one_sigmoid(levels):
    coarse = decoder("logits")
    maps = coarse(levels)
    first, second, third = (h(v) for h, v in zip(coarse.heads, levels[2:], strict=True))
    expected = torch.sigmoid((pooled_in_plane(first) + second + third) / 3)
    torch.testing.assert_close(maps.probability, expected)
    torch.testing.assert_close(maps.heads[0], torch.sigmoid(pooled_in_plane(first)))


def test_the_two_averages_differ(levels):
    assert not torch.allclose(decoder("logits")(levels).probability, decoder("sigmoids")(levels).probability)


@pytest.mark.parametrize("average", ["logits", "sigmoids"])
def test_maps_are_float32_under_autocast(levels, average):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = decoder(average)(levels)
    assert {map_.dtype for map_ in (maps.probability, *maps.heads)} == {torch.float32}


def test_a_silent_head_bounds_the_average_of_sigmoids_by_two_thirds(levels):
    coarse = decoder("sigmoids")
    with torch.no_grad():
        for head, bias in zip(coarse.heads, (-100.0, 100.0, 100.0), strict=True):
            head.weight.zero_()
            head.bias.fill_(bias)
        torch.testing.assert_close(coarse(levels).probability, torch.full((1, 5, 4, 4, 4), 2 / 3))
