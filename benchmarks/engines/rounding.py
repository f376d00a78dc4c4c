"""Where rounding hurts: a network computed in float32 whose values are rounded where a policy says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from thoar.network.blocks import ConvolutionUnit, ResidualBlock
from thoar.network.encoder import Levels
from thoar.network.fine import FineDecoder
from thoar.network.network import CoarseToFineNetwork

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """To which type what is rounded; sums within a convolution and over a map stay float32 or better.

    Attributes:
        image: what the stem's convolution reads, and its weights.
        stem: what that convolution writes.
        operands: what the other convolutions read.
        weights: of these.
        raw: what these write, before their norm, and what its mean and variance are taken of.
        levels: what a stem, a residual block, a step upward gives out.
        summands: what is added in a residual block, or after going up.
        heads: what the coarse heads read, and their weights.
        last: the same of a decoder's last convolution.
    """

    image: torch.dtype = F32
    stem: torch.dtype = F32
    operands: torch.dtype = F32
    weights: torch.dtype = F32
    raw: torch.dtype = F32
    levels: torch.dtype = F32
    summands: torch.dtype = F32
    heads: torch.dtype = F32
    last: torch.dtype = F32


ALL_BF16 = Policy(**dict.fromkeys(Policy.__dataclass_fields__, BF16))
STEM_F32 = replace(ALL_BF16, image=F32, stem=F32)
SUMS_F32 = replace(STEM_F32, summands=F32, heads=F32, last=F32)
POLICIES: Mapping[str, Policy] = {
    "all bfloat16": ALL_BF16,
    "bfloat16, stem float32": STEM_F32,
    "bfloat16, stem and summands float32": replace(STEM_F32, summands=F32),
    "bfloat16, stem, heads and last convolution float32": replace(STEM_F32, heads=F32, last=F32),
    "bfloat16, stem, summands, heads and last convolution float32": SUMS_F32,
    "the same, levels float32 too": replace(SUMS_F32, levels=F32),
    "the same, raw maps and levels float32 too": replace(SUMS_F32, raw=F32, levels=F32),
    "only the stem's operands bfloat16": Policy(image=BF16),
    "only the stem's raw map bfloat16": Policy(stem=BF16),
    "only weights bfloat16": Policy(weights=BF16),
    "only operands bfloat16": Policy(operands=BF16),
    "only raw maps bfloat16": Policy(stem=BF16, raw=BF16),
    "only levels bfloat16": Policy(levels=BF16),
    "only summands bfloat16": Policy(summands=BF16),
    "only heads and last convolution bfloat16": Policy(heads=BF16, last=BF16),
    "raw maps and levels stored in float16": Policy(stem=F16, raw=F16, levels=F16),
    "all float16": Policy(**dict.fromkeys(Policy.__dataclass_fields__, F16)),
}


def rounded(network: CoarseToFineNetwork, policy: Policy) -> CoarseToFineNetwork:
    """Return a network that rounds; its modules are changed."""
    for module in network.modules():
        if isinstance(module, (ResidualBlock, ConvolutionUnit, FineDecoder)):
            kind: Callable[..., Tensor] = _FORWARD[type(module)]
            module.forward = partial(kind, module, policy)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv3d):
            read, weights = _operands(name, policy)
            module.forward = partial(_convolved, module, read, _as(module.weight.detach(), weights))
        elif isinstance(module, nn.InstanceNorm3d):
            module.forward = partial(_normalised, module, policy.stem if ".stem." in name else policy.raw)
    return network


def _operands(name: str, policy: Policy) -> tuple[torch.dtype, torch.dtype]:
    """Return what a convolution reads, and its weights."""
    if ".stem." in name:
        return policy.image, policy.image
    if ".heads." in name:
        return policy.heads, policy.heads
    if name.endswith(".last"):
        return policy.last, policy.last
    return policy.operands, policy.weights


def _as(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).float()


def _convolved(module: nn.Conv3d, read: torch.dtype, weight: Tensor, features: Tensor) -> Tensor:
    return torch.mkldnn_convolution(
        _as(features, read), weight, module.bias, module.padding, module.stride, module.dilation, 1
    )


def _normalised(norm: nn.InstanceNorm3d, kept: torch.dtype, features: Tensor) -> Tensor:
    raw = _as(features, kept)
    variance, mean = torch.var_mean(raw.double(), dim=(2, 3, 4), correction=0, keepdim=True)
    scale = norm.weight.view_as(mean) / (variance + norm.eps).sqrt()
    return raw * scale.float() + (norm.bias.view_as(mean) - mean * scale).float()


def _unit(unit: ConvolutionUnit, policy: Policy, features: Tensor) -> Tensor:
    convolution, norm, activation = unit
    return _as(activation(norm(convolution(features))), policy.levels)


def _block(block: ResidualBlock, policy: Policy, features: Tensor) -> Tensor:
    residual, shortcut = (
        _as(cast("nn.Module", part)(features), policy.summands) for part in (block.residual, block.shortcut)
    )
    return _as(torch.relu(residual + shortcut), policy.levels)


def _decoder(decoder: FineDecoder, policy: Policy, crops: Levels) -> Tensor:
    entered = [_as(enter(crop), policy.levels) for enter, crop in zip(decoder.enter, crops, strict=True)]
    *uppers, features = entered
    for narrow, refine, upper in zip(decoder.narrow, decoder.refine, reversed(uppers), strict=True):
        below = functional.interpolate(
            narrow(features), size=upper.shape[2:], mode="trilinear", align_corners=False
        )
        features = refine(_as(_as(below, policy.summands) + upper, policy.levels))
    return torch.sigmoid(decoder.last(features))


_FORWARD: dict[type[nn.Module], Callable[..., Tensor]] = {
    ConvolutionUnit: _unit,
    ResidualBlock: _block,
    FineDecoder: _decoder,
}
