"""nnU-Net itself, on a clock: run by its own environment's Python, from ``benchmarks/against_nnunet.py``.

    PEER/bin/python benchmarks/nnunet/peer.py train 501 --seconds 1200 --threads 2 --record train.json
    PEER/bin/python benchmarks/nnunet/peer.py predict 501 IMAGES MASKS --threads 2

Its trainer, plan, losses, augmentation, learning rate's decay and sliding window are used as they come. Only
the length differs: 1000 epochs of 250 iterations become a few that share the seconds evenly, each of as many
iterations as fit. It reads where its folders are from ``nnUNet_raw`` and its sisters.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.file_path_utilities import get_output_folder

CONFIGURATION = "3d_fullres"
FOLD = "all"
"""Every case is trained on; nothing is held out, for nothing is chosen by it."""
EPOCH_S = 50.0
"""About an epoch, a step of the learning rate's decay: validation and checkpoints cost little then."""
RESERVE_S = 10.0
"""For the last checkpoint."""


def main() -> None:
    """Do one of the two things."""
    arguments = parsed()
    # Samples are drawn in this process: no more threads than were asked for.
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 (as nnU-Net spells it)
    torch.set_num_threads(arguments.threads)
    if arguments.what == "train":
        record = train(arguments.dataset, seconds=arguments.seconds, began=time.monotonic())
        arguments.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    else:
        predict(arguments.dataset, arguments.images, arguments.masks)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="what", required=True)
    training, predicting = parts.add_parser("train"), parts.add_parser("predict")
    for part in (training, predicting):
        part.add_argument("dataset", type=int)
        part.add_argument("--threads", type=int, required=True)
    training.add_argument("--seconds", type=float, required=True)
    training.add_argument("--record", type=Path, required=True)
    predicting.add_argument("images", type=Path)
    predicting.add_argument("masks", type=Path)
    return parser.parse_args()


def train(dataset: int, *, seconds: float, began: float) -> dict[str, object]:
    """Train until the clock says stop and return what was done."""
    trainer = get_trainer_from_args(str(dataset), CONFIGURATION, FOLD, device=torch.device("cpu"))
    trainer.num_epochs = max(1, round(seconds / EPOCH_S))
    trainer.on_train_start()
    started = time.monotonic()
    share_s = (began + seconds - RESERVE_S - started) / trainer.num_epochs
    counts = [one_epoch(trainer, until=started + share_s * (i + 1)) for i in range(trainer.num_epochs)]
    trainer.on_train_end()
    plan = trainer.configuration_manager
    return {
        "iterations": sum(counts),
        "epochs": len(counts),
        "patch_zyx": [int(n) for n in plan.patch_size],
        "batch": int(plan.batch_size),
        "spacing_zyx_mm": [float(s) for s in plan.spacing],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "seconds": time.monotonic() - began,
    }


def one_epoch(trainer: nnUNetTrainer, *, until: float) -> int:
    """Do what nnU-Net's own loop does in an epoch, but by the clock, and return the iterations."""
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    losses = [trainer.train_step(next(trainer.dataloader_train))]
    while time.monotonic() < until:
        losses.append(trainer.train_step(next(trainer.dataloader_train)))
    trainer.on_train_epoch_end(losses)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))])
    trainer.on_epoch_end()
    return len(losses)


def predict(dataset: int, images: Path, masks: Path) -> None:
    """Segment a folder of images as ``nnUNetv2_predict`` does, one after the other in this process."""
    folder = get_output_folder(dataset, configuration=CONFIGURATION)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(folder, [FOLD])
    predictor.predict_from_files_sequential(str(images), str(masks))


if __name__ == "__main__":
    main()
