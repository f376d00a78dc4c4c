"""Maps that give their slabs when asked, and the convolutions that make new ones of them.

Slabs are rows of z of one scan, (1, channel, row, y, x), with the channels last in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.box import Index3
from thoar.inference.slabs.precision import Precision

LAST = torch.channels_last_3d

Slab = Float[Tensor, "1 _channel _row _y _x"]


@runtime_checkable
class Map(Protocol):
    """Features that need not lie in memory."""

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        ...

    def slab(self, start: int, stop: int) -> Slab:
        """Return the rows from start to stop, which lie inside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A map that lies in memory as it is."""

    values: Slab
    compute: torch.dtype

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        return self.values.shape

    def slab(self, start: int, stop: int) -> Slab:
        """Return a view, where it is stored as it is computed in."""
        return self.values[:, :, start:stop].to(self.compute)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """What one channel after the other is multiplied and shifted by: an instance norm of a known map.

    Attributes:
        mean: of the whole map, per channel, like the others.
        variance: likewise.
        weight: the norm's own.
        bias: likewise.
        epsilon: likewise.
        relu: whether a ReLU follows.
    """

    mean: Float[Tensor, "channel"]
    variance: Float[Tensor, "channel"]
    weight: Float[Tensor, "channel"]
    bias: Float[Tensor, "channel"]
    epsilon: float
    relu: bool

    def __call__(self, slab: Slab) -> Slab:
        """Return a slab of the map, normalised."""
        values = functional.batch_norm(
            slab, self.mean, self.variance, self.weight, self.bias, training=False, eps=self.epsilon
        )
        return values.relu_() if self.relu else values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalised:
    """A convolution's output, stored, whose norm is applied when rows are asked for."""

    raw: Slab
    norm: Norm
    compute: torch.dtype

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        return self.raw.shape

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the normalised map."""
        return self.norm(self.raw[:, :, start:stop].to(self.compute))

    def wide(self, start: int, stop: int) -> Slab:
        """Return rows of the normalised map in float32, for what is rounded once, after more was done."""
        return self.norm(self.raw[:, :, start:stop].float())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sum:
    """The end of a residual block: two maps added in float32, and a ReLU."""

    residual: Normalised
    shortcut: Map

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        return self.residual.shape

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the block's features."""
        return self.wide(start, stop).to(self.residual.compute)

    def wide(self, start: int, stop: int) -> Slab:
        """Return rows of the block's features in float32."""
        shortcut = self.shortcut
        added = shortcut.wide(start, stop) if isinstance(shortcut, Normalised) else shortcut.slab(start, stop)
        return self.residual.wide(start, stop).add_(added).relu_()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wide:
    """A block's features in float32, for a convolution whose output is not rounded."""

    source: Sum

    @property
    def shape(self) -> torch.Size:
        """(1, channel, z, y, x)."""
        return self.source.shape

    def slab(self, start: int, stop: int) -> Slab:
        """Return rows of the block's features."""
        return self.source.wide(start, stop)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kernel:
    """A convolution's weights, laid out for slabs.

    Attributes:
        weight: channels last, of the type that is computed in.
        bias: where it has one.
        stride_zyx: of its output.
        dilation: the same along all axes.
    """

    weight: Float[Tensor, "out in k k k"]
    bias: Float[Tensor, "out"] | None
    stride_zyx: Index3
    dilation: int

    @property
    def reach(self) -> int:
        """Rows that are read beyond each end."""
        return self.dilation * (self.weight.shape[2] // 2)

    def __call__(self, rows: Slab, *, padding_z: int = 0) -> Slab:
        """Return the convolution of rows that hold what is read beyond their ends, but for the padding."""
        padding = (padding_z, self.reach, self.reach)
        stride, dilation = self.stride_zyx, (self.dilation,) * 3
        rows = rows.contiguous(memory_format=LAST)
        if rows.device.type == "cpu" and torch.backends.mkldnn.is_available():
            # conv3d itself sends small float32 maps, as slabs are, to a kernel that is ten times slower
            return torch.mkldnn_convolution(rows, self.weight, self.bias, padding, stride, dilation, 1)
        return functional.conv3d(rows, self.weight, self.bias, stride, padding, dilation)


def kernel_of(convolution: nn.Conv3d, compute: torch.dtype) -> Kernel:
    """Return a module's convolution."""
    stride_z, stride_y, stride_x = convolution.stride
    weight, bias = convolution.weight.detach(), convolution.bias
    return Kernel(
        weight=weight.to(compute, copy=True, memory_format=LAST),
        bias=None if bias is None else bias.detach().to(compute, copy=True),
        stride_zyx=(stride_z, stride_y, stride_x),
        dilation=convolution.dilation[0],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A convolution, the instance norm after it, and perhaps a ReLU."""

    kernel: Kernel
    weight: Float[Tensor, "channel"]
    bias: Float[Tensor, "channel"]
    epsilon: float
    relu: bool

    def norm(self, moments: "Moments") -> Norm:
        """Return the norm of a map that is known now."""
        return Norm(
            mean=moments.mean,
            variance=moments.variance,
            weight=self.weight,
            bias=self.bias,
            epsilon=self.epsilon,
            relu=self.relu,
        )


def layer_of(convolution: nn.Conv3d, norm: nn.Module, *, relu: bool, compute: torch.dtype) -> Layer:
    """Return a module's convolution with its norm.

    Raises:
        TypeError: if that is no instance norm with weights.
    """
    if not isinstance(norm, nn.InstanceNorm3d) or not norm.affine or norm.track_running_stats:
        raise TypeError(f"slabs know instance norms with weights, not {norm}")
    return Layer(
        kernel=kernel_of(convolution, compute),
        weight=norm.weight.detach().to(torch.float32, copy=True),
        bias=norm.bias.detach().to(torch.float32, copy=True),
        epsilon=norm.eps,
        relu=relu,
    )


def convolved(source: Map, layers: Sequence[Layer], precision: Precision) -> list[Normalised]:
    """Return the normalised convolutions of a map, whose rows are asked for once for all of them.

    Args:
        source: the map.
        layers: of one stride.
        precision: of what is stored.
    """
    kernels = [layer.kernel for layer in layers]
    moments = [Moments(kernel.weight) for kernel in kernels]
    depth = -(-source.shape[2] // kernels[0].stride_zyx[0])
    raw: list[Tensor] = []
    for start, stop, made in slabs_of(source, kernels, precision):
        if not raw:
            sizes = [(1, slab.shape[1], depth, *slab.shape[3:]) for slab in made]
            raw = [empty_map(size, kernels[0].weight.device, precision.stored) for size in sizes]
        for whole, slab, seen in zip(raw, made, moments, strict=True):
            seen.add(slab)
            whole[:, :, start:stop] = slab
    return [
        Normalised(raw=whole, norm=layer.norm(seen), compute=precision.compute)
        for whole, layer, seen in zip(raw, layers, moments, strict=True)
    ]


def settled(features: Sum, precision: Precision) -> Stored:
    """Return a map that lies in memory, in the place of what it was made of."""
    whole = features.residual.raw
    for start, stop in spans(whole.shape[2], whole[:, :, 0].numel(), precision):
        whole[:, :, start:stop] = features.slab(start, stop)
    return Stored(values=whole, compute=precision.compute)


def spans(rows: int, values_per_row: int, precision: Precision) -> Iterator[tuple[int, int]]:
    """Give the slabs of so many rows, from which to which, that fill a budget."""
    height = max(1, precision.slab_bytes // (values_per_row * precision.compute.itemsize))
    for start in range(0, rows, height):
        yield start, min(rows, start + height)


def slabs_of(
    source: Map, kernels: Sequence[Kernel], precision: Precision
) -> Iterator[tuple[int, int, list[Slab]]]:
    """Give the convolutions of a map slab by slab: from which row, to which, and what each kernel makes.

    The kernels have one stride. A dilated one is given the whole map at once: it reaches too far for slabs.
    """
    stride, depth = kernels[0].stride_zyx[0], source.shape[2]
    rows = -(-depth // stride)
    if any(kernel.dilation > 1 for kernel in kernels):
        whole = source.slab(0, depth)
        yield 0, rows, [kernel(whole, padding_z=kernel.reach) for kernel in kernels]
        return
    reach = max(kernel.reach for kernel in kernels)
    for start, stop in spans(rows, _values_per_row(source, kernels), precision):
        given = _with_air(source, start * stride - reach, (stop - 1) * stride + 1 + reach)
        spare = [reach - kernel.reach for kernel in kernels]
        parts = [given[:, :, more : given.shape[2] - more] for more in spare]
        yield start, stop, [kernel(part) for kernel, part in zip(kernels, parts, strict=True)]


def _values_per_row(source: Map, kernels: Sequence[Kernel]) -> int:
    """Return how many values a row of output has, with those that it is made of."""
    _, channels, _, y, x = source.shape
    stride_z, stride_y, stride_x = kernels[0].stride_zyx
    made = sum(kernel.weight.shape[0] for kernel in kernels) * -(-y // stride_y) * -(-x // stride_x)
    return made + channels * stride_z * y * x


def _with_air(source: Map, start: int, stop: int) -> Slab:
    """Return rows of a map, zeros where they lie outside of it: convolutions are padded with air."""
    depth = source.shape[2]
    first, last = max(start, 0), min(stop, depth)
    inside = source.slab(first, last)
    if first == start and last == stop:
        return inside
    rows = empty_map((*inside.shape[:2], stop - start, *inside.shape[3:]), inside.device, inside.dtype)
    rows[:, :, : first - start] = 0
    rows[:, :, last - start :] = 0
    rows[:, :, first - start : last - start] = inside
    return rows


def empty_map(size: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a map that holds nothing yet."""
    return torch.empty(tuple(size), dtype=dtype, device=device, memory_format=LAST)


class Moments:
    """Mean and variance per channel of slabs that come one after the other.

    Merged as Chan, Golub and LeVeque do (The American Statistician 37(3), 1983), in float64.

    Args:
        weight: of the convolution that makes the slabs.
    """

    def __init__(self, weight: Tensor) -> None:
        self._count = 0
        self._mean = torch.zeros(weight.shape[0], dtype=torch.float64, device=weight.device)
        self._squares = torch.zeros_like(self._mean)

    def add(self, slab: Slab) -> None:
        """Take a slab into account.

        Every column of x is summed by itself first: float32 sums over a whole slab would lose four digits.
        """
        _, channels, rows, y, x = slab.shape
        columns = slab.permute(0, 2, 3, 4, 1).reshape(rows * y, x * channels)
        kept = torch.zeros(2, x * channels, device=slab.device)
        means, variances = torch.batch_norm_update_stats(columns, kept[0], kept[1], 1.0)
        means, variances = means.view(x, channels).double(), variances.view(x, channels).double()
        mean, count = means.mean(0), rows * y * x
        squares = count * (variances.mean(0) + (means - mean).square().mean(0))
        apart, total = mean - self._mean, self._count + count
        self._squares += squares + apart.square() * (self._count * count / total)
        self._mean += apart * (count / total)
        self._count = total

    @property
    def mean(self) -> Float[Tensor, "channel"]:
        """Per channel, of all that was added."""
        return self._mean.float()

    @property
    def variance(self) -> Float[Tensor, "channel"]:
        """Per channel, of all that was added; the biased one, as instance norms take it."""
        return (self._squares / self._count).float()
