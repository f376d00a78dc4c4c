"""A network by slabs says what the network says, and leaves it as it is."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from thoar.core.box import Box
from thoar.core.configuration import Configuration, Localisation, Network, Preparation
from thoar.core.labels import SEGTHOR
from thoar.inference.localisation import uncalibrated
from thoar.inference.predictor import Predictor
from thoar.inference.slabs.decoder import SlabDecoder
from thoar.inference.slabs.encoder import SlabEncoder
from thoar.inference.slabs.network import WideCoarse, by_slabs
from thoar.network.coarse import CoarseDecoder
from thoar.network.encoder import Encoder
from thoar.network.fine import FineDecoder

SCAN = (14, 40, 56)
BOXES = (
    Box(start_zyx=(4, 8, 16), stop_zyx=(10, 32, 40)),
    Box(start_zyx=(0, 0, 0), stop_zyx=(2, 8, 16)),
    Box(start_zyx=(12, 0, 24), stop_zyx=(14, 40, 56)),
    Box.of_shape(SCAN),
)
PLACE = BOXES[0]
SLAB_BYTES = (1, 20_000, 200_000, 2**40)


def assert_same(found, expected, difference, tolerance):
    assert found.keys() == expected.keys()
    apart = {name: difference(found[name], expected[name]) for name in expected}
    assert max(apart.values()) < tolerance, apart


def assert_says_something(seen):
    for name in ("coarse", "heart", "trachea", "aorta"):
        assert seen[name].std() > 0.01, f"{name} is saturated and proves nothing"


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_levels_maps_and_masks_are_the_modules_whatever_the_slabs(
    any_network, make_scan, float32, seen_by, difference, box
):
    image = make_scan(*SCAN)
    expected = seen_by(any_network, image, box)
    assert_says_something(expected)
    found = [seen_by(by_slabs(any_network, float32(n)), image, box) for n in SLAB_BYTES]
    for each in found:
        assert_same(each, expected, difference, 1e-5)
        assert_same(each, found[0], difference, 1e-5)


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
def test_shortcuts_made_apart_change_nothing(
    any_network, make_scan, float32, seen_by, difference, slab_bytes
):
    image = make_scan(*SCAN)
    apart = dataclasses.replace(float32(slab_bytes), together=False)
    found = seen_by(by_slabs(any_network, apart), image, PLACE)
    assert_same(found, seen_by(any_network, image, PLACE), difference, 1e-5)


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
def test_an_ensemble_of_two_says_what_its_modules_say(
    make_ensemble, make_scan, float32, seen_by, difference, slab_bytes
):
    image, network = make_scan(*SCAN), make_ensemble()
    expected = seen_by(network, image, PLACE)
    assert_says_something(expected)
    assert sum(name.startswith("level") for name in expected) == 10
    assert_same(seen_by(by_slabs(network, float32(slab_bytes)), image, PLACE), expected, difference, 1e-5)


def test_every_encoder_and_decoder_is_replaced_wherever_it_is(make_ensemble, float32):
    parts = list(by_slabs(make_ensemble(), float32(2**20)).modules())
    assert sum(isinstance(part, SlabEncoder) for part in parts) == 2
    assert sum(isinstance(part, SlabDecoder) for part in parts) == 6
    assert sum(isinstance(part, WideCoarse) for part in parts) == 4
    assert not any(isinstance(part, Encoder | FineDecoder) for part in parts)


def test_the_given_network_is_left_as_it_is(any_network, make_scan, float32, seen_by):
    image = make_scan(*SCAN)
    weights = {name: tensor.clone() for name, tensor in any_network.state_dict().items()}
    parts, before = list(any_network.modules()), seen_by(any_network, image, PLACE)
    slabs = by_slabs(any_network, float32(20_000))
    seen_by(slabs, image, PLACE)
    del slabs.fine["heart"]
    assert all(a is b for a, b in zip(any_network.modules(), parts, strict=True))
    after = any_network.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    again = seen_by(any_network, image, PLACE)
    assert all(torch.equal(again[name], before[name]) for name in before)


def test_weights_are_those_of_the_call_however_the_network_is_trained_on(
    make_network, make_scan, float32, seen_by, difference
):
    image, network = make_scan(*SCAN), make_network()
    slabs = by_slabs(network, float32(20_000))
    before = seen_by(slabs, image, PLACE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    later = seen_by(slabs, image, PLACE)
    assert all(torch.equal(later[name], before[name]) for name in before)
    trained = seen_by(network, image, PLACE)
    assert min(difference(trained[name], before[name]) for name in before) > 1e-3
    assert_same(seen_by(by_slabs(network, float32(20_000)), image, PLACE), trained, difference, 1e-5)


def replaced_norm(network, place, norm):
    *parents, last = place.split(".")
    setattr(network.get_submodule(".".join(parents)), last, norm)


@pytest.mark.parametrize(
    "place",
    [
        "encoder.stem.1",
        "encoder.blocks.0.residual.1",
        "encoder.blocks.2.residual.7",
        "encoder.blocks.1.shortcut.1",
        "fine.heart.narrow.0.1",
        "fine.aorta.refine.3.residual.4",
    ],
)
@pytest.mark.parametrize("kind", [nn.BatchNorm3d, nn.InstanceNorm3d, lambda n: nn.GroupNorm(1, n)])
def test_another_norm_is_refused_wherever_it_is(make_network, float32, place, kind):
    network = make_network()
    replaced_norm(network, place, kind(network.get_submodule(place).num_features))
    with pytest.raises(TypeError, match="slabs know instance norms with weights"):
        by_slabs(network, float32(2**20))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
def test_a_gpu_says_the_same(any_network, make_scan, float32, seen_by, difference, slab_bytes, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    image = make_scan(*SCAN)
    expected = seen_by(any_network, image, PLACE)
    try:
        slabs = by_slabs(any_network.cuda(), float32(slab_bytes))
    finally:
        any_network.cpu()
    found = seen_by(slabs, image.cuda(), PLACE)
    assert all(tensor.is_cuda for tensor in found.values())
    assert_same(found, expected, difference, 1e-3)


WANTED = SEGTHOR.subset(("heart", "trachea", "aorta"))
ANYWHERE = Localisation(threshold=0.45, organ_threshold={}, margin_cells=1, organ_margin_cells={})


def predictor_of(network, configuration=None, **how):
    settings = configuration or Configuration()
    return Predictor(
        network=network,
        configuration=settings,
        label_set=WANTED,
        localisation={name: uncalibrated(ANYWHERE, name) for name in WANTED.names},
        device="cpu",
        **how,
    )


@pytest.fixture
def settings():
    return Configuration(
        network=Network(), preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)), localisation=ANYWHERE
    )


@pytest.fixture
def small(make_phantom):
    heart = Box(start_zyx=(8, 18, 20), stop_zyx=(18, 30, 40))
    aorta = Box(start_zyx=(0, 32, 30), stop_zyx=(25, 38, 36))
    return make_phantom((25, 50, 60), {"heart": heart, "aorta": aorta}).volume


def test_a_predictor_without_precision_takes_the_modules_themselves(make_network):
    network = make_network()
    predictor = predictor_of(network, precision=None)
    assert predictor.network is network
    assert predictor.precision is None
    slabs = predictor_of(network, precision="float32")
    assert slabs.network is not network
    assert isinstance(slabs.network.encoder, SlabEncoder)
    assert isinstance(network.encoder, Encoder)
    assert isinstance(network.coarse, CoarseDecoder)


def test_masks_of_float32_slabs_are_those_of_the_modules(make_network, settings, small):
    network = make_network()
    expected = predictor_of(network, settings, precision=None).predict(small)
    found = predictor_of(network, settings, precision="float32").predict(small)
    for name in WANTED.names:
        one, other = found.organ(name), expected.organ(name)
        assert one.box_zyx == other.box_zyx
        assert one.flags.regrown == other.flags.regrown
        assert np.array_equal(found.coarse.mask[name], expected.coarse.mask[name])
        np.testing.assert_allclose(
            found.coarse.probability[name], expected.coarse.probability[name], atol=1e-5
        )
        probability = expected.probability(name).voxels.astype(np.float32)
        np.testing.assert_allclose(found.probability(name).voxels, probability, atol=1e-3)  # kept in float16
        mask = expected.mask(name)
        assert 100 < mask.sum() < mask.size - 100
        undecided = np.abs(probability - 0.5) < 1e-3
        assert not ((found.mask(name) != mask) & ~undecided).any()
        assert (found.mask(name) != mask).sum() <= 3


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_the_same_scan_gives_the_same_bits_again(make_network, settings, small, precision):
    network = make_network()
    one, other = (predictor_of(network, settings, precision=precision).predict(small) for _ in range(2))
    for name in WANTED.names:
        assert one.mask(name).any()
        assert np.array_equal(one.probability(name).voxels, other.probability(name).voxels)
        assert np.array_equal(one.mask(name), other.mask(name))
        assert np.array_equal(one.coarse.probability[name], other.coarse.probability[name])


@pytest.mark.parametrize("precision", [None, "float32"])
def test_a_predictor_says_how_long_each_stage_took(make_network, settings, small, precision):
    found = predictor_of(make_network(), settings, precision=precision).predict(small)
    assert set(found.seconds) == {"prepare", "encode", "locate", "draw", "paste"}
    assert all(found.seconds[stage] > 0 for stage in ("prepare", "encode", "locate", "draw"))
