"""How a model does on scans it has never seen, and on phantoms: the protocol of the shipped models.

    .venv/bin/python benchmarks/real_scans.py MODEL --data SCANS [--sample SAMPLE] [--phantoms DATASET]
        -o results.json [--pictures FOLDER] [--synthetic-only]

Beside ``results.json`` a page ``results.md`` is written. What is not given, or not in SCANS, is left out.
``benchmarks/README.md`` says what is measured and by which conventions.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from altered import ALTERATIONS, brought_back
from anatomy import implausible, lowest_trachea_slice
from findings import SAMPLE, Agreement, Chest, Findings, Score, as_json, page
from gstt_slab import read_slab
from jaxtyping import Bool
from provenance import code, processor

from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume, to_canonical
from thoar.datasets.manifest import read_dataset
from thoar.inference.bundle import read_bundle
from thoar.inference.manifest import Manifest
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.inference.shipped import find_model
from thoar.io.atomic import atomic_bytes
from thoar.io.formats import read_integers, read_labels, read_volume
from thoar.metrics.overlap import dice
from thoar.metrics.scores import score_organ
from thoar.pictures.overview import overview
from thoar.pictures.png import write_png

CHESTS: Mapping[str, str] = {
    "lung_dx_a0001_soft": "dicom.zip",
    "pyradiomics_lung1": "lung1_image.nrrd",
}
"""Whole chests that come with a trachea grown from a seed, and their image."""
TRACHEA = "trachea_semi_auto.nii.gz"
ABDOMENS: Mapping[str, str] = {"ts_abdomen": "example_ct.nii.gz", "ts_abdomen, small": "example_ct_sm.nii.gz"}
THORACIC = ("esophagus", "heart", "trachea")
MOST_INVENTED_ML = 1.0

SAMPLE_MAP = "a1c11f52d242885ab972cc360f19bfc675e91fa4dca578f46cdac1073396f410"
"""The digest of the sample's own label map."""

Masks = Mapping[str, Bool[np.ndarray, "z y x"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A model, and where pictures go.

    Attributes:
        predictor: of the model.
        manifest: what it says of itself.
        pictures: folder; None for no pictures.
        findings: filled as the parts run.
    """

    predictor: Predictor
    manifest: Manifest
    pictures: Path | None
    findings: Findings = field(default_factory=Findings)

    def segment(self, scan: str, volume: Volume, *, kind: str) -> tuple[Segmentation, Masks]:
        """Segment a scan in the usual axis order, note what was drawn, and draw its picture."""
        began = time.perf_counter()
        found = self.predictor.predict(volume)
        seconds = time.perf_counter() - began
        masks = {organ.name: found.mask(organ.name) for organ in found.label_set.organs}
        self.findings.chests.append(
            Chest(
                scan=scan,
                kind=kind,
                in_training_data=knows(self.manifest, scan),
                volumes_ml={o.organ.name: o.volume_ml for o in found.organs},
                cut_by_scan={o.organ.name: o.flags.cut_by_scan for o in found.organs},
                faults=faults_of(found, volume, masks, kind=kind),
                seconds=seconds,
            )
        )
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            picture = overview(volume, found.masks_in_boxes(), title=f"{scan}, {self.manifest.name}")
            write_png(self.pictures / f"{scan.replace(', ', '_')}.png", picture)
        print(f"{scan}: {seconds:.1f} s", flush=True)
        return found, masks

    def score(self, part: str, scan: str, organ: str, *, masks: Sequence[np.ndarray], volume: Volume) -> None:
        """Note the scores of a prediction and a reference, in this order, on a scan's grid."""
        scores = score_organ(*masks, spacing_zyx_mm=volume.geometry.spacing_zyx_mm)
        self.findings.scores.append(Score(part=part, scan=scan, organ=organ, scores=scores))


def main() -> None:
    """Run what can be run and write both results."""
    arguments = parsed()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    bundle = read_bundle(find_model(arguments.model))
    if arguments.synthetic_only:
        refuse_unless_synthetic(bundle.manifest, arguments.model)
    predictor = Predictor.from_bundle(bundle, device=arguments.device)
    bench = Bench(predictor=predictor, manifest=bundle.manifest, pictures=arguments.pictures)
    if arguments.phantoms:
        on_phantoms(bench, arguments.phantoms)
    if arguments.sample:
        on_sample(bench, arguments.sample, agree=not arguments.short)
    if arguments.data:
        on_slab(bench, arguments.data / "gstt_slab")
        for scan, image in CHESTS.items():
            on_chest(bench, arguments.data / scan, image, agree=not arguments.short)
        for scan, image in ABDOMENS.items():
            on_abdomen(bench, arguments.data / scan.partition(",")[0] / image, scan)
    write(arguments.output, bench)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="A shipped model's name, a bundle, or a run's folder.")
    parser.add_argument("--data", type=Path, help="Folder of real scans: gstt_slab, lung_dx_a0001_soft, ...")
    parser.add_argument("--sample", type=Path, help="What `thoar sample` made.")
    parser.add_argument("--phantoms", type=Path, help="Held-out phantoms: what `thoar phantom` made.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="results.json")
    parser.add_argument("--pictures", type=Path, help="Folder for an overview of every real scan.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="Of torch on a CPU; 0 for all.")
    parser.add_argument("--short", action="store_true", help="Without the altered copies.")
    parser.add_argument(
        "--synthetic-only", action="store_true", help=f"Refuse a model that has learnt from {SAMPLE}."
    )
    return parser.parse_args()


def refuse_unless_synthetic(manifest: Manifest, model: str) -> None:
    """End, with a word on why, where a model learnt from the sample or does not say what it learnt from."""
    if knows(manifest, SAMPLE):
        sys.exit(f"{model}: says that it learnt from {SAMPLE}, so it is no model of synthesis alone")
    if not (manifest.training_sources or manifest.sources) or "" in manifest.training_sources:
        sys.exit(f"{model}: does not say what it learnt from, so nobody knows that it is of synthesis alone")


def knows(manifest: Manifest, scan: str) -> bool:
    """Say whether a model's manifest names a scan among what it learnt from, in any form.

    The recipe of the shipped models (``scripts/thorax/sources.py``) names a label map by its digest.
    """
    if scan == SAMPLE and f"label map {SAMPLE_MAP}" in manifest.training_sources:
        return True
    named = {*manifest.training_cases, *(case for source in manifest.sources for case in source.cases)}
    described = (*(source.name for source in manifest.sources), *manifest.training_sources)
    return scan in named or any(scan in text for text in described)


def faults_of(found: Segmentation, volume: Volume, masks: Masks, *, kind: str) -> list[str]:
    """Return what cannot be right; of a slab, nothing can be said."""
    if kind == "chest":
        return implausible(found, volume, masks)
    volumes_ml = {o.organ.name: o.volume_ml for o in found.organs if o.organ.name in THORACIC}
    invented = {name: ml for name, ml in volumes_ml.items() if ml > MOST_INVENTED_ML}
    return [f"{name} {ml:.1f} mL" for name, ml in invented.items()] if kind == "abdomen" else []


def on_phantoms(bench: Bench, folder: Path) -> None:
    """Score held-out phantoms; none of their contours is checked for plausibility."""
    dataset = read_dataset(folder)
    for case in dataset.cases:
        if case.label is None:
            continue
        volume = read_volume(case.image)
        labels = read_labels(case.label, dataset.label_set)
        found = bench.predictor.predict(volume)
        for organ in case.organs:
            reference = np.equal(labels.voxels, dataset.label_set.organ(organ).id)
            bench.score("phantoms", case.id, organ, masks=(found.mask(organ), reference), volume=volume)
    print(f"{len(dataset.cases)} phantoms", flush=True)


def on_sample(bench: Bench, folder: Path, *, agree: bool) -> None:
    """Score the sample CT against its automatic labels."""
    case = read_dataset(folder).cases[0]
    volume = to_canonical(read_volume(case.image))
    if case.label is None:
        sys.exit(f"{folder}: case {case.id} has no label map to score against; make it with `thoar sample`")
    reference = to_canonical(read_integers(case.label))
    refuse_other_grid(volume, reference, case.label)
    _, masks = bench.segment(case.id, volume, kind="chest")
    for organ in SEGTHOR.organs:
        pair = (masks[organ.name], np.equal(reference.voxels, organ.id))
        bench.score("sample", case.id, organ.name, masks=pair, volume=volume)
    if agree:
        on_altered(bench, case.id, volume, masks)


def on_slab(bench: Bench, folder: Path) -> None:
    """Score the slab's scanned slices."""
    if not folder.is_dir():
        return
    slab = read_slab(folder)
    _, masks = bench.segment(folder.name, slab.volume, kind="slab")
    for organ, reference in slab.masks.items():
        pair = (slab.scanned(masks[organ]), reference)
        bench.score("slab", folder.name, organ, masks=pair, volume=slab.volume)


def on_chest(bench: Bench, folder: Path, image: str, *, agree: bool) -> None:
    """Score the trachea above the carina of a whole chest, and look at everything else."""
    if not folder.is_dir():
        return
    volume = read_scan(folder / image)
    grown = to_canonical(read_integers(folder / TRACHEA))
    refuse_other_grid(volume, grown, folder / TRACHEA)
    reference = grown.voxels != 0
    _, masks = bench.segment(folder.name, volume, kind="chest")
    lowest = lowest_trachea_slice(reference, spacing_zyx_mm=volume.geometry.spacing_zyx_mm)
    pair = (masks["trachea"][lowest:], reference[lowest:])
    bench.score("trachea above the carina", folder.name, "trachea", masks=pair, volume=volume)
    if agree:
        on_altered(bench, folder.name, volume, masks)


def on_abdomen(bench: Bench, image: Path, scan: str) -> None:
    """Look for organs where there are none."""
    if image.is_file():
        bench.segment(scan, to_canonical(read_volume(image)), kind="abdomen")


def on_altered(bench: Bench, scan: str, volume: Volume, masks: Masks) -> None:
    """Compare a scan's contours with those of its altered copies."""
    for name, alter in ALTERATIONS.items():
        copy = alter(volume)
        found = bench.predictor.predict(copy)
        agreed = {
            organ: dice(brought_back(found.mask(organ), source=copy.geometry, target=volume.geometry), mask)
            for organ, mask in masks.items()
        }
        bench.findings.agreements.append(Agreement(scan=scan, alteration=name, dice=agreed))
    print(f"{scan}: {len(ALTERATIONS)} altered copies", flush=True)


def refuse_other_grid(scan: Volume, reference: Volume, path: Path) -> None:
    """End where a reference does not lie on its scan's grid: arrays of one shape may be of two places."""
    if not scan.geometry.same_grid(reference.geometry):
        sys.exit(f"{path}: does not lie on its scan's grid; resample it onto that first")


def read_scan(path: Path) -> Volume:
    """Read a scan in the usual axis order."""
    return to_canonical(read_volume(path))


def write(path: Path, bench: Bench) -> None:
    """Write the results and the page."""
    about = {
        "model": bench.manifest.name,
        "parameters": bench.manifest.parameters,
        "learnt_from": [source.name for source in bench.manifest.sources],
        "learnt_from_sample": knows(bench.manifest, SAMPLE),
        "device": str(bench.predictor.device),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        **code(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_bytes(path, as_json(about, bench.findings))
    atomic_bytes(path.with_suffix(".md"), ("\n".join(page(about, bench.findings)) + "\n").encode())


if __name__ == "__main__":
    main()
