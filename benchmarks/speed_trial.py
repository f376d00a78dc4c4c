"""One trial of the training loop on a device: what a case takes of time and memory."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
import torch
from busy import Busy
from made_cases import made_cases
from provenance import processor
from torch import Tensor, nn

from thoar.core.box import Index3
from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.core.labels import SEGTHOR
from thoar.inference.device import choose_device
from thoar.network.network import CoarseToFineNetwork
from thoar.training.boxes import cap_of
from thoar.training.cases import TrainingCase
from thoar.training.memory import training_cost
from thoar.training.record import peak_memory_mib
from thoar.training.stages import Event, Pace, Run, go_on
from thoar.training.state import TrainingState, new_state
from thoar.training.steps import LOW_PRECISIONS, Context

CONFIGS = Path(str(files("thoar"))) / "configs"
SAME_CASES = 3
"""Different cases that are made; an epoch goes through them again and again."""

Stage = Literal["coarse", "joint"]
Shapes = tuple[Index3, dict[str, Index3]]
"""Of a step: the scan's, and the box's of every organ that was drawn."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured.

    Attributes:
        recipe: a shipped one.
        shape_zyx: of the prepared scan.
        stage: whose steps.
        precision: of the network's arithmetic.
        recomputed_levels: of the encoder.
        prefetch: cases drawn ahead.
        device: as for ``thoar train``; two with a comma where the decoders lie on another.
        threads: of torch on a CPU.
        steps: that are measured.
        most_bytes: that torch may hold of a GPU; None for all there is.
    """

    recipe: str
    shape_zyx: Index3
    stage: Stage
    precision: str = "bfloat16"
    recomputed_levels: int = 1
    prefetch: int = 2
    device: str = "cpu"
    threads: int = 1
    steps: int = 3
    most_bytes: float | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The most of a device: what tensors took, and what torch held; of a CPU, what was resident."""

    device: str
    allocated_mib: float
    reserved_mib: float | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial gave.

    Attributes:
        trial: what was measured.
        device: its name.
        case_s: seconds per case.
        data_share: part of them spent waiting for cases.
        memory: of every device.
        busy: part of the time that each GPU computed; None where nobody says.
        flops: of the convolutions, per case.
        peak_flops_per_s: of a matrix product in the same precision, on the first device.
    """

    trial: Trial
    device: str
    case_s: float
    data_share: float
    memory: tuple[Memory, ...]
    busy: tuple[float | None, ...]
    flops: float
    peak_flops_per_s: float

    @property
    def peak_share(self) -> float:
        """Part of what the device can do that the convolutions got out of it."""
        return self.flops / self.case_s / self.peak_flops_per_s


def measured(trial: Trial, work: Path) -> Measured:
    """Train: a few steps to warm up, then those that count.

    Args:
        trial: what to measure, in a process that nobody else has used: memory counts from its start.
        work: folder of the cases that are made.
    """
    torch.set_num_threads(trial.threads)
    devices = [choose_device(name) for name in trial.device.split(",")]
    _limit(devices, trial.most_bytes)
    configuration = configured(trial)
    cases = made_cases(work, configuration, trial.shape_zyx, count=SAME_CASES)
    context = Context(
        configuration=configuration,
        label_set=SEGTHOR,
        device=devices[0],
        decoder_device=devices[1] if len(devices) > 1 else None,
        cap_cells=_caps(cases, configuration),
    )
    state = new_state(configuration, SEGTHOR, devices[0], decoder_device=context.decoder_device)
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder, stage, first = Path(name), trial.stage, max(1, trial.steps // 6)
        trained(state, context, _repeated(cases, first), folder, stage=stage, epochs=1)
        busy, seen = Busy(devices), Seen(state.network)
        epoch = _repeated(cases, trial.steps)
        pace = trained(state, context, epoch, folder, stage=stage, epochs=2, watch=busy.watch)
    memory = memory_of(devices)
    return Measured(
        trial=trial,
        device=torch.cuda.get_device_name(devices[0]) if devices[0].type == "cuda" else processor(),
        case_s=pace.seconds / pace.steps,
        data_share=pace.data_share,
        memory=memory,
        busy=busy.shares,
        flops=sum(flops_of(step, configuration, devices[0]) for step in seen.steps) / len(seen.steps),
        peak_flops_per_s=matrix_product_flops_per_s(devices[0], trial.precision),
    )


def _limit(devices: Sequence[torch.device], most_bytes: float | None) -> None:
    """Let torch hold no more of every GPU."""
    for device in devices:
        if most_bytes is not None and device.type == "cuda":
            whole = torch.cuda.get_device_properties(device).total_memory
            number = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.set_per_process_memory_fraction(min(1.0, most_bytes / whole), number)


def out_of_memory(trial: Trial) -> Measured:
    """Return what is known of a trial that did not fit: it took endless memory and time."""
    memory = Memory(device=trial.device, allocated_mib=math.inf, reserved_mib=math.inf)
    return Measured(
        trial=trial,
        device=trial.device,
        case_s=math.inf,
        data_share=0.0,
        memory=(memory,),
        busy=(None,),
        flops=0.0,
        peak_flops_per_s=math.inf,
    )


def configured(trial: Trial) -> Configuration:
    """Return the recipe as the trial changes it; the network's own settings stay."""
    changed = [
        f"train.{name}={getattr(trial, name)}"
        for name in ("precision", "recomputed_levels", "prefetch", "threads")
    ]
    overrides = [*changed, "train.cases_per_epoch=0", "train.batch_cases=1"]
    recipe = load_toml(CONFIGS / f"{trial.recipe}.toml")
    return configuration_from(recipe, overrides=overrides, source=trial.recipe)


def trained(
    state: TrainingState,
    context: Context,
    cases: Sequence[TrainingCase],
    folder: Path,
    *,
    stage: Stage,
    epochs: int,
    watch: Callable[[Event], None] = lambda _: None,
) -> Pace:
    """Take a run to the end of an epoch of one stage, and return what that took."""
    lengths = {"coarse_epochs": 0, "joint_epochs": 0, f"{stage}_epochs": epochs}
    configuration = msgspec.structs.replace(
        context.configuration, train=msgspec.structs.replace(context.configuration.train, **lengths)
    )
    paces: list[Pace] = []
    run = Run(
        folder=folder,
        context=replace(context, configuration=configuration),
        training=cases,
        validation=(),
        watch=watch,
        should_stop=lambda: False,
        on_epoch=paces.append,
        first_step=state.progress.steps,
    )
    go_on(run, state)
    return paces[-1]


class Seen:
    """The shapes that the steps of a network see.

    Args:
        network: whose steps.

    Attributes:
        steps: per step the scan's shape, and the box's of every organ that was drawn.
    """

    def __init__(self, network: CoarseToFineNetwork) -> None:
        self.steps: list[Shapes] = []
        network.encoder.register_forward_pre_hook(self._began)
        for organ, decoder in network.fine.items():
            decoder.register_forward_hook(partial(self._drew, organ))

    def _began(self, _: nn.Module, images: tuple[Tensor]) -> None:
        z, y, x = images[0].shape[2:]
        self.steps.append(((z, y, x), {}))

    def _drew(self, organ: str, _: nn.Module, __: tuple[object], drawn: Tensor) -> None:
        z, y, x = drawn.shape[2:]
        self.steps[-1][1][organ] = (z, y, x)


def flops_of(step: Shapes, configuration: Configuration, device: torch.device) -> float:
    """Return the convolutions' arithmetic of one step."""
    shape, boxes = step
    cost = training_cost(
        configuration, SEGTHOR.names, shape_zyx=shape, boxes_zyx=boxes or None, device=device
    )
    return cost.flops


def matrix_product_flops_per_s(device: torch.device, precision: str) -> float:
    """Return how fast a large matrix product is in a precision: what convolutions could reach at best."""
    size, times = (8192 if device.type == "cuda" else 1024), 20
    dtype = LOW_PRECISIONS.get(precision, torch.float32)
    one, other = (torch.rand((size, size), device=device).to(dtype) for _ in range(2))
    torch.set_float32_matmul_precision("high")  # as convolutions have it by themselves
    seconds: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        (one @ other)[0, 0].item()
        seconds.append(time.perf_counter() - began)
    torch.set_float32_matmul_precision("highest")
    return 2 * size**3 / min(seconds)


def memory_of(devices: Sequence[torch.device]) -> tuple[Memory, ...]:
    """Return the most that this process has taken of every device."""
    return tuple(
        Memory(
            device=str(device),
            allocated_mib=peak_memory_mib(device) or math.nan,
            reserved_mib=torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None,
        )
        for device in devices
    )


def _caps(cases: Sequence[TrainingCase], configuration: Configuration) -> dict[str, float]:
    """Return the most cells of every organ's training box, as a run has them."""
    return {
        name: cap_of([case.box_cells[name].voxels for case in cases], configuration.boxes)
        for name in SEGTHOR.names
    }


def _repeated(cases: Sequence[TrainingCase], count: int) -> list[TrainingCase]:
    """Return so many cases; each time that one comes again it is called, and so changed, otherwise."""
    return [replace(cases[n % len(cases)], id=f"{cases[n % len(cases)].id}-{n}") for n in range(count)]
