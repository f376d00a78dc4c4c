"""Who takes part, and how one of them is measured with one scan."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import msgspec
from costs import Cost, measured
from whole_scans.arithmetic import gflop_of
from whole_scans.models import FAST, configuration_of, model_of
from whole_scans.once import Done, Task
from whole_scans.results import NNUNET, NNUNET_WHOLE, Measurement, Patches
from whole_scans.scans import SAMPLE_KINDS, Scan
from whole_scans.told import write_truth

from thoar.core.box import Index3
from thoar.core.labels import SEGTHOR
from thoar.inference.ensemble import read_model
from thoar.inference.slabs.precision import PRECISIONS

BENCHMARKS = Path(__file__).parents[1]
PREDICT = BENCHMARKS / "nnunet" / "predict.py"
MODULES = "modules"
"""In place of a precision: the network's own modules, in float32."""
VERSIONS = "import torch, importlib.metadata as m; print(m.version('nnunetv2'), torch.__version__)"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for every scan.

    Attributes:
        work: keeps scans, models and logs.
        device: of ours.
        threads: of everybody.
        times: that a process of ours segments its scan; the last time counts.
        peer: folder of nnU-Net's programs, where it takes part.
        patches: that nnU-Net computes.
    """

    work: Path
    device: str
    threads: int
    times: int
    peer: Path | None
    patches: int


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """What ``nnunet/predict.py`` says of a scan."""

    seconds: dict[str, float]
    shape_zyx: Index3
    patches: int
    computed: int
    patch_s: float
    patch_gflop: float


def parts_of(contender: str) -> tuple[str, str | None]:
    """Return the model and the precision of one of ours.

    >>> parts_of("paper-narrow-float32"), parts_of("fast-modules")
    (('paper-narrow', 'float32'), ('fast', None))

    Raises:
        ValueError: if there is no precision that we know.
    """
    model, _, precision = contender.rpartition("-")
    if not model or precision not in (*PRECISIONS, MODULES):
        raise ValueError(f"{contender}: give a model and one of {', '.join((*PRECISIONS, MODULES))}")
    return model, None if precision == MODULES else precision


def takes_part(contender: str, scan: str) -> bool:
    """Say whether a contender reads a scan's kind of file; nnU-Net reads .nii.gz alone here."""
    return contender not in (NNUNET, NNUNET_WHOLE) or scan not in SAMPLE_KINDS[1:]


def measurement(contender: str, scan: Scan, terms: Terms) -> Measurement:
    """Measure one contender with one scan, in a process of its own."""
    one = theirs if contender in (NNUNET, NNUNET_WHOLE) else ours
    return one(contender, scan, terms)


def ours(contender: str, scan: Scan, terms: Terms) -> Measurement:
    """Measure a model of ours."""
    name, precision = parts_of(contender)
    place = _place(terms, contender, scan)
    model = model_of(terms.work, name)
    task = Task(
        image=str(scan.image),
        model=model,
        precision=precision,
        device=terms.device,
        threads=terms.threads,
        truth=None if name == FAST else str(truth_of(terms.work, name, scan)),
        times=terms.times,
        out=str(place / "out"),
    )
    given, record = place / "task.json", place / "record.json"
    given.write_bytes(msgspec.json.encode(task))
    path = os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH"))))
    line = [sys.executable, "-m", "whole_scans.once", given, record]
    cost = measured(line, place / "log", threads=terms.threads, settings={"PYTHONPATH": path})
    done = msgspec.json.decode(record.read_bytes(), type=Done)
    return Measurement(
        contender=contender,
        scan=scan.name,
        shape_zyx=done.shape_zyx,
        seconds=done.seconds,
        total_s=done.total_s[-1],
        first_s=done.total_s[0] if len(done.total_s) > 1 else None,
        cost=cost,
        gflop=gflop_of(read_model(model).configuration, SEGTHOR.names, done.seen),
        found=done.found,
        gpu_mib=done.gpu_mib,
    )


def theirs(contender: str, scan: Scan, terms: Terms) -> Measurement:
    """Measure nnU-Net: all its patches, or a few."""
    place = _place(terms, contender, scan)
    record = place / "record.json"
    line = ["scan", their_model(terms), scan.image, place / "mask.nii.gz", "--threads", terms.threads]
    few = [] if contender == NNUNET_WHOLE else ["--patches", terms.patches]
    cost = _predict(terms, [*line, *few, "--record", record], place / "log")
    done = msgspec.json.decode(record.read_bytes(), type=Predicted)
    stages = {stage: seconds for stage, seconds in done.seconds.items() if stage != "load"}
    return Measurement(
        contender=contender,
        scan=scan.name,
        shape_zyx=done.shape_zyx,
        seconds=stages,
        total_s=sum(stages.values()),
        first_s=None,
        cost=cost,
        gflop={"network": done.patches * done.patch_gflop},
        patches=Patches(
            number=done.patches,
            computed=done.computed,
            patch_s=done.patch_s,
            patch_gflop=done.patch_gflop,
        ),
    )


def truth_of(work: Path, model: str, scan: Scan) -> Path:
    """Return the file with what an untrained model is told of a scan, made first where it is not there."""
    path = work / "truth" / f"{model}-{scan.name}.npy"
    if not path.is_file():
        alone(write_truth, path, scan.image, scan.labels, configuration_of(model))
    return path


def their_model(terms: Terms) -> Path:
    """Return nnU-Net's model, made first where it is not there."""
    folder = terms.work / "nnunet" / "model"
    if not (folder / "plans.json").is_file():
        _predict(terms, ["model", folder], terms.work / "nnunet" / "model.log")
    return folder


def peer_versions(terms: Terms) -> str:
    """Return nnU-Net's version and its torch's; nothing where it does not take part."""
    if terms.peer is None:
        return ""
    log = terms.work / "nnunet" / "versions.log"
    measured([terms.peer / "python", "-c", VERSIONS], log)
    version, its_torch = log.read_text(encoding="utf-8").split()[-2:]
    return f"nnunetv2 {version}, torch {its_torch}"


def alone(do: Callable[..., _Result], *arguments: object) -> _Result:
    """Do something in a process of its own, which takes its memory with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(do, *arguments).result()


def _predict(terms: Terms, words: list[object], log: Path) -> Cost:
    """Run ``nnunet/predict.py`` in nnU-Net's environment."""
    if terms.peer is None:
        raise SystemExit("nnU-Net takes part, so --peer must say where its programs are")
    folders = {
        f"nnUNet_{part}": str(terms.work / "nnunet" / part) for part in ("raw", "preprocessed", "results")
    }
    return measured([terms.peer / "python", PREDICT, *words], log, threads=terms.threads, settings=folders)


def _place(terms: Terms, contender: str, scan: Scan) -> Path:
    place = terms.work / "done" / f"{contender}-{scan.name}"
    place.mkdir(parents=True, exist_ok=True)
    return place
