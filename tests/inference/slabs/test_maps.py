"""Slabs of a map, and what is merged over them, are the whole map's."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from thoar.inference.slabs.maps import (
    LAST,
    Moments,
    Norm,
    Normalised,
    Stored,
    Sum,
    convolved,
    kernel_of,
    layer_of,
    settled,
    slabs_of,
    spans,
)
from thoar.network.blocks import convolution, normalisation

SLAB_BYTES = (1, 3000, 9000, 2**40)


def noise(*size, mean=0.0, seed=0):
    made = mean + torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=LAST)


def stored(values):
    return Stored(values=values, compute=torch.float32)


def layer(given, made, *, relu=True, seed=0, **how):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        convolve, norm = convolution(given, made, **how), normalisation(made)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return nn.Sequential(convolve, norm), layer_of(convolve, norm, relu=relu, compute=torch.float32)


@pytest.mark.parametrize("rows", [1, 2, 7, 16])
@pytest.mark.parametrize("bytes_", [1, 40, 41, 95, 160, 10**9])
def test_spans_hold_every_row_once_and_fill_the_budget(float32, rows, bytes_):
    found = list(spans(rows, 10, float32(bytes_)))  # 40 bytes a row
    assert [row for start, stop in found for row in range(start, stop)] == list(range(rows))
    assert max(stop - start for start, stop in found) == min(rows, max(1, bytes_ // 40))


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"kernel": 1},
        {"stride_zyx": (1, 2, 2)},
        {"stride_zyx": (2, 2, 2)},
        {"stride_zyx": (2, 1, 1), "kernel": 1},
        {"stride_zyx": (3, 1, 2)},
        {"dilation": 3},
        {"dilation": 6},
        {"dilation": 3, "stride_zyx": (2, 2, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("depth", [1, 2, 7, 8])
def test_slabs_of_a_convolution_are_the_convolutions(float32, difference, how, depth, slab_bytes):
    module, source = convolution(3, 5, bias=True, **how), noise(3, depth, 9, 7)
    with torch.inference_mode():
        expected = module(source)
        kernel = kernel_of(module, torch.float32)
        parts = list(slabs_of(stored(source), [kernel], float32(slab_bytes)))
    assert [row for start, stop, _ in parts for row in range(start, stop)] == list(range(expected.shape[2]))
    assert difference(torch.cat([made for _, _, (made,) in parts], 2), expected) < 1e-6
    assert slab_bytes > 1 or "dilation" in how or len(parts) == expected.shape[2]


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
@pytest.mark.parametrize("dilation", [1, 3])
def test_kernels_of_several_sizes_share_the_rows(float32, difference, slab_bytes, dilation):
    source = noise(4, 9, 8, 6)
    modules, layers = zip(
        layer(4, 5, stride_zyx=(2, 2, 2), dilation=dilation, relu=False, seed=1),
        layer(4, 3, stride_zyx=(2, 2, 2), relu=False, seed=2),
        layer(4, 2, stride_zyx=(2, 2, 2), kernel=1, relu=False, seed=3),
        strict=True,
    )
    with torch.inference_mode():
        made = convolved(stored(source), layers, float32(slab_bytes))
        for module, map_ in zip(modules, made, strict=True):
            expected = module(source)
            assert map_.shape == expected.shape
            assert difference(map_.slab(0, 5), expected) < 1e-5
            assert difference(map_.slab(2, 4), expected[:, :, 2:4]) < 1e-5


@pytest.mark.parametrize("slab_bytes", SLAB_BYTES)
def test_the_end_of_a_block_settles_where_its_residual_lay(float32, difference, slab_bytes):
    source = noise(4, 7, 9, 8)
    module, one = layer(4, 4, relu=False)
    with torch.inference_mode():
        expected = torch.relu(module(source) + source)
        (residual,) = convolved(stored(source), [one], float32(slab_bytes))
        features = Sum(residual=residual, shortcut=stored(source))
        assert difference(features.slab(3, 5), expected[:, :, 3:5]) < 1e-5
        made = settled(features, float32(slab_bytes))
    assert made.values.data_ptr() == residual.raw.data_ptr()
    assert difference(made.values, expected) < 1e-5


def test_asking_for_rows_changes_none(float32):
    (_, one), source = layer(4, 4), noise(4, 7, 9, 8)
    with torch.inference_mode():
        (map_,) = convolved(stored(source), [one], float32(1))
        for features in (
            map_,
            Sum(residual=map_, shortcut=stored(source)),
            Sum(residual=map_, shortcut=map_),
        ):
            before = features.slab(0, 7).clone()
            features.slab(2, 5).zero_()
            assert torch.equal(features.slab(0, 7), before)
    assert torch.equal(source, noise(4, 7, 9, 8))


@pytest.mark.parametrize("relu", [True, False])
def test_a_norm_is_an_instance_norm_of_the_whole_map(difference, relu):
    raw, norm = noise(3, 8, 9, 7, mean=2.0), nn.InstanceNorm3d(3, affine=True)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    with torch.inference_mode():
        expected = functional.relu(norm(raw)) if relu else norm(raw)
        known = Norm(
            mean=raw.mean((0, 2, 3, 4)),
            variance=raw.var((0, 2, 3, 4), unbiased=False),
            weight=norm.weight,
            bias=norm.bias,
            epsilon=norm.eps,
            relu=relu,
        )
        map_ = Normalised(raw=raw, norm=known, compute=torch.float32)
        assert difference(map_.slab(1, 4), expected[:, :, 1:4]) < 1e-5


def splits(rows):
    """Return ways to cut rows into slabs: all of few rows, some of more."""
    cuts = itertools.product([False, True], repeat=rows - 1) if rows < 6 else _some_cuts(rows)
    for cut in cuts:
        edges = [0, *(i + 1 for i, is_cut in enumerate(cut) if is_cut), rows]
        yield list(itertools.pairwise(edges))


def _some_cuts(rows):
    generator = torch.Generator().manual_seed(1)
    yield [False] * (rows - 1)
    yield [True] * (rows - 1)
    for _ in range(10):
        yield (torch.rand(rows - 1, generator=generator) < 0.3).tolist()


@pytest.mark.parametrize("size", [(5, 5, 12, 16), (3, 24, 40, 33), (1, 3, 1, 5)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 30.0, -30.0])
def test_moments_are_the_whole_maps_in_any_split_of_its_rows(size, mean):
    values = noise(*size, mean=mean)
    values += torch.linspace(-0.3, 0.3, size[1])[:, None, None]  # slabs differ in their means
    exact = values.double()
    expected_mean = exact.mean((0, 2, 3, 4))
    expected_variance = exact.var((0, 2, 3, 4), unbiased=False)
    for split in splits(size[1]):
        moments = Moments(torch.zeros(size[0], 1))
        for start, stop in split:
            moments.add(values[:, :, start:stop])
        error = (moments.mean - expected_mean).abs() / expected_mean.abs().clamp_min(1.0)
        assert error.max() < 1e-6
        assert (moments.variance / expected_variance - 1).abs().max() < 1e-6


def test_one_sum_of_squares_would_have_lost_these_digits():
    values = noise(3, 24, 40, 33, mean=30.0)
    naive = values.square().mean((0, 2, 3, 4)) - values.mean((0, 2, 3, 4)).square()
    exact = values.double().var((0, 2, 3, 4), unbiased=False)
    assert (naive / exact - 1).abs().max() > 1e-5


@pytest.mark.parametrize(
    "norm",
    [
        nn.InstanceNorm3d(4),
        nn.GroupNorm(2, 4),
        nn.BatchNorm3d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.Identity(),
    ],
    ids=str,
)
def test_a_norm_that_is_no_instance_norm_with_weights_is_refused(norm):
    with pytest.raises(TypeError, match="slabs know instance norms with weights, not"):
        layer_of(convolution(3, 4), norm, relu=True, compute=torch.float32)
