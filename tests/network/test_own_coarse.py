"""Organs with coarse decoders of their own, beside those that share one."""

import pytest
import torch

from thoar.core.configuration import Block, Network
from thoar.network.network import build_network

NARROW = Network(
    stem_channels=2,
    blocks=tuple(
        Block(channels=n, convolutions=2, stride_zyx=s)
        for n, s in [(4, (1, 2, 2)), (4, (2, 2, 2)), (8, (1, 2, 2)), (8, (1, 1, 1))]
    ),
)
ORGANS = ("heart", "aorta", "cord", "liver")
ADDED = ("cord", "liver")


@pytest.fixture
def network():
    torch.manual_seed(2)
    return build_network(NARROW, ORGANS, ADDED).eval()


@pytest.fixture
def levels(network):
    with torch.inference_mode():
        return network.encode(torch.rand(1, 1, 8, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_coarse_channels_follow_the_organs_order(network, levels):
    assert network.located == network.drawn == ORGANS
    with torch.inference_mode():
        maps = network.locate(levels)
        shared = network.coarse(levels)
        own = [network.own_coarse[name](levels) for name in ADDED]
    assert maps.probability.shape[1] == 1 + len(ORGANS)
    assert torch.equal(maps.probability[:, :3], shared.probability)
    assert torch.equal(maps.probability[:, 3:4], own[0].probability[:, 1:])
    assert torch.equal(maps.heads[2][:, 4:5], own[1].heads[2][:, 1:])


def test_an_organ_without_its_decoders_is_neither_located_nor_drawn(network, levels):
    del network.own_coarse["cord"], network.fine["cord"]
    assert network.located == network.drawn == ("heart", "aorta", "liver")
    with torch.inference_mode():
        maps = network.locate(levels)
        liver = network.own_coarse["liver"](levels)
    assert torch.equal(maps.probability[:, 3], liver.probability[:, 1])


def test_every_organ_may_have_a_coarse_decoder_of_its_own():
    network = build_network(NARROW, ADDED, ADDED)
    assert network.located == ADDED
    assert network.locate(network.encode(torch.rand(1, 1, 8, 32, 32))).probability.shape[1] == 1 + len(ADDED)


def test_own_coarse_decoders_come_last():
    with pytest.raises(ValueError, match="must come last"):
        build_network(NARROW, ORGANS, ("heart",))


def test_added_organs_change_no_fresh_weight_of_the_others():
    torch.manual_seed(5)
    alone = build_network(NARROW, ORGANS[:2]).state_dict()
    torch.manual_seed(5)
    assert set(alone) < set(build_network(NARROW, ORGANS, ADDED).state_dict())
