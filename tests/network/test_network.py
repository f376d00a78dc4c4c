import msgspec
import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.network.network import build_network

ORGANS = ("esophagus", "heart", "trachea", "aorta")
BOXES = {
    "esophagus": Box(start_zyx=(0, 8, 8), stop_zyx=(16, 24, 24)),
    "heart": Box(start_zyx=(4, 0, 16), stop_zyx=(12, 32, 48)),
    "trachea": Box(start_zyx=(8, 8, 0), stop_zyx=(16, 32, 16)),
    "aorta": Box.of_shape((16, 32, 48)),
}
NARROW = Network(
    stem_channels=2,
    blocks=tuple(
        Block(channels=n, convolutions=2, stride_zyx=s)
        for n, s in [(4, (1, 2, 2)), (4, (2, 2, 2)), (8, (1, 2, 2)), (8, (1, 1, 1))]
    ),
)


@pytest.fixture(scope="module", params=["a narrow network", "the paper's"])
def network(request, seeded_network):
    return seeded_network(NARROW if request.param == "a narrow network" else Network())


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 16, 32, 48, generator=torch.Generator().manual_seed(0))


def drawn(network, image, organs):
    with torch.inference_mode():
        levels = network.encode(image)
        return {organ: network.draw(levels, organ, BOXES[organ]) for organ in organs}


@pytest.mark.parametrize("organ", ORGANS)
def test_an_organ_is_bit_for_bit_the_same_alone_and_with_all(network, image, organ):
    alone, together = drawn(network, image, [organ]), drawn(network, image, ORGANS)
    reverse = drawn(network, image, ORGANS[::-1])
    assert torch.equal(alone[organ], together[organ])
    assert torch.equal(alone[organ], reverse[organ])


def test_locating_and_drawing_leave_the_levels_as_they_were(network, image):
    with torch.inference_mode():
        levels = network.encode(image)
        before = [level.clone() for level in levels]
        network.locate(levels)
        for organ in ORGANS:
            network.draw(levels, organ, BOXES[organ])
    assert all(torch.equal(a, b) for a, b in zip(levels, before, strict=True))


def test_an_organ_is_drawn_at_full_resolution_of_its_box(network, image):
    for organ, probability in drawn(network, image, ORGANS).items():
        assert probability.shape[2:] == BOXES[organ].shape_zyx
        assert 0 <= probability.min() < probability.max() <= 1


def test_the_crop_of_the_levels_is_the_decoders_only_input(network, image):
    box = BOXES["trachea"]
    with torch.inference_mode():
        levels = network.encode(image)
        expected = network.draw(levels, "trachea", box)
        for level, stride in zip(levels, network.strides_zyx, strict=True):
            inside = level[(..., *box.scaled_down(stride).slices)].clone()
            level.fill_(torch.nan)
            level[(..., *box.scaled_down(stride).slices)] = inside
        assert torch.equal(network.draw(levels, "trachea", box), expected)


def test_an_organ_depends_on_its_own_decoder_alone(seeded_network, image):
    network = seeded_network(NARROW)
    before = drawn(network, image, ORGANS)
    with torch.no_grad():
        for parameter in network.fine["heart"].parameters():
            parameter.add_(0.1)
    after = drawn(network, image, ORGANS)
    assert [o for o in ORGANS if not torch.equal(before[o], after[o])] == ["heart"]


def test_the_background_channel_changes_no_organ(seeded_network, image):
    network = seeded_network(NARROW)
    with torch.inference_mode():
        before = network.locate(network.encode(image)).probability
    with torch.no_grad():
        for head in network.coarse.heads:
            head.weight[0] = 7.0
            head.bias[0] = -3.0
    with torch.inference_mode():
        after = network.locate(network.encode(image)).probability
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_training_and_evaluation_mode_compute_the_same(seeded_network, image):
    network = seeded_network(NARROW)
    evaluated = drawn(network, image, ["heart"])["heart"]
    assert torch.equal(drawn(network.train(), image, ["heart"])["heart"], evaluated)


def test_fresh_weights_come_from_the_global_random_stream():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_network(NARROW, ORGANS).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_probabilities_are_float32_under_autocast(seeded_network, image):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {p.dtype for p in drawn(seeded_network(NARROW), image, ORGANS).values()} == {torch.float32}


SEPARATE = msgspec.structs.replace(NARROW, encoders="separate")


@pytest.mark.parametrize("part", ["coarse", "fine"])
def test_of_two_encoders_one_feeds_the_coarse_maps_and_the_other_the_fine_masks(seeded_network, image, part):
    network = seeded_network(SEPARATE)

    def maps():
        with torch.inference_mode():
            levels = network.encode(image)
            return network.locate(levels).probability, network.draw(levels, "heart", BOXES["heart"])

    before = maps()
    with torch.no_grad():
        for parameter in getattr(network.encoder, part).parameters():
            parameter.add_(0.1)
    same = [torch.equal(one, other) for one, other in zip(before, maps(), strict=True)]
    assert same == [part == "fine", part == "coarse"]


def test_separate_encoders_cost_one_encoder_more_and_nothing_else(seeded_network):
    def sizes(configuration):
        network = seeded_network(configuration)
        parts = {"encoder": network.encoder, "coarse": network.coarse, "fine": network.fine}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}

    shared, separate = sizes(NARROW), sizes(SEPARATE)
    assert separate == shared | {"encoder": 2 * shared["encoder"]}
