"""How fast a processor multiplies matrices at best, by the clock: what convolutions could reach.

Libraries differ: one may know a processor badly that another knows well. So several are asked, and the
fastest counts.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SIZES = {"cpu": (1024, 2048), "cuda": (8192,)}
CHANNELS, EDGE = 64, 48
LEAST_S = 0.5
"""Each product is repeated at least so long; the fastest run counts."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """The best product of one precision.

    Attributes:
        precision: of what is multiplied.
        gflop_per_s: reached.
        by: what reached it.
        others: what the other ones reached.
    """

    precision: str
    gflop_per_s: float
    by: str
    others: dict[str, float]


def peak_of(precision: str, device: str, threads: int) -> Peak:
    """Measure the products of a precision."""
    torch.set_num_threads(threads)
    found = {name: rate(product, flop) for name, flop, product in _products(precision, torch.device(device))}
    best = max(found, key=lambda name: found[name])
    others = {name: reached for name, reached in found.items() if name != best}
    return Peak(precision=precision, gflop_per_s=found[best], by=best, others=others)


def rate(product: Callable[[], object], flop: float) -> float:
    """Return 10⁹ operations a second of a product's fastest run."""
    product()
    seconds: list[float] = []
    until = time.perf_counter() + LEAST_S
    while len(seconds) < 3 or time.perf_counter() < until:  # noqa: PLR2004 (runs, at least)
        began = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - began)
    return flop / min(seconds) / 1e9


def _products(precision: str, device: torch.device) -> Iterator[tuple[str, float, Callable[[], object]]]:
    """Yield what is measured: its name, its operations, and how it is done."""
    dtype = DTYPES[precision]
    for size in SIZES[device.type]:
        one, other = (torch.rand((size, size), device=device).to(dtype) for _ in range(2))
        yield f"torch.matmul of {size}²", 2.0 * size**3, partial(_torch_product, one, other)
        if device.type == "cpu" and torch.backends.mkldnn.is_available():
            yield f"oneDNN's linear layer of {size}²", 2.0 * size**3, partial(_linear, one, other)
        if device.type == "cpu" and dtype == torch.float32:
            yield f"numpy of {size}²", 2.0 * size**3, partial(np.matmul, one.numpy(), other.numpy())
    maps, weights = (
        torch.rand(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last_3d)
        for shape in ((1, CHANNELS, EDGE, EDGE, EDGE), (CHANNELS, CHANNELS, 3, 3, 3))
    )
    flop = 2.0 * CHANNELS**2 * 27 * (EDGE - 2) ** 3
    yield f"a convolution of {CHANNELS} channels", flop, partial(_convolution, maps, weights)


def _torch_product(one: Tensor, other: Tensor) -> float:
    return (one @ other)[0, 0].item()  # a GPU is done when a value is here


def _convolution(maps: Tensor, weights: Tensor) -> float:
    return functional.conv3d(maps, weights)[0, 0, 0, 0, 0].item()


def _linear(one: Tensor, other: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(one, other, None, "none", [], "")  # noqa: SLF001 (what torch.compile calls)
