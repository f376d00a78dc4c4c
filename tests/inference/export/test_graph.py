"""The graphs compute what the modules compute, for images of any size, in the engines they are made for."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from thoar.core.box import Box
from thoar.core.errors import ModelError
from thoar.inference.export.graph import OPSET, _convolved, _statistics, _value, encoder_coarse, fine
from thoar.inference.export.runtime import ENGINES
from thoar.network.ensemble import ensemble
from thoar.network.network import CoarseToFineNetwork

Run = Callable[[onnx.ModelProto, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture(params=list(ENGINES))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Run a graph on an engine as ``runtime.py`` does."""
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}: pip install 'thoar[openvino]'")

    def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        path = tmp_path / f"{model.graph.name}.onnx"
        onnx.save(model, path)
        return ENGINES[request.param](path, 1)(inputs)

    return run


def difference(found: np.ndarray, expected: Tensor) -> float:
    assert found.shape == tuple(expected.shape)
    return float(np.abs(found - expected.numpy()).max())


@pytest.mark.parametrize("shape_zyx", [(8, 32, 40), (12, 16, 64)])
def test_graphs_give_what_the_modules_give(
    network: CoarseToFineNetwork, run: Run, shape_zyx: tuple[int, int, int]
) -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 1, *shape_zyx)
    with torch.inference_mode():
        levels = network.encode(image)
        coarse = network.locate(levels).probability[:, 1:]
    found = run(encoder_coarse(network), {"image": image.numpy()})
    drawn = levels[-len(network.strides_zyx) :]
    assert difference(found["coarse"], coarse) < 1e-5
    for index, level in enumerate(drawn[1:], 1):
        assert level.abs().max() > 1
        assert difference(found[f"level_{index}"], level) < 1e-4
    whole = Box.of_shape(shape_zyx)
    inner = Box(start_zyx=(2, 8, 0), stop_zyx=(6, 16, 16))
    padded = np.pad(image.numpy()[0, 0], 1)
    for organ in ("heart", "cord"):
        graph = fine(network, organ)
        for box in (whole, inner):
            crops = {name: found[name] for name in ("stem_mean", "stem_scale")}
            haloed = tuple(slice(a, b + 2) for a, b in zip(box.start_zyx, box.stop_zyx, strict=True))
            crops["image"] = padded[haloed][None, None]
            for index, stride_zyx in enumerate(network.strides_zyx[1:], 1):
                crops[f"level_{index}"] = found[f"level_{index}"][..., *box.scaled_down(stride_zyx).slices]
            with torch.inference_mode():
                expected = network.draw(levels, organ, box)
            assert expected.std() > 0.02
            assert difference(run(graph, crops)["probability"], expected) < 5e-5


def test_an_organ_that_was_not_loaded_has_no_coarse_channel(network: CoarseToFineNetwork, run: Run) -> None:
    image = {"image": np.random.default_rng(0).random((1, 1, 4, 16, 16), dtype=np.float32)}
    everything = run(encoder_coarse(network), image)["coarse"]
    del network.fine["heart"]
    some = run(encoder_coarse(network), image)["coarse"]
    assert everything.shape[1] == 3
    assert np.allclose(some, everything[:, 1:], atol=1e-6)
    del network.fine["aorta"]
    del network.fine["cord"], network.own_coarse["cord"]
    network.fine["heart"] = nn.Identity()
    assert np.allclose(run(encoder_coarse(network), image)["coarse"], everything[:, :1], atol=1e-6)


def test_a_mean_over_millions_of_voxels_is_as_exact_as_over_few(run: Run) -> None:
    """Engines lay channels out in blocks behind a convolution, and add up otherwise there."""
    values = np.random.default_rng(0).standard_normal((1, 1, 64, 256, 256), dtype=np.float32)
    graph = onnx.GraphProto(name="norm")
    graph.input.append(_value("x", [1, 1, "z", "y", "x"]))
    convolution, norm = nn.Conv3d(1, 8, 1), nn.InstanceNorm3d(8, affine=True)
    nn.init.uniform_(convolution.weight, 0.5, 2)
    nn.init.uniform_(convolution.bias, 1, 4)
    _, mean, scale = _statistics(graph, norm, _convolved(graph, convolution, "x"))
    graph.output.extend(_value(name, [1, 8, 1, 1, 1]) for name in (mean, scale))
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    found = run(model, {"x": values})
    weights, biases = convolution.weight.detach().numpy().ravel(), convolution.bias.detach().numpy()
    exact = weights * values.mean(dtype=np.float64) + biases
    assert np.allclose(found[mean].ravel(), exact, rtol=1e-5)
    exact = 1 / np.sqrt(weights**2 * values.var(dtype=np.float64) + norm.eps)
    assert np.allclose(found[scale].ravel(), exact, rtol=1e-5)


def test_equal_sizes_have_equal_names_so_that_memory_is_used_again(network: CoarseToFineNetwork) -> None:
    graph = encoder_coarse(network).graph
    known = {value.name for value in [*graph.value_info, *graph.output]}
    convolved = {node.output[0] for node in graph.node if node.op_type in ("Conv", "Relu", "Mul")}
    assert len(convolved) > 20
    assert convolved <= known


def test_several_networks_in_one_are_refused(network: CoarseToFineNetwork) -> None:
    both = ensemble([network, network])
    for graph in (lambda: encoder_coarse(both), lambda: fine(both, "heart")):
        with pytest.raises(ModelError, match="export one fold"):
            graph()
