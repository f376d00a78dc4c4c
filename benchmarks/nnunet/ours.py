"""Our side: a recipe whose epochs are fitted to the clock."""

import shutil
from pathlib import Path

import msgspec
import torch
from budget import Pace, epochs_that_fit, length_of, pace_of, settings_of, train
from costs import Cost, command
from nnunet.side import Side, Task, kept, scored, shown
from provenance import code

from thoar.inference.bundle import read_bundle
from thoar.io.atomic import atomic_bytes

RECIPE = Path(__file__).parent / "ours.toml"
COARSE_SHARE = 0.25
"""Part of the epochs that belongs to the coarse stage."""


def our_side(task: Task) -> Side:
    """Find how many epochs fit, train, segment."""
    task.place.mkdir(parents=True, exist_ok=True)
    epochs = epochs_that_fit(pace(task), budget_s=60 * task.minutes, coarse_share=COARSE_SHARE)
    return Side(
        name="thoar",
        prepare=None,
        train=kept(task, "train", lambda: trained(task, epochs)),
        segment=kept(task, "segment", lambda: segmented(task)),
        facts=facts(task, epochs),
        cases=scored(task),
        code=code(),
        minutes=task.minutes,
        threads=task.threads,
    )


def pace(task: Task) -> Pace:
    """Return the recipe's pace on this machine, measured once and kept."""
    path = task.place / "pace.json"
    if not path.is_file():
        data, trial = task.data / "training", task.place / "trial"
        measured = pace_of(RECIPE, data, trial, overrides=[], threads=task.threads)
        atomic_bytes(path, msgspec.json.encode(measured))
    return msgspec.json.decode(path.read_bytes(), type=Pace)


def trained(task: Task, epochs: dict[str, int]) -> Cost:
    """Train within the budget."""
    run, most_s = task.place / "run", 60 * task.minutes
    settings = settings_of(epochs)
    return train(RECIPE, task.data / "training", run, overrides=settings, threads=task.threads, max_s=most_s)


def segmented(task: Task) -> Cost:
    """Segment the held-out cases."""
    masks = task.place / "masks"
    shutil.rmtree(masks, ignore_errors=True)
    words = ["segment", task.data / "test", "-o", masks, "--model", task.place / "run", "--device", "cpu"]
    return command([*words, "--formats", "nifti"], task.place / "segment.log", threads=task.threads)


def facts(task: Task, epochs: dict[str, int]) -> dict[str, str]:
    """Return what our run was."""
    bundle = read_bundle(task.place / "run" / "best")
    settings = bundle.configuration
    length = length_of(task.place / "run")
    planned = f"{epochs['coarse']} coarse and {epochs['joint']} joint epochs"
    return {
        "version": f"recipe nnunet/ours.toml, torch {torch.__version__}",
        "weights": f"{sum(p.numel() for p in bundle.network.parameters()) / 1e6:.1f} M",
        "sees": "whole scans cropped to the body, 1 a step",
        "voxels (z, y, x)": f"{shown(settings.preparation.spacing_zyx_mm)} mm",
        "precision": settings.train.precision,
        "steps": f"{length.steps}; {length.outcome}, {planned} planned",
        "at test time": "one pass",
    }
