"""What is done in a process of its own: one variant's times, its errors, or its masks."""

import copy
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engines.results import Agreement, Errors, Seconds, Timing
from engines.subjects import ORGANS, Scan, Subject, Task, bundle_of, scans_of, subject_of
from engines.variants import ROUNDED, VARIANTS
from torch import Tensor

from thoar.inference.predictor import Predictor
from thoar.metrics.overlap import dice
from thoar.network.network import CoarseToFineNetwork
from thoar.training.record import peak_memory_mib

CPU = torch.device("cpu")
RESET = Path("/proc/self/clear_refs")
"""Linux: a 5 written here lets the peak of the resident memory begin anew."""


def timed(name: str, variant: str, work: Path, threads: int) -> Timing:
    """Make a variant, let it do its work once, and measure it at that once more."""
    subject = _begun(name, work, threads)
    began = time.perf_counter()
    with torch.inference_mode():
        engine = VARIANTS[variant].make(subject, threads)
        _all_parts(engine, subject.image, subject.task)
        making_s, peak_mib = time.perf_counter() - began, peak_memory_mib(CPU)
        is_reset = _forget_peak()
        seconds = _all_parts(engine, subject.image, subject.task)
    working_mib = peak_memory_mib(CPU)
    return Timing(
        subject=name,
        variant=variant,
        making_s=making_s,
        seconds=seconds,
        working_mib=working_mib if is_reset else None,
        peak_mib=max(filter(None, (peak_mib, working_mib)), default=None),
    )


def compared(name: str, variant: str, work: Path, threads: int) -> Errors:
    """Return how far a variant is from the modules in float32."""
    subject = _begun(name, work, threads)
    with torch.inference_mode():
        wanted = _outputs(copy.deepcopy(subject.network), subject.image, subject.task)
        found = _outputs(VARIANTS[variant].make(subject, threads), subject.image, subject.task)
    levels, coarse, fine = found
    return Errors(
        subject=name,
        variant=variant,
        levels=[_relative(*pair) for pair in zip(levels, wanted[0], strict=True)],
        coarse=_largest(coarse, wanted[1]),
        fine={organ: _largest(drawn, wanted[2][organ]) for organ, drawn in fine.items()},
    )


def masks_of(name: str, variant: str, work: Path, threads: int, folders: tuple[Path, ...]) -> list[Agreement]:
    """Return how a variant's masks agree with the modules' in float32, organ by organ."""
    subject = _begun(name, work, threads)
    plain = Predictor.from_bundle(bundle_of(name), device="cpu", precision=None)
    changed = copy.copy(plain)
    changed.network = (VARIANTS | ROUNDED)[variant].make(subject, threads)
    return [
        agreement
        for scan in scans_of(name, folders)
        for agreement in _agreements(variant, scan, plain, changed)
    ]


def _agreements(variant: str, scan: Scan, plain: Predictor, changed: Predictor) -> Iterator[Agreement]:
    wanted, found = (predictor.predict_prepared(scan.prepared) for predictor in (plain, changed))
    for organ in ORGANS:
        before, after = (_dice(one.mask(organ), scan.masks[organ]) for one in (wanted, found))
        both = _dice(found.mask(organ), wanted.mask(organ))
        yield Agreement(variant=variant, case=scan.id, organ=organ, dice=both, change=after - before)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two masks; 1 where both are empty."""
    return dice(one, other) if one.any() or other.any() else 1.0


def _begun(name: str, work: Path, threads: int) -> Subject:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work / "inductor")
    torch.set_num_threads(threads)
    return subject_of(name, work)


def _all_parts(engine: CoarseToFineNetwork, image: Tensor, task: Task) -> dict[str, Seconds]:
    """Do everything once and return what each part took."""
    began = _now()
    levels = engine.encode(image)
    engine.locate(levels)
    seconds = {"encode": _since(began)}
    for organ, box in task.boxes.items():
        began = _now()
        engine.draw(levels, organ, box)
        seconds[organ] = _since(began)
    return seconds


def _outputs(
    engine: CoarseToFineNetwork, image: Tensor, task: Task
) -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
    levels: Any = engine.encode(image)
    coarse = engine.locate(levels).probability[:, 1:]
    fine = {organ: engine.draw(levels, organ, box) for organ, box in task.boxes.items()}
    return [levels[index] for index in range(1, len(levels))], coarse, fine


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def _largest(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).abs().max())


def _now() -> Seconds:
    return Seconds(wall=time.perf_counter(), cpu=time.process_time())


def _since(began: Seconds) -> Seconds:
    now = _now()
    return Seconds(wall=now.wall - began.wall, cpu=now.cpu - began.cpu)


def _forget_peak() -> bool:
    try:
        RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
