"""A network's parts as ONNX graphs, written node by node: names are ours, and z, y and x may have any size.

``encoder_coarse`` turns the image into every level but the stem's, the mean and scale of the stem's norm, and
the coarse probability. ``fine`` turns crops of these into one organ's probability; the stem, the largest
level, never leaves the encoder and is computed again inside the box, from the image and that mean and scale.

Means are taken axis after axis. ONNX Runtime 1.32 and OpenVINO 2026.4 add up value by value in float32 in
InstanceNormalization, and in a mean over three axes at once: of 36 million normal numbers it was off by 0.01,
this by 1e-6.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, cast

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from thoar.core.box import Index3
from thoar.core.errors import ModelError
from thoar.network.blocks import ResidualBlock
from thoar.network.coarse import HEADS, CoarseDecoder
from thoar.network.encoder import Encoder
from thoar.network.fine import FineDecoder
from thoar.network.network import CoarseToFineNetwork, SeparateEncoders

OPSET = 17
"""The oldest that has all we need, so that older runtimes read it too."""
_IR_VERSION = 8

_ELEMENTWISE = ("Add", "Mul", "Relu", "Sigmoid", "Sub")
"""Kinds of nodes whose output has the size of their first input that is a map."""

_Size = int | str | None
"""A number, the name of one that may change, or one that nobody needs to name."""


def encoder_coarse(network: CoarseToFineNetwork) -> ModelProto:
    """Return the graph of ``image`` to ``level_1`` and so on, ``stem_mean``, ``stem_scale`` and ``coarse``.

    ``coarse`` has a channel for each organ of ``network.drawn``, and none for the background.

    Raises:
        ModelError: if the network is several in one.
    """
    graph = GraphProto(name="encoder_coarse")
    graph.input.append(_value("image", [1, 1, "z", "y", "x"]))
    seen, drawn = _encoders(network)
    levels, mean, scale = _encoded(graph, drawn)
    located = levels if seen is drawn else _encoded(graph, seen)[0]
    maps = [
        _located(graph, decoder, channels, levels=located, strides_zyx=network.strides_zyx)
        for decoder, channels in _coarse_parts(network)
    ]
    outputs = {"stem_mean": mean, "stem_scale": scale, "coarse": _node(graph, "Concat", *maps, axis=1)}
    outputs |= {level_name(index): level for index, level in enumerate(levels) if index}
    return _model(graph, outputs)


def fine(network: CoarseToFineNetwork, organ: str) -> ModelProto:
    """Return the graph of one organ's crops to its ``probability``.

    Its inputs are called as the outputs of :func:`encoder_coarse`, and ``image``, which has one voxel more
    than the box at every face: the image's own, or 0 beyond the image.

    Raises:
        ModelError: if the network is several in one.
    """
    graph = GraphProto(name=f"fine_{organ}")
    encoder, decoder = _encoders(network)[1], network.fine[organ]
    if not isinstance(decoder, FineDecoder):
        raise _several()
    convolution, norm, _ = encoder.stem
    statistic = [1, cast("nn.Conv3d", convolution).out_channels, 1, 1, 1]
    graph.input.append(_value("image", [1, 1, "z", "y", "x"]))
    graph.input.extend(_value(name, statistic) for name in ("stem_mean", "stem_scale"))
    for index, block in enumerate(encoder.blocks, 1):
        width = cast("nn.Conv3d", cast("ResidualBlock", block).residual[0]).out_channels
        graph.input.append(_value(level_name(index), [1, width, *(f"{axis}_{index}" for axis in "zyx")]))
    raw = _convolved(graph, cast("nn.Conv3d", convolution), "image", padded=False)
    centred = _node(graph, "Sub", raw, "stem_mean")
    stem = _node(graph, "Relu", _scaled(graph, norm, centred, "stem_scale"))
    levels = [stem, *(level_name(index) for index in range(1, len(network.strides_zyx)))]
    return _model(graph, {"probability": _drawn(graph, decoder, levels, network.strides_zyx)})


def level_name(index: int) -> str:
    """Return what a level is called in graphs; 0 is the stem's, which no graph hands out."""
    return f"level_{index}"


def _encoders(network: CoarseToFineNetwork) -> tuple[Encoder, Encoder]:
    """Return the encoders that the coarse and the fine decoders see."""
    encoder = network.encoder
    pair = (encoder.coarse, encoder.fine) if isinstance(encoder, SeparateEncoders) else (encoder, encoder)
    if not all(isinstance(one, Encoder) for one in pair):
        raise _several()
    return cast("tuple[Encoder, Encoder]", pair)


def _several() -> ModelError:
    return ModelError("several networks in one cannot be exported; export one fold of the cross-validation")


def _coarse_parts(network: CoarseToFineNetwork) -> list[tuple[CoarseDecoder, list[int]]]:
    """Return the coarse decoders with the channels of theirs that are drawn, in the order of the organs."""
    shared = [name for name in network.located if name not in network.own_coarse]
    channels = [1 + index for index, name in enumerate(shared) if name in network.fine]
    parts = [(network.coarse, channels)] if channels else []
    parts += [(network.own_coarse[name], [1]) for name in network.own_coarse if name in network.fine]
    return cast("list[tuple[CoarseDecoder, list[int]]]", parts)


def _encoded(graph: GraphProto, encoder: Encoder) -> tuple[list[str], str, str]:
    """Add an encoder; return its levels, and the mean and scale of its stem's norm."""
    convolution, norm, _ = encoder.stem
    centred, mean, scale = _statistics(graph, norm, _applied(graph, convolution, "image"))
    levels = [_node(graph, "Relu", _scaled(graph, norm, centred, scale))]
    for block in encoder.blocks:
        levels.append(_applied(graph, block, levels[-1]))
    return levels, mean, scale


def _located(
    graph: GraphProto,
    decoder: CoarseDecoder,
    channels: Sequence[int],
    *,
    levels: Sequence[str],
    strides_zyx: Sequence[Index3],
) -> str:
    """Add some channels of a coarse decoder: the mean of its heads on the coarse grid."""
    heads: list[str] = []
    for head, level, stride_zyx in zip(decoder.heads, levels[-HEADS:], strides_zyx[-HEADS:], strict=True):
        map_ = _convolved(graph, cast("nn.Conv3d", head), level, channels=channels)
        if decoder.average == "sigmoids":
            map_ = _node(graph, "Sigmoid", map_)
        factor = _ratio(strides_zyx[-1], stride_zyx)
        if factor != [1, 1, 1]:
            map_ = _node(graph, "AveragePool", map_, kernel_shape=factor, strides=factor)
        heads.append(map_)
    mean = _node(graph, "Mean", *heads)
    return mean if decoder.average == "sigmoids" else _node(graph, "Sigmoid", mean)


def _drawn(
    graph: GraphProto, decoder: FineDecoder, levels: Sequence[str], strides_zyx: Sequence[Index3]
) -> str:
    *uppers, features = (
        _applied(graph, enter, level) for enter, level in zip(decoder.enter, levels, strict=True)
    )
    steps = zip(decoder.narrow, decoder.refine, reversed(uppers), strict=True)
    for step, (narrow, refine, upper) in enumerate(steps, 1):
        features = _applied(graph, narrow, features)
        factor = _ratio(strides_zyx[-step], strides_zyx[-step - 1])
        if factor != [1, 1, 1]:
            features = _upsampled(graph, features, factor)
        features = _applied(graph, refine, _node(graph, "Add", features, upper))
    return _node(graph, "Sigmoid", _applied(graph, decoder.last, features))


def _ratio(coarse_zyx: Index3, fine_zyx: Index3) -> list[int]:
    return [a // b for a, b in zip(coarse_zyx, fine_zyx, strict=True)]


def _upsampled(graph: GraphProto, features: str, factor_zyx: Sequence[int]) -> str:
    factors = _weight(graph, np.array([1, 1, *factor_zyx], dtype=np.float32))
    centres = "half_pixel"  # as torch's align_corners=False
    return _node(
        graph, "Resize", features, "", factors, mode="linear", coordinate_transformation_mode=centres
    )


def _applied(graph: GraphProto, module: nn.Module, features: str) -> str:
    """Add a module, whatever its kind; return its output."""
    match module:
        case nn.Identity():
            return features
        case nn.ReLU():
            return _node(graph, "Relu", features)
        case nn.Conv3d():
            return _convolved(graph, module, features)
        case nn.InstanceNorm3d():
            centred, _, scale = _statistics(graph, module, features)
            return _scaled(graph, module, centred, scale)
        case ResidualBlock():
            branches = [_applied(graph, part, features) for part in (module.residual, module.shortcut)]
            return _node(graph, "Relu", _node(graph, "Add", *branches))
        case nn.Sequential():
            return reduce(lambda value, part: _applied(graph, part, value), module, features)
        case _:
            raise TypeError(f"no ONNX graph is known of {type(module).__name__}")


def _convolved(
    graph: GraphProto,
    module: nn.Conv3d,
    features: str,
    *,
    padded: bool = True,
    channels: Sequence[int] | None = None,
) -> str:
    kept = slice(None) if channels is None else list(channels)
    weights = [
        _weight(graph, _array(values)[kept]) for values in (module.weight, module.bias) if values is not None
    ]
    padding = [int(p) for p in module.padding] if padded else [0, 0, 0]
    return _node(
        graph,
        "Conv",
        features,
        *weights,
        kernel_shape=module.kernel_size,
        strides=module.stride,
        dilations=module.dilation,
        pads=[*padding, *padding],
    )


def _statistics(graph: GraphProto, norm: nn.Module, features: str) -> tuple[str, str, str]:
    """Add a norm's statistics; return the features less their mean, the mean, and the scale that is left."""
    norm = cast("nn.InstanceNorm3d", norm)
    mean = _mean_of_rows(graph, _node(graph, "ReduceMean", features, axes=[4]))
    centred = _node(graph, "Sub", features, mean)
    squares = _node(graph, "ReduceSumSquare", centred, axes=[4])
    variance = _mean_of_rows(graph, _node(graph, "Div", squares, _length(graph, centred, 4)))
    deviation = _node(graph, "Sqrt", _node(graph, "Add", variance, _weight(graph, np.float32(norm.eps))))
    return centred, mean, _node(graph, "Div", _weight(graph, _per_channel(norm.weight)), deviation)


def _mean_of_rows(graph: GraphProto, rows: str) -> str:
    """Add the mean along y, then z: as sums and divisions, since engines join means one after the other."""
    for axis in (3, 2):
        total = _node(graph, "ReduceSum", rows, _weight(graph, np.array([axis])))
        rows = _node(graph, "Div", total, _length(graph, rows, axis))
    return rows


def _length(graph: GraphProto, features: str, axis: int) -> str:
    size = _node(graph, "Shape", features, start=axis, end=axis + 1)
    return _node(graph, "Cast", size, to=TensorProto.FLOAT)


def _scaled(graph: GraphProto, norm: nn.Module, centred: str, scale: str) -> str:
    bias = _weight(graph, _per_channel(cast("nn.InstanceNorm3d", norm).bias))
    return _node(graph, "Add", _node(graph, "Mul", centred, scale), bias)


def _per_channel(values: Tensor) -> np.ndarray:
    return _array(values).reshape(1, -1, 1, 1, 1)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def _node(graph: GraphProto, kind: str, *inputs: str, **attributes: Any) -> str:
    """Add a node; return the name of its only output."""
    name = f"{kind}_{len(graph.node)}"
    graph.node.append(helper.make_node(kind, inputs, [name], name, **attributes))
    return name


def _weight(graph: GraphProto, values: np.ndarray | np.float32) -> str:
    name = f"weight_{len(graph.initializer)}"
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _value(name: str, sizes: Sequence[_Size]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


def _model(graph: GraphProto, outputs: dict[str, str]) -> ModelProto:
    """Return a checked model whose outputs have names of their own."""
    names = {value: name for name, value in outputs.items()}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    sizes = _sizes(graph)
    unknown: list[_Size] = [1, *[None] * 4]
    graph.output.extend(_value(name, sizes.pop(name, unknown)) for name in outputs)
    graph.value_info.extend(_value(name, size) for name, size in sizes.items())
    model = helper.make_model(
        graph, producer_name="thoar", ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _sizes(graph: GraphProto) -> dict[str, list[_Size]]:
    """Return the sizes of maps, equal ones by equal names: what is done with may then be written over.

    This takes a third off the memory that ONNX Runtime needs for a scan.
    """
    channels = {weight.name: weight.dims[0] for weight in graph.initializer}
    sizes: dict[str, list[_Size]] = {
        value.name: [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in graph.input
    }
    given = set(sizes)
    for node in graph.node:
        known = [sizes[name] for name in node.input if name in sizes]
        if node.op_type == "Conv":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            places = known[0][2:]
            if attributes["kernel_shape"][0] > 1 and not any(attributes["pads"]):
                places = [f"{place}_inside" for place in places]
            strided = [
                p if s == 1 else f"{p}_{s}" for p, s in zip(places, attributes["strides"], strict=True)
            ]
            sizes[node.output[0]] = [1, channels[node.input[1]], *strided]
        elif node.op_type in _ELEMENTWISE and known:
            sizes[node.output[0]] = known[0]
    return {name: size for name, size in sizes.items() if name not in given}
