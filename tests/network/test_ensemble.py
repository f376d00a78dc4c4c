import msgspec
import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.network.ensemble import ensemble
from thoar.network.network import build_network

BOX = Box(start_zyx=(4, 8, 16), stop_zyx=(12, 32, 48))
NARROW = Network(
    stem_channels=2,
    blocks=tuple(
        Block(channels=n, convolutions=1, stride_zyx=s)
        for n, s in [(3, (1, 2, 2)), (4, (2, 2, 2)), (5, (1, 2, 2))]
    ),
)
ORGANS = ("heart", "trachea", "aorta")


def member(seed, configuration=NARROW):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(configuration, ORGANS, ("aorta",)).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 16, 32, 48, generator=torch.Generator().manual_seed(0))


def located_and_drawn(network, image, organ="heart"):
    with torch.inference_mode():
        levels = network.encode(image)
        return network.locate(levels), network.draw(levels, organ, BOX)


@pytest.mark.parametrize("encoders", ["shared", "separate"])
@pytest.mark.parametrize("organ", ["heart", "aorta"])
def test_maps_and_masks_are_the_means_of_the_members(image, encoders, organ):
    configuration = msgspec.structs.replace(NARROW, encoders=encoders)
    members = [member(seed, configuration) for seed in range(3)]
    maps, drawn = located_and_drawn(ensemble(members), image, organ)
    alone = [located_and_drawn(one, image, organ) for one in members]
    assert torch.allclose(maps.probability, torch.stack([m.probability for m, _ in alone]).mean(0))
    for number, head in enumerate(maps.heads):
        assert torch.allclose(head, torch.stack([m.heads[number] for m, _ in alone]).mean(0))
    assert torch.allclose(drawn, torch.stack([d for _, d in alone]).mean(0))
    assert not torch.allclose(drawn, alone[0][1])


def test_twins_say_bit_for_bit_what_one_of_them_says(image):
    maps, drawn = located_and_drawn(ensemble([member(1), member(1)]), image)
    expected_maps, expected = located_and_drawn(member(1), image)
    assert torch.equal(maps.probability, expected_maps.probability)
    assert torch.equal(drawn, expected)


def test_ensemble_knows_the_organs_of_its_members_in_their_order():
    members = [member(1), member(2)]
    for one in members:
        del one.fine["heart"]
    network = ensemble(members)
    assert network.located == members[0].located == ORGANS
    assert network.drawn == members[0].drawn == ("trachea", "aorta")
    assert network.strides_zyx[-1] == members[0].strides_zyx[-1]


def test_ensemble_has_its_members_weights_and_no_copy_of_them(image):
    members = [member(1), member(2)]
    network = ensemble(members)
    sizes = [sum(p.numel() for p in n.parameters()) for n in (network, *members)]
    assert sizes[0] == sizes[1] + sizes[2]
    before = located_and_drawn(network, image)[1]
    with torch.no_grad():
        for parameter in members[1].fine["heart"].parameters():
            parameter.add_(0.1)
    assert not torch.equal(located_and_drawn(network, image)[1], before)
