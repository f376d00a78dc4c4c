"""What training takes of memory against what ``thoar dataset plan`` predicts, each in a process of its own.

    .venv/bin/python benchmarks/memory.py [--device cuda] [--threads 1] [-o benchmarks/memory.md]

Steps on noise towards empty masks, three of each kind. On a CPU the peak is the process's resident memory, on
a GPU what torch's tensors took (``max_memory_allocated``), to which the plan adds the allocator's waste and
the context. ``--one JSON`` is what the script calls itself with.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from thoar.core.configuration import configuration_from, load_toml
from thoar.training.memory import (
    inference_cost,
    training_cost,
    trial_inference,
    trial_network,
    trial_step,
)
from thoar.training.needs import HEAP_WASTE

ORGANS = ("esophagus", "heart", "trachea", "aorta")
STEPS = 3
BOXES = {"esophagus": (64, 48, 48), "heart": (32, 72, 80), "trachea": (32, 48, 48), "aorta": (64, 80, 56)}
LARGE = {
    "esophagus": (208, 104, 96),
    "heart": (100, 144, 168),
    "trachea": (92, 104, 112),
    "aorta": (200, 176, 120),
}
CPU = [
    ("fast", "coarse", (96, 128, 160), ("train.precision=float32",)),
    ("fast", "joint", (96, 128, 160), ()),
    ("fast", "joint", (96, 128, 160), ("train.precision=float32",)),
    ("fast", "joint", (96, 128, 160), ("train.recomputed_levels=2",)),
    ("fast", "coarse", (128, 192, 256), ()),
    ("fast", "validation", (96, 128, 160), ()),
    ("paper", "coarse", (96, 128, 160), ("train.precision=bfloat16",)),
    ("paper", "joint", (64, 128, 160), ("train.precision=bfloat16",)),
    ("paper", "joint", (64, 128, 160), ()),
    ("paper", "validation", (64, 128, 160), ()),
    ("tiny", "joint", (96, 96, 128), ()),
]
CUDA = [
    *(("fast", stage, (240, 304, 424), ()) for stage in ("coarse", "joint", "validation")),
    *(("paper", stage, (240, 304, 424), ()) for stage in ("coarse", "joint", "validation")),
    *(
        ("paper", stage, (240, 304, 424), ("train.precision=bfloat16", f"train.recomputed_levels={n}"))
        for stage in ("coarse", "joint")
        for n in (0, 1, 2)
    ),
]


def main() -> None:
    """Print a table, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        print(json.dumps(measured(*json.loads(arguments.one), device=torch.device(arguments.device))))
        return
    cases = CPU if arguments.device == "cpu" else CUDA
    rows = [row(case, one(case, arguments)) for case in cases]
    text = page(rows, arguments)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


def one(case: tuple[Any, ...], arguments: argparse.Namespace) -> dict[str, float]:
    """Measure one kind of step in a process of its own."""
    options = ["--device", arguments.device, "--threads", str(arguments.threads), "--one", json.dumps(case)]
    done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)  # noqa: S603 (ourselves)
    return json.loads(done.stdout.splitlines()[-1])


def measured(
    recipe: str, stage: str, shape_zyx: list[int], overrides: list[str], *, device: torch.device
) -> dict[str, float]:
    """Take the steps, then predict them."""
    path = Path(str(files("thoar"))) / "configs" / f"{recipe}.toml"
    configuration = configuration_from(load_toml(path), overrides=overrides)
    network = trial_network(configuration, ORGANS).to(device)
    boxes = None if stage == "coarse" else LARGE if shape_zyx[0] > 200 else BOXES  # noqa: PLR2004
    before, began = resident(), time.perf_counter()
    for _ in range(STEPS):
        image = torch.rand((1, 1, *shape_zyx), device=device)
        if stage == "validation":
            trial_inference(network, image, boxes_zyx=boxes or {})
        else:
            trial_step(network, image, configuration, boxes_zyx=boxes)
    step_s = (time.perf_counter() - began) / STEPS
    z, y, x = shape_zyx
    cost = (
        inference_cost(configuration, ORGANS, shape_zyx=(z, y, x), boxes_zyx=boxes or {}, device=device)
        if stage == "validation"
        else training_cost(configuration, ORGANS, shape_zyx=(z, y, x), boxes_zyx=boxes, device=device)
    )
    if device.type == "cuda":
        return {
            "real": torch.cuda.max_memory_allocated(device),
            "predicted": cost.peak_bytes,
            "step_s": step_s,
        }
    predicted = before + cost.peak_bytes - cost.weight_bytes + HEAP_WASTE[stage] * cost.small_bytes
    return {"real": resident(), "predicted": predicted, "step_s": step_s, "before": before}


def resident() -> int:
    """Return the most resident memory of this process so far.

    ``getrusage`` would count what the parent had when it started this process, too.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status does not say how much memory was used at most")


def row(case: tuple[Any, ...], found: dict[str, float]) -> str:
    """Return a line of the table."""
    recipe, stage, shape, overrides = case
    real, predicted = found["real"] / 2**20, found["predicted"] / 2**20
    size = "×".join(map(str, shape))
    settings = ", ".join(overrides)
    return (
        f"| {recipe} | {stage} | {size} | {settings} | {real:.0f} | {predicted:.0f} | "
        f"{predicted / real - 1:+.0%} | {found['step_s']:.1f} |"
    )


def page(rows: list[str], arguments: argparse.Namespace) -> str:
    """Return the page."""
    where = f"{arguments.threads} thread of a CPU ({platform.machine()})"
    if arguments.device != "cpu":
        where = torch.cuda.get_device_name()
    heading = (
        f"Written by `benchmarks/memory.py` on {time.strftime('%Y-%m-%d')}, {where}, torch "
        f"{torch.__version__}. MiB; the worst of {STEPS} steps."
    )
    return "\n".join(
        [
            "# Predicted and measured memory of training steps",
            "",
            heading,
            "",
            "| recipe | stage | voxels | settings | measured | predicted | error | s a step |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
