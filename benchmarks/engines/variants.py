"""The ways that are measured, by name, and what they need besides torch."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from engines.on_graphs import (
    onnx_runtime,
    onnx_runtime_dynamic,
    onnx_runtime_static,
    openvino_in,
    openvino_int8,
)
from engines.on_torch import (
    LAST,
    compiled,
    of_type,
    under_autocast,
    with_norms_in_place,
    with_onednn,
)
from engines.rounding import POLICIES, Policy, rounded
from engines.subjects import Subject

from thoar.inference.slabs.network import by_slabs
from thoar.inference.slabs.precision import PrecisionName, choose_precision
from thoar.network.network import CoarseToFineNetwork

EAGER = "eager float32"
EAGER_DOUBLE = "eager float64"
"""Says how exact the others are; nobody would use it."""
COMPILERS = ("g++", "clang++", "cl")
GRAPHS = ("onnx", "onnxruntime")
OPENVINO = ("onnx", "openvino")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to run a network.

    Attributes:
        make: of a subject and a number of threads.
        needs: modules that must be installed.
        compiles: whether it needs a C++ compiler.
        only: the subjects that it is measured with; all where empty.
    """

    make: Callable[[Subject, int], CoarseToFineNetwork]
    needs: tuple[str, ...] = ()
    compiles: bool = False
    only: tuple[str, ...] = ()

    @property
    def lacks(self) -> str:
        """What it needs and is not here; empty where it can be measured."""
        absent = [module for module in self.needs if find_spec(module) is None]
        if self.compiles and not any(map(shutil.which, COMPILERS)):
            absent.append(f"a C++ compiler ({', '.join(COMPILERS)})")
        return ", ".join(absent)


def _slabs(subject: Subject, _: int, *, precision: PrecisionName) -> CoarseToFineNetwork:
    return by_slabs(subject.network, choose_precision(precision, torch.device("cpu")))


def _compiled(subject: Subject, _: int, *, freezing: bool, bfloat16: bool = False) -> CoarseToFineNetwork:
    context = partial(torch.autocast, "cpu", dtype=torch.bfloat16) if bfloat16 else nullcontext
    return compiled(subject.network, freezing=freezing, context=context)


def _rounded(subject: Subject, _: int, *, policy: Policy) -> CoarseToFineNetwork:
    return rounded(subject.network, policy)


VARIANTS: Mapping[str, Variant] = {
    EAGER: Variant(make=lambda subject, _: subject.network),
    EAGER_DOUBLE: Variant(
        make=lambda subject, _: of_type(subject.network, torch.float64, torch.contiguous_format),
        only=("thorax-fast", "tiny"),
    ),
    "channels last": Variant(make=lambda subject, _: of_type(subject.network, torch.float32, LAST)),
    "oneDNN everywhere": Variant(make=lambda subject, _: with_onednn(subject.network)),
    "oneDNN everywhere, channels last": Variant(
        make=lambda subject, _: of_type(with_onednn(subject.network), torch.float32, LAST)
    ),
    "norms in place": Variant(make=lambda subject, _: with_norms_in_place(subject.network)),
    "norms in place, oneDNN, channels last": Variant(
        make=lambda subject, _: of_type(
            with_norms_in_place(with_onednn(subject.network)), torch.float32, LAST
        )
    ),
    "autocast bfloat16": Variant(make=lambda subject, _: under_autocast(subject.network, torch.bfloat16)),
    "bfloat16, channels last": Variant(
        make=lambda subject, _: of_type(subject.network, torch.bfloat16, LAST)
    ),
    "slabs float32": Variant(make=partial(_slabs, precision="float32")),
    "slabs bfloat16": Variant(make=partial(_slabs, precision="bfloat16")),
    "slabs float16": Variant(make=partial(_slabs, precision="float16")),
    "inductor float32": Variant(make=partial(_compiled, freezing=False), compiles=True),
    "inductor float32, freezing": Variant(make=partial(_compiled, freezing=True), compiles=True),
    "inductor bfloat16, freezing": Variant(
        make=partial(_compiled, freezing=True, bfloat16=True), compiles=True
    ),
    "ONNX Runtime float32": Variant(make=onnx_runtime, needs=GRAPHS),
    "ONNX Runtime int8, dynamic": Variant(make=onnx_runtime_dynamic, needs=GRAPHS),
    "ONNX Runtime int8, static": Variant(make=onnx_runtime_static, needs=GRAPHS),
    "OpenVINO float32": Variant(make=partial(openvino_in, precision="f32"), needs=OPENVINO),
    "OpenVINO bfloat16": Variant(make=partial(openvino_in, precision="bf16"), needs=OPENVINO),
    "OpenVINO int8": Variant(make=openvino_int8, needs=(*OPENVINO, "nncf")),
}
ROUNDED: Mapping[str, Variant] = {
    name: Variant(make=partial(_rounded, policy=policy)) for name, policy in POLICIES.items()
}
