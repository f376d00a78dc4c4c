"""nnU-Net's side: its own plan, its own trainer on a clock, its own predictor."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from costs import Cost, command, measured
from nnunet.side import Side, Task, kept, scored, shown
from provenance import code

from thoar.datasets.manifest import read_dataset

PEER = Path(__file__).parent / "peer.py"
NUMBER = 501
"""Of the data set in nnU-Net's folders."""
VERSIONS = (
    "import torch; from importlib.metadata import version; print(version('nnunetv2'), torch.__version__)"
)


def their_side(task: Task) -> Side:
    """Plan and preprocess with nnU-Net's own program, train and predict with it on a clock (``peer.py``)."""
    task.place.mkdir(parents=True, exist_ok=True)
    plan = kept(task, "plan", lambda: planned(task))
    left_s = 60 * task.minutes - plan.wall_s
    train = kept(task, "train", lambda: trained(task, left_s))
    return Side(
        name="nnU-Net",
        prepare=plan,
        train=train,
        segment=kept(task, "segment", lambda: segmented(task)),
        facts=facts(task),
        cases=scored(task),
        code=code(),
        minutes=task.minutes,
        threads=task.threads,
    )


def planned(task: Task) -> Cost:
    """Hand over the training cases; return what planning and preprocessing cost."""
    shutil.rmtree(task.place / "raw", ignore_errors=True)
    name = f"Dataset{NUMBER}_Thorax"
    source, raw = task.data / "training", task.place / "raw"
    command(["dataset", "export", "nnunet", source, "-o", raw, "--name", name], task.place / "export.log")
    few = ("-npfp", task.threads, "-np", task.threads)
    program = ["nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", "3d_fullres"]
    return called(task, "plan", [*program, "--verify_dataset_integrity", *few])


def trained(task: Task, seconds: float) -> Cost:
    """Train for so many seconds."""
    shutil.rmtree(task.place / "results", ignore_errors=True)
    clock = ("--seconds", seconds, "--record", task.place / "train.json")
    return called(task, "train", ["python", PEER, "train", NUMBER, "--threads", task.threads, *clock])


def segmented(task: Task) -> Cost:
    """Segment the held-out cases and put the masks where ``thoar evaluate`` looks for them."""
    images, predicted = task.place / "images", task.place / "predicted"
    for folder in (images, predicted, task.place / "masks"):
        shutil.rmtree(folder, ignore_errors=True)
    images.mkdir()
    predicted.mkdir()
    for case in read_dataset(task.data / "test").cases:
        shutil.copyfile(case.image, images / f"{case.id}_0000.nii.gz")
    words = ["python", PEER, "predict", NUMBER, images, predicted, "--threads", task.threads]
    cost = called(task, "segment", words)
    for mask in predicted.glob("*.nii.gz"):
        place = task.place / "masks" / mask.name.removesuffix(".nii.gz")
        place.mkdir(parents=True)
        shutil.copyfile(mask, place / "segmentation.nii.gz")
    return cost


def called(task: Task, name: str, line: Sequence[object]) -> Cost:
    """Run a program of nnU-Net's environment; where its folders are, it reads from environment variables."""
    settings = {f"nnUNet_{part}": str(task.place / part) for part in ("raw", "preprocessed", "results")}
    log = task.place / f"{name}.log"
    return measured([task.peer / str(line[0]), *line[1:]], log, threads=task.threads, settings=settings)


def facts(task: Task) -> dict[str, str]:
    """Return what nnU-Net planned and did."""
    record = msgspec.json.decode((task.place / "train.json").read_bytes())
    called(task, "versions", ["python", "-c", VERSIONS])
    version, its_torch = (task.place / "versions.log").read_text(encoding="utf-8").split()[-2:]
    return {
        "version": f"nnunetv2 {version}, torch {its_torch}",
        "weights": f"{record['parameters'] / 1e6:.1f} M",
        "sees": f"patches of {shown(record['patch_zyx'])} voxels, {record['batch']} a step",
        "voxels (z, y, x)": f"{shown(record['spacing_zyx_mm'])} mm",
        "precision": "float32",
        "steps": f"{record['iterations']} in {record['epochs']} epochs",
        "at test time": "sliding window, eight mirrored copies averaged",
    }
