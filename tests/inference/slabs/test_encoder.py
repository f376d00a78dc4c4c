"""The encoder by slabs gives the levels of the encoder, and never stores the stem."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.inference.slabs.encoder import SlabEncoder, Stem
from thoar.inference.slabs.network import by_slabs
from thoar.network.encoder import Encoder, Level
from thoar.network.roi import crop_levels

EVERYTHING = (slice(None),) * 5
ODD = (13, 37, 51)
SLAB_BYTES = (1, 10_000, 100_000, 2**40)


def encoder_of(*blocks, stem=5, shortcut_kernel=3):
    torch.manual_seed(3)
    configuration = Network(stem_channels=stem, blocks=blocks, shortcut_kernel=shortcut_kernel)
    encoder = Encoder(configuration).eval()
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 1:  # the norms'
            torch.nn.init.uniform_(parameter, *((0.5, 1.5) if name.endswith("weight") else (-0.5, 0.5)))
    return encoder


def block(channels, convolutions=2, stride_zyx=(1, 1, 1), dilation=1):
    return Block(channels=channels, convolutions=convolutions, stride_zyx=stride_zyx, dilation=dilation)


ENCODERS = {
    "strides": (block(6, 2, (1, 2, 2)), block(7, 2, (2, 2, 2)), block(8, 2, (2, 1, 1))),
    "dilations": (block(6, 2, (2, 2, 2)), block(7, 3, (1, 2, 2), 3), block(7, 2, dilation=6)),
    "depths": (block(6, 1, (1, 2, 2)), block(7, 3, (2, 2, 2)), block(8, 1)),
    "identities": (block(5, 2), block(5, 1), block(5, 3, dilation=3)),
}


@pytest.mark.parametrize("shortcut_kernel", [1, 3])
@pytest.mark.parametrize("kind", ENCODERS)
def test_levels_are_the_encoders_at_odd_sizes_whatever_the_slabs(
    float32, make_scan, difference, kind, shortcut_kernel
):
    encoder, image = encoder_of(*ENCODERS[kind], shortcut_kernel=shortcut_kernel), make_scan(*ODD)
    with torch.inference_mode():
        expected = encoder(image)
        for slab_bytes in SLAB_BYTES:
            levels = SlabEncoder(encoder, float32(slab_bytes))(image)
            assert len(levels) == len(expected)
            for level, module in zip(levels, expected, strict=True):
                assert level.shape == module.shape
                assert difference(level[EVERYTHING], module) < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scans_of_few_slices_are_encoded_too(float32, make_scan, difference, depth):
    encoder, image = encoder_of(*ENCODERS["strides"]), make_scan(depth, 16, 24)
    with torch.inference_mode():
        levels = SlabEncoder(encoder, float32(1))(image)
        for level, module in zip(levels, encoder(image), strict=True):
            assert difference(level[EVERYTHING], module) < 1e-5


def box(*corners):
    return Box(start_zyx=corners[:3], stop_zyx=corners[3:])


FACES = [
    box(
        *(cut if axis == face else 0 for axis in range(3)),
        *(n if axis != face else stop for axis, n in shape),
    )
    for shape in [list(enumerate(ODD))]
    for face in range(3)
    for cut, stop in [(0, 1), (0, 4), (ODD[face] - 1, ODD[face]), (ODD[face] - 4, ODD[face])]
]
CORNERS = [
    box(*(s for s, _ in corner), *(e for _, e in corner))
    for size in (1, 5)
    for corner in itertools.product(*[[(0, size), (n - size, n)] for n in ODD])
]
INSIDE = [box(4, 9, 17, 9, 20, 18), box(6, 18, 25, 7, 19, 26), box(1, 1, 1, 12, 36, 50), Box.of_shape(ODD)]


def test_the_stem_inside_a_box_is_the_stem_of_the_whole_scan_there(float32, make_scan):
    encoder, image = encoder_of(*ENCODERS["strides"]), make_scan(*ODD)
    with torch.inference_mode():
        whole = encoder.stem(image)
        stem = SlabEncoder(encoder, float32(20_000))(image)[0]
        for place in (*FACES, *CORNERS, *INSIDE):
            part = (slice(None), slice(None), *place.slices)
            assert stem[part].shape == whole[part].shape
            assert (stem[part] - whole[part]).abs().max() < 1e-5 * whole.abs().max()
            assert (stem[part] - stem[EVERYTHING][part]).abs().max() < 1e-6 * whole.abs().max()


def test_the_stem_is_a_level_and_is_sliced_like_a_tensor(float32, make_scan, difference):
    encoder, image = encoder_of(*ENCODERS["strides"]), make_scan(*ODD)
    with torch.inference_mode():
        whole = encoder.stem(image)
        stem = SlabEncoder(encoder, float32(20_000))(image)[0]
        assert isinstance(stem, Stem)
        assert isinstance(stem, Level)
        assert stem.shape == whole.shape == (1, 5, *ODD)
        for z, y, x in [
            (slice(3, None), slice(None, 7), slice(2, -2)),
            (slice(-4, None), slice(None), slice(40, 99)),
        ]:
            assert difference(stem[:, :, z, y, x], whole[:, :, z, y, x]) < 1e-5


def test_boxes_of_all_levels_are_cut_as_those_of_tensors(float32, make_network, make_scan, difference):
    network, image = make_network(), make_scan(12, 40, 56)
    place = box(2, 8, 16, 8, 32, 48)
    with torch.inference_mode():
        expected = crop_levels(network.encode(image), place, network.strides_zyx)
        levels = by_slabs(network, float32(20_000)).encode(image)
        crops = crop_levels(levels, place, network.strides_zyx)
        for crop, module in zip(crops, expected, strict=True):
            assert difference(crop, module) < 1e-5
        with pytest.raises(ValueError, match="reaches outside a level"):
            crop_levels(levels, box(2, 8, 16, 14, 32, 48), network.strides_zyx)


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        for value in given if isinstance(given, tuple | list) else (given,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return given


def test_nothing_as_large_as_the_stem_is_made_on_the_way(float32, make_network, make_scan):
    network, image = make_network(), make_scan(24, 40, 56)
    largest = {}
    with torch.inference_mode():
        for slab_bytes in (1, 100_000, 2**40):
            slabs = by_slabs(network, float32(slab_bytes))
            with Largest() as seen:
                levels = slabs.encode(image)
                slabs.locate(levels)
                slabs.draw(levels, "heart", box(2, 8, 16, 8, 32, 40))
            largest[slab_bytes] = seen.elements
        first_block = levels[1].shape.numel()
    whole = 6 * image.numel()
    assert first_block < whole / 2
    assert largest[1] == largest[100_000] == first_block  # which is kept
    assert largest[2**40] >= whole, "this measure would have seen it"
