"""Engines of others that run the graphs of ``thoar model export``: ONNX Runtime and OpenVINO.

Their libraries are imported when they are needed, so that a machine without them measures the others.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engines.on_torch import SameModules
from engines.subjects import ORGANS, Subject, network_of
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from thoar.core.box import Box, Index3
from thoar.network.coarse import CoarseMaps
from thoar.network.network import CoarseToFineNetwork
from thoar.network.roi import crop_levels

Arrays = Mapping[str, np.ndarray]
Graph = Callable[[Arrays], Arrays]
ENCODER = "encoder_coarse"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded(Sequence[Tensor]):
    """What the encoder's graph gives out; the stem's level, the first, is not among it.

    Attributes:
        image: that it was given.
        values: by name.
        count: of levels.
    """

    image: Tensor
    values: Arrays
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        """Return a level other than the first, or several of these."""
        if isinstance(index, slice):
            return [self[i] for i in range(self.count)[index]]
        return torch.from_numpy(self.values[f"level_{range(self.count)[index]}"])


class Graphs(SameModules):
    """A network's graphs in its place.

    Args:
        network: what they were made of.
        graphs: the encoder's, and every organ's by its name.
    """

    def __init__(self, network: CoarseToFineNetwork, graphs: Mapping[str, Graph]) -> None:
        super().__init__(network)
        self.graphs = graphs

    def encode(self, image: Float[Tensor, "1 1 z y x"]) -> Encoded:
        """Return the levels of an image, and the coarse maps with them."""
        values = self.graphs[ENCODER]({"image": image.numpy()})
        return Encoded(image=image, values=values, count=len(self.strides_zyx))

    def locate(self, levels: Encoded) -> CoarseMaps:
        """Return the coarse maps, with nothing in the background's channel."""
        organs = torch.from_numpy(levels.values["coarse"])
        return CoarseMaps(torch.cat([torch.zeros_like(organs[:, :1]), organs], dim=1), ())

    def draw(self, levels: Encoded, organ: str, box_zyx: Box) -> Float[Tensor, "1 1 z y x"]:
        """Return one organ's probability in a box."""
        given = crops_of(levels, box_zyx, self.strides_zyx)
        return torch.from_numpy(self.graphs[organ](given)["probability"])


def crops_of(levels: Encoded, box_zyx: Box, strides_zyx: Sequence[Index3]) -> Arrays:
    """Return what a decoder's graph is given: levels in a box, and the image there with one voxel around."""
    z, y, x = box_zyx.slices
    wide = functional.pad(levels.image, (1,) * 6)  # a box of the image starts one voxel earlier in this one
    image = wide[:, :, z.start : z.stop + 2, y.start : y.stop + 2, x.start : x.stop + 2]
    crops = crop_levels(levels[1:], box_zyx, strides_zyx[1:])
    named = {f"level_{index}": crop for index, crop in enumerate(crops, 1)} | {"image": image}
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in named.items()}
    return arrays | {name: levels.values[name] for name in ("stem_mean", "stem_scale")}


def graphs_of(subject: Subject, run: Callable[[Path], Graph], suffix: str = "onnx") -> Graphs:
    """Return a subject's graphs as an engine runs them."""
    graphs = {part: run(subject.folder / f"{part}.{suffix}") for part in (ENCODER, *ORGANS)}
    return Graphs(subject.network, graphs)


def export(subject: Subject) -> None:
    """Write a subject's graphs, unless they are there."""
    import onnx  # noqa: PLC0415

    from thoar.inference.export.graph import encoder_coarse, fine  # noqa: PLC0415 (needs onnx)

    network: CoarseToFineNetwork = network_of(subject.name)
    for part in (ENCODER, *ORGANS):
        path = subject.folder / f"{part}.onnx"
        if not path.is_file():
            onnx.save(encoder_coarse(network) if part == ENCODER else fine(network, part), path)


def examples(subject: Subject, graphs: Graphs) -> dict[str, Arrays]:
    """Return what every graph is given on the subject's own scan; organs without a box have the heart's."""
    levels = graphs.encode(subject.image)
    boxes = subject.task.boxes
    first = next(iter(boxes.values()))
    crops = {organ: crops_of(levels, boxes.get(organ, first), graphs.strides_zyx) for organ in ORGANS}
    return {ENCODER: {"image": subject.image.numpy()}, **crops}


# ONNX Runtime


def with_onnx_runtime(threads: int) -> Callable[[Path], Graph]:
    """Return what loads a graph into ONNX Runtime."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3

    def loaded(path: Path) -> Graph:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda given: dict(zip(names, session.run(names, dict(given)), strict=True))

    return loaded


def onnx_runtime(subject: Subject, threads: int) -> Graphs:
    """Run the graphs as they are."""
    export(subject)
    return graphs_of(subject, with_onnx_runtime(threads))


def onnx_runtime_dynamic(subject: Subject, threads: int) -> Graphs:
    """Run convolutions in 8 bits, whose inputs' ranges are found anew in every scan."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    export(subject)
    for part in (ENCODER, *ORGANS):
        made = subject.folder / f"{part}.dynamic.onnx"
        if not made.is_file():
            quantize_dynamic(
                subject.folder / f"{part}.onnx",
                made,
                op_types_to_quantize=["Conv"],
                weight_type=QuantType.QUInt8,
            )
    return graphs_of(subject, with_onnx_runtime(threads), "dynamic.onnx")


def onnx_runtime_static(subject: Subject, threads: int) -> Graphs:
    """Run convolutions in 8 bits, whose inputs' ranges are those of the subject's own scan."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static  # noqa: PLC0415

    class Once(CalibrationDataReader):
        """Gives one example."""

        def __init__(self, example: Arrays) -> None:
            self._left = [dict(example)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return it, then nothing."""
            return self._left.pop() if self._left else None

    plain = onnx_runtime(subject, threads)
    missing = [part for part in (ENCODER, *ORGANS) if not (subject.folder / f"{part}.static.onnx").is_file()]
    given = examples(subject, plain) if missing else {}
    for part in missing:
        quantize_static(
            subject.folder / f"{part}.onnx",
            subject.folder / f"{part}.static.onnx",
            Once(given[part]),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return graphs_of(subject, with_onnx_runtime(threads), "static.onnx")


# OpenVINO


def with_openvino(threads: int, precision: str) -> Callable[[Path], Graph]:
    """Return what loads a graph into OpenVINO, which compiles it anew for all shapes that it is given.

    Compiled for shapes that may change, 2026.4 computes nonsense with convolutions of 8 bits.
    """
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}

    def loaded(path: Path) -> Graph:
        made: dict[str, Any] = {}

        def run(given: Arrays) -> Arrays:
            shapes = {name: list(array.shape) for name, array in given.items()}
            key = str(shapes)
            if key not in made:
                model = core.read_model(path)
                model.reshape(shapes)
                made.clear()  # as many as one scan needs at a time
                made[key] = core.compile_model(model, "CPU", settings)
            found = made[key](dict(given))
            return {name: found[output] for output in made[key].outputs for name in output.get_names()}

        return run

    return loaded


def openvino_in(subject: Subject, threads: int, *, precision: str) -> Graphs:
    """Run the graphs in a precision."""
    export(subject)
    return graphs_of(subject, with_openvino(threads, precision))


def openvino_int8(subject: Subject, threads: int) -> Graphs:
    """Run convolutions in 8 bits, whose inputs' ranges are those of the subject's own scan."""
    import nncf  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    nncf.set_log_level(logging.ERROR)
    plain, core = openvino_in(subject, threads, precision="f32"), openvino.Core()
    missing = [part for part in (ENCODER, *ORGANS) if not (subject.folder / f"{part}.int8.xml").is_file()]
    given = examples(subject, plain) if missing else {}
    for part in missing:
        model = core.read_model(subject.folder / f"{part}.onnx")
        others = sorted({node.get_type_name() for node in model.get_ops()} - {"Convolution"})
        made = nncf.quantize(
            model,
            nncf.Dataset([dict(given[part])]),
            subset_size=1,
            ignored_scope=nncf.IgnoredScope(types=others, validate=False),
        )
        openvino.save_model(made, subject.folder / f"{part}.int8.xml", compress_to_fp16=False)
    return graphs_of(subject, with_openvino(threads, "f32"), "int8.xml")
