"""One model segments one scan, in a process that nobody else has used.

    python -m whole_scans.once TASK.json RECORD.json

The model is loaded; then all is done that ``thoar segment`` does with a scan: it is read, predicted, written,
read back and put on record. The first time also sets up what torch sets up once.
"""

import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch
from whole_scans.told import Pass, WatchedNetwork

from thoar.core.box import Index3
from thoar.inference.ensemble import read_model
from thoar.inference.predictor import Predictor
from thoar.inference.slabs.precision import PrecisionName
from thoar.pipeline.case import segment_case
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.record import RunRecord
from thoar.pipeline.request import Request, Segmenter


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is done.

    Attributes:
        image: a scan.
        model: as for ``--model``.
        precision: None for the network's own modules.
        device: as for ``--device``.
        threads: of torch.
        truth: what an untrained network is told, a ``.npy`` file; None where the network is trained.
        times: that the scan is segmented.
        out: folder for the results.
    """

    image: str
    model: str
    precision: str | None
    device: str
    threads: int
    truth: str | None
    times: int
    out: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        total_s: of every time, by the clock, from the scan's file to the last result.
        seconds: of the last time, per stage.
        shape_zyx: of the scan.
        seen: by the network, the last time.
        found: organs with a contour.
        gpu_mib: most that tensors took of a GPU; None on a CPU.
    """

    total_s: list[float]
    seconds: dict[str, float]
    shape_zyx: Index3
    seen: Pass
    found: list[str]
    gpu_mib: float | None


def main() -> None:
    """Do what one file says, and write into another what came of it."""
    task, record = (Path(name) for name in sys.argv[1:3])
    done = segmented(msgspec.json.decode(task.read_bytes(), type=Task))
    record.write_bytes(msgspec.json.encode(done))


def segmented(task: Task) -> Done:
    """Load the model and segment the scan so many times."""
    torch.set_num_threads(task.threads)
    segmenter, network = watched_segmenter(task)
    case, out = InputCase(id="scan", path=Path(task.image)), Path(task.out)
    timed = [_timed(segmenter, case, out) for _ in range(task.times)]
    _, run = timed[-1]
    device = segmenter.predictor.device
    on_gpu = device.type == "cuda"
    return Done(
        total_s=[seconds for seconds, _ in timed],
        seconds=dict(run.seconds),
        shape_zyx=run.input.shape_zyx,
        seen=network.passes[-1],
        found=[name for name, organ in run.organs.items() if not organ.flags.not_found],
        gpu_mib=torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
    )


def watched_segmenter(task: Task) -> tuple[Segmenter, WatchedNetwork]:
    """Return the loaded model, and its network that is watched."""
    bundle = read_model(task.model, accelerated=task.device != "cpu")
    precision = cast("PrecisionName | None", task.precision)
    predictor = Predictor.from_bundle(bundle, device=task.device, precision=precision)
    network = WatchedNetwork(predictor.network, None if task.truth is None else np.load(task.truth))
    predictor.network = network
    request = Request(model=task.model, device=task.device, overwrite=True)
    return Segmenter(bundle=bundle, predictor=predictor, request=request), network


def _timed(segmenter: Segmenter, case: InputCase, out: Path) -> tuple[float, RunRecord]:
    began = time.perf_counter()
    run = segment_case(segmenter, case, out)
    return time.perf_counter() - began, run


if __name__ == "__main__":
    main()
