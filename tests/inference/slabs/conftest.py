"""Small networks whose convolutions, norms and biases have weights of no particular value."""

from collections.abc import Callable
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.inference.slabs.precision import Precision
from thoar.network.ensemble import ensemble
from thoar.network.network import CoarseToFineNetwork, build_network

ORGANS = ("heart", "trachea", "aorta")
ONE_ROW, ONE_SLAB = 1, 2**40
"""Bytes of slabs that hold no more than a row, and of those that hold everything."""

PAPERS = (
    Block(channels=8, convolutions=2, stride_zyx=(1, 2, 2)),
    Block(channels=10, convolutions=2, stride_zyx=(2, 2, 2)),
    Block(channels=12, convolutions=3, stride_zyx=(1, 2, 2), dilation=3),
    Block(channels=14, convolutions=3, dilation=6),
)
KEEPING = (
    Block(channels=6, convolutions=1),
    Block(channels=6, convolutions=3, stride_zyx=(2, 2, 2)),
    Block(channels=6, convolutions=2),
    Block(channels=9, convolutions=1, stride_zyx=(1, 2, 2)),
)
NETWORKS = MappingProxyType(
    {
        "as the paper's": Network(stem_channels=6, blocks=PAPERS),
        "shapes kept": Network(stem_channels=6, blocks=KEEPING),
        "thin shortcuts": Network(stem_channels=6, blocks=PAPERS, shortcut_kernel=1, average="logits"),
        "other widths": Network(stem_channels=6, blocks=KEEPING, decoder_channels=(4, 6, 5, 7, 3)),
        "two encoders": Network(stem_channels=4, blocks=PAPERS, encoders="separate"),
    }
)


def unruly(configuration: Network = NETWORKS["as the paper's"], seed: int = 0) -> CoarseToFineNetwork:
    """Return an untrained network whose every weight matters; the aorta has a coarse decoder of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(configuration, ORGANS, ("aorta",)).eval()
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm3d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
            elif isinstance(module, nn.Conv3d) and module.bias is not None:
                nn.init.uniform_(module.bias, -0.5, 0.5)
        for decoder in (network.coarse, *network.own_coarse.values(), *network.fine.values()):
            for last in (m for m in decoder.modules() if isinstance(m, nn.Conv3d) and m.out_channels < 4):
                last.weight.data.mul_(0.3)  # no sigmoid is saturated: a difference then shows
    return network


def of_two(configuration: Network = NETWORKS["as the paper's"]) -> CoarseToFineNetwork:
    return ensemble([unruly(configuration, 1), unruly(configuration, 2)])


def scan(*shape_zyx: int) -> Tensor:
    """Return noise with a bright block, which no axis can be turned in."""
    image = 0.5 * torch.rand(1, 1, *shape_zyx, generator=torch.Generator().manual_seed(0))
    z, y, x = (n // 3 for n in shape_zyx)
    image[..., :z, y:, x : 2 * x] += 0.5
    return image


def apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    assert one.shape == other.shape
    return float((one.double().cpu() - other.double().cpu()).abs().max() / other.double().abs().max().cpu())


def single(slab_bytes: int) -> Precision:
    return Precision(name="float32", compute=torch.float32, stored=torch.float32, slab_bytes=slab_bytes)


def everything_of(network: CoarseToFineNetwork, image: Tensor, box_zyx: Box) -> dict[str, Tensor]:
    """Return all levels, coarse maps and one box's probability per organ."""
    with torch.inference_mode():
        levels = network.encode(image)
        maps = network.locate(levels)
        seen = {f"level {i}": level[(slice(None),) * 5] for i, level in enumerate(levels)}
        seen |= {f"head {i}": head for i, head in enumerate(maps.heads)} | {"coarse": maps.probability}
        return seen | {organ: network.draw(levels, organ, box_zyx) for organ in network.drawn}


@pytest.fixture(scope="session", params=list(NETWORKS))
def any_network(request: pytest.FixtureRequest) -> CoarseToFineNetwork:
    return unruly(NETWORKS[request.param])


@pytest.fixture(scope="session")
def make_network() -> Callable[..., CoarseToFineNetwork]:
    return unruly


@pytest.fixture(scope="session")
def make_ensemble() -> Callable[..., CoarseToFineNetwork]:
    return of_two


@pytest.fixture(scope="session")
def make_scan() -> Callable[..., Tensor]:
    return scan


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, Tensor], float]:
    return apart


@pytest.fixture(scope="session")
def float32() -> Callable[[int], Precision]:
    return single


@pytest.fixture(scope="session")
def seen_by() -> Callable[..., dict[str, Tensor]]:
    return everything_of
