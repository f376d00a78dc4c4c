"""How fast `thoar train` is on a device, what memory it takes, and whether it waits for data.

    .venv/bin/python benchmarks/training_speed.py WORK [--device cuda] [--recipes fast paper] [--short]

The trainer's own loop takes a warm-up step and then an epoch on cases that are made here: a body of random
values with an ellipsoid for every organ. Of each recipe a base (bfloat16, one level recomputed, two cases
drawn ahead) and its single changes are measured, each in a process of its own, in both stages. On a GPU the
whole-scan promise is held: `paper` on 240×304×424 voxels in bfloat16 within 12 GB, the GPU busy over 85 %.
torch and thoar are enough, so it runs on a bare GPU machine (docs/how-to/train-the-shipped-models.md).
"""

import argparse
import math
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import torch
from provenance import code, processor
from speed_trial import Measured, Memory, Trial, measured, out_of_memory

from thoar.core.box import Index3
from thoar.inference.device import choose_device
from thoar.io.atomic import atomic_bytes

SHAPES: Mapping[str, Index3] = {
    "paper": (240, 304, 424),  # a whole chest and neck, the largest we promise
    "best": (240, 304, 424),
    "fast": (112, 132, 180),  # the sample CT
    "tiny": (112, 88, 120),
}
"""Of a prepared scan, per recipe."""
SHORT_SHAPE = (24, 64, 64)
MOST_BYTES, LEAST_BUSY = 12e9, 0.85
CONTEXT_BYTES = 0.5e9
"""Of a GPU, for CUDA's own context, which torch does not count."""


def main() -> None:
    """Measure every trial, print and write the table, and say whether the promise is kept."""
    given = parsed()
    device = str(choose_device(given.device.partition(",")[0]))
    trials = planned(
        given.recipes or (["fast", "paper"] if device.startswith("cuda") else ["fast"]),
        device=given.device if "," in given.device else device,
        threads=given.threads,
        steps=given.steps or (30 if device.startswith("cuda") else 3),
        shape_zyx=tuple(given.shape) if given.shape else None,
        short=given.short,
    )
    results: list[Measured] = []
    for trial in trials:
        results.append(alone(trial, given.work))
        print(row(results[-1]), flush=True)
    if not given.short:
        about = {"processor": processor(), "threads": given.threads, **code()}
        atomic_bytes(
            given.output.with_suffix(".json"), msgspec.json.encode({"about": about, "results": results})
        )
        atomic_bytes(given.output, ("\n".join(page(results, about)) + "\n").encode())
    if broken := [sentence for result in results for sentence in faults(result)]:
        sys.exit("\n".join(broken))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder for the cases that are made.")
    parser.add_argument("--device", default="auto", help="As for `thoar train`; two with a comma between.")
    parser.add_argument("--recipes", nargs="+", choices=tuple(SHAPES), help="fast, and paper on a GPU.")
    parser.add_argument(
        "--shape", nargs=3, type=int, metavar=("Z", "Y", "X"), help="Instead of each recipe's."
    )
    parser.add_argument("--steps", type=int, help="That are measured: 30 on a GPU, 3 on a CPU.")
    parser.add_argument("--threads", type=int, default=2, help="Of torch on a CPU.")
    parser.add_argument("--short", action="store_true", help="The base alone, on tiny scans; no page.")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


def planned(
    recipes: Sequence[str],
    *,
    device: str,
    threads: int,
    steps: int,
    shape_zyx: Index3 | None,
    short: bool,
) -> list[Trial]:
    """Return what to measure: of each recipe and stage a base and its single changes."""
    trials: list[Trial] = []
    for recipe in recipes:
        shape = shape_zyx or (SHORT_SHAPE if short else SHAPES[recipe])
        for stage in ("coarse", "joint"):
            base = Trial(
                recipe=recipe, shape_zyx=shape, stage=stage, device=device, threads=threads, steps=steps
            )
            trials += [base] if short else list(_changed(base))
    return trials


def _changed(base: Trial) -> Iterator[Trial]:
    """Yield a base and its single changes."""
    of_base = msgspec.structs.replace
    on_gpu = base.device.startswith("cuda")
    yield of_base(base, most_bytes=MOST_BYTES - CONTEXT_BYTES if on_gpu and base.recipe == "paper" else None)
    yield of_base(base, prefetch=0)
    yield of_base(base, recomputed_levels=0)
    yield of_base(base, recomputed_levels=3)
    yield of_base(base, precision="float32")
    if on_gpu:
        yield of_base(base, precision="float16")
        if base.stage == "joint" and "," not in base.device and torch.cuda.device_count() > 1:
            yield of_base(base, device="cuda:0,cuda:1")


def alone(trial: Trial, work: Path) -> Measured:
    """Measure a trial in a process of its own, whose memory nobody else has used."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measured, trial, work).result()
        except torch.OutOfMemoryError:
            return out_of_memory(trial)


def faults(result: Measured) -> list[str]:
    """Return what the whole-scan promise says and a result does not keep; nothing for other trials."""
    trial = result.trial
    if trial.recipe != "paper" or trial.most_bytes is None or trial.shape_zyx != SHAPES["paper"]:
        return []
    said = f"paper, {trial.stage}, {_spelled(trial.shape_zyx)} in {trial.precision}"
    most = max(memory.reserved_mib or 0 for memory in result.memory) * 2**20 + CONTEXT_BYTES
    found = [f"{said}: takes {most / 1e9:.1f} GB of a GPU, promised {MOST_BYTES / 1e9:g}"] * (
        most > MOST_BYTES
    )
    busy = [share for share in result.busy if share is not None]
    if not busy or min(busy) < LEAST_BUSY:
        shares = ", ".join(f"{share:.0%}" for share in busy) or "nobody says how much"
        found.append(f"{said}: GPU busy {shares}, promised {LEAST_BUSY:.0%}")
    return found


ABOUT = """\
A case is one step of the trainer's own loop: drawing it, forward, backward, the weights, reading the \
losses. Cases are random bodies with ellipsoids for organs: the times are those of real scans of that size, \
the losses mean nothing. The joint stage uses the network's own boxes, as in its second half. Every trial is \
a process of its own; its memory is the most that was resident (CPU, libraries included), or that tensors \
took / that torch held (GPU, without CUDA's own context of some 500 MB)."""

HEADINGS = (
    "recipe, scan, stage",
    "precision",
    "recomputed",
    "prefetch",
    "device",
    "s a case",
    "cases/s",
    "waiting for data",
    "memory, MiB",
    "GPU busy",
    "of the matrix product's peak",
)


def page(results: Sequence[Measured], about: Mapping[str, object]) -> list[str]:
    """Return the page's lines."""
    devices = ", ".join(dict.fromkeys(result.device for result in results))
    return [
        "# How fast training is",
        "",
        (
            f"Written by `benchmarks/training_speed.py` on {about['date']}: commit {about['commit']} "
            f"(sources changed: {about['changed']}), torch {about['torch']}, {devices}, "
            f"threads: {about['threads']}."
        ),
        "",
        ABOUT,
        "",
        *table(results),
        "",
        *(faults_told(results)),
    ]


def table(results: Sequence[Measured]) -> list[str]:
    """Return all results, a row each."""
    return [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|", *(row(result) for result in results)]


def row(result: Measured) -> str:
    """Return a result's row of the table."""
    trial = result.trial
    cells = (
        f"`{trial.recipe}` {_spelled(trial.shape_zyx)} {trial.stage}",
        trial.precision,
        trial.recomputed_levels,
        trial.prefetch,
        trial.device,
        f"{result.case_s:.3g}",
        f"{1 / result.case_s:.3g}",
        f"{result.data_share:.1%}",
        "; ".join(_memory(memory) for memory in result.memory),
        ", ".join("–" if share is None else f"{share:.0%}" for share in result.busy),
        f"{result.peak_share:.0%} of {result.peak_flops_per_s / 1e12:.3g} TFLOP/s",
    )
    return f"| {' | '.join(map(str, cells))} |"


def faults_told(results: Sequence[Measured]) -> list[str]:
    """Return what became of the promise."""
    if not any(result.trial.most_bytes for result in results):
        return ["The promise of `paper` on whole scans (12 GB, GPU busy over 85 %) was not measured here."]
    broken = [f"- {sentence}" for result in results for sentence in faults(result)]
    return broken or [
        "`paper` on whole scans kept its promise: within 12 GB of a GPU, and it busy over 85 %."
    ]


def _memory(memory: Memory) -> str:
    if math.isinf(memory.allocated_mib):
        return "too little"
    held = "" if memory.reserved_mib is None else f" / {memory.reserved_mib:.0f}"
    return f"{memory.allocated_mib:.0f}{held}"


def _spelled(shape_zyx: Index3) -> str:
    return "×".join(map(str, shape_zyx))


if __name__ == "__main__":
    main()
