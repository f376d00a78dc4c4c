"""nnU-Net's predictor on one scan, stage by stage: run by its own environment's Python (``inference.py``).

    PEER/bin/python benchmarks/nnunet/predict.py model MODEL
    PEER/bin/python benchmarks/nnunet/predict.py scan MODEL IMAGE MASK --threads 4 --record scan.json

MODEL is a folder as its training leaves it, with the plan that nnU-Net's own planner makes for SegTHOR's
scans and the first random weights: time and memory do not depend on them. Its last layer says background
everywhere, so that the mask is as quick to write as any. Reader, preprocessing, sliding window, resampling of
the logits and export are its own, in one process; the mirrored copies that it averages by default are left
out.

With ``--patches 6`` only so many are computed, the first ones; for the others the last one's result is taken
again, so that everything but the network's arithmetic happens as often as it must. The record says both.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from patches import Patches
from torch.utils.flop_counter import FlopCounterMode

NUMBER, NAME = 55, "Dataset055_SegTHOR"
CONFIGURATION = "3d_fullres"
FOLD = "all"
SCANS = 40
"""That SegTHOR has to learn from. What the planner looks at are their sizes and voxels."""
SHAPE_ZYX, SPACING_ZYX_MM = [178, 512, 512], [2.5, 0.9765625, 0.9765625]
VALUES = {
    "mean": 20.0,
    "median": 35.0,
    "std": 180.0,
    "min": -1000.0,
    "max": 3071.0,
    "percentile_00_5": -980.0,
    "percentile_99_5": 400.0,
}
"""Of the organs' voxels, in HU: about; they only scale what the network sees."""
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "esophagus": 1, "heart": 2, "trachea": 3, "aorta": 4},
    "numTraining": SCANS,
    "file_ending": ".nii.gz",
    "overwrite_image_reader_writer": "SimpleITKIO",
}
WEIGHTS_SEED = 6


def main() -> None:
    """Do one of the two things."""
    arguments = parsed()
    if arguments.what == "model":
        make_model(arguments.model)
        return
    torch.set_num_threads(arguments.threads)
    record = segment(arguments.model, arguments.image, arguments.mask, most_patches=arguments.patches)
    arguments.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="what", required=True)
    model, scan = parts.add_parser("model"), parts.add_parser("scan")
    for part in (model, scan):
        part.add_argument("model", type=Path)
    scan.add_argument("image", type=Path)
    scan.add_argument("mask", type=Path, help="To write, .nii.gz.")
    scan.add_argument("--threads", type=int, required=True)
    scan.add_argument("--patches", type=int, help="That are computed; all by default.")
    scan.add_argument("--record", type=Path, required=True)
    return parser.parse_args()


def make_model(folder: Path) -> None:
    """Let nnU-Net plan, and write a model of that plan; its folders are named by environment variables."""
    plans = planned(Path(os.environ["nnUNet_raw"]), Path(os.environ["nnUNet_preprocessed"]))  # noqa: SIM112
    manager = PlansManager(plans)
    torch.manual_seed(WEIGHTS_SEED)
    classes = len(DATASET["labels"])
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration(CONFIGURATION), 1, classes, enable_deep_supervision=False
    )
    with torch.no_grad():
        last = network.decoder.seg_layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.eye(classes)[0])
    (folder / f"fold_{FOLD}").mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / f"fold_{FOLD}" / "checkpoint_final.pth")
    for name, content in (("plans", plans), ("dataset", DATASET)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def planned(raw: Path, preprocessed: Path) -> dict[str, object]:
    """Return what nnU-Net's planner plans for scans of SegTHOR's usual size, of which it has names alone."""
    fingerprint = {
        "spacings": [SPACING_ZYX_MM] * SCANS,
        "shapes_after_crop": [SHAPE_ZYX] * SCANS,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {"0": VALUES},
    }
    for folder, name in (("imagesTr", "{}_0000.nii.gz"), ("labelsTr", "{}.nii.gz")):
        (raw / NAME / folder).mkdir(parents=True, exist_ok=True)
        for number in range(SCANS):
            (raw / NAME / folder / name.format(f"Patient_{number:02d}")).touch()
    (preprocessed / NAME).mkdir(parents=True, exist_ok=True)
    (raw / NAME / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    (preprocessed / NAME / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    ExperimentPlanner(NUMBER).plan_experiment()
    return json.loads((preprocessed / NAME / "nnUNetPlans.json").read_text(encoding="utf-8"))


def segment(model: Path, image: Path, mask: Path, *, most_patches: int | None) -> dict[str, object]:
    """Do what its ``predict_from_files_sequential`` does with one file, and say what took how long."""
    seconds: dict[str, float] = {}

    def clocked(stage: str, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = do()
        seconds[stage] = time.perf_counter() - began
        return result

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    clocked("load", lambda: predictor.initialize_from_trained_model_folder(str(model), [FOLD]))
    plans, settings = predictor.plans_manager, predictor.configuration_manager
    patches = Patches(predictor.network, most_patches)
    values, about = clocked("read", lambda: plans.image_reader_writer_class().read_images([str(image)]))
    preprocessor = settings.preprocessor_class(verbose=False)
    data, _, about = clocked(
        "preprocess",
        lambda: preprocessor.run_case_npy(values, None, about, plans, settings, predictor.dataset_json),
    )
    shape_zyx = [int(n) for n in values.shape[1:]]
    del values
    logits = clocked(
        "network", lambda: predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    )
    name = str(mask).removesuffix(".nii.gz")
    clocked(
        "export",
        lambda: export_prediction_from_logits(
            logits, about, settings, plans, predictor.dataset_json, name, save_probabilities=False
        ),
    )
    network_s, seconds["network"] = seconds["network"], patches.whole_s(seconds["network"])
    return {
        "seconds": seconds,
        "network_by_the_clock_s": network_s,
        "shape_zyx": shape_zyx,
        "seen_zyx": [int(n) for n in data.shape[1:]],
        "patch_zyx": [int(n) for n in settings.patch_size],
        "spacing_zyx_mm": [float(s) for s in settings.spacing],
        "patches": len(patches.seconds),
        "computed": patches.computed,
        "patch_s": patches.patch_s,
        "patch_gflop": patch_gflop(model, settings.patch_size),
        "parameters": sum(p.numel() for p in predictor.network.parameters()),
    }


def patch_gflop(model: Path, patch_zyx: tuple[int, ...]) -> float:
    """Return the arithmetic of a patch, in 10⁹ multiplications and additions."""
    manager = PlansManager(str(model / "plans.json"))
    with torch.device("meta"), torch.inference_mode():
        network = nnUNetTrainer.build_network_architecture(
            manager,
            manager.get_configuration(CONFIGURATION),
            1,
            len(DATASET["labels"]),
            enable_deep_supervision=False,
        )
        with FlopCounterMode(display=False) as counter:
            network.eval()(torch.empty((1, 1, *patch_zyx)))
    return counter.get_total_flops() / 1e9


if __name__ == "__main__":
    main()
