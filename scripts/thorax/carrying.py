"""What a bare GPU machine needs beside the sources: volumes as safetensors, and the pure-Python packages."""

import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from thoar.inference.shipped import find_model
from thoar.io.formats import read_integers, read_volume, write_volume

from .plan import Kind, Plan

PURE = (
    "jaxtyping",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "rich",
    "shellingham",
    "tomli-w",
    "typing-extensions",
    "wadler-lindig",
)
"""Packages without machine code that the path from label maps to bundle imports, as they are here."""
OLDER = ("typer==0.20.1", "click==8.2.1")
"""Newer typers want pydantic, which is compiled."""


def carry(plan: Plan, folder: Path) -> None:
    """Fill a folder to be carried along, and say the command that does everything there."""
    folder.mkdir(parents=True, exist_ok=True)
    words = carry_sources(plan, folder)
    _carry_packages(folder / "packages")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB. There, from the repository's root:")
    search = shlex.quote(f"src:{folder}/packages")
    print(f"  PYTHONPATH={search} python scripts/train_thorax.py WORK {shlex.join(words)}")


def carry_sources(plan: Plan, folder: Path) -> list[str]:
    """Put what the cases are made of into a folder, and return the options that make the same model of it."""
    counts: dict[Kind, list[int]] = {"parametric": [], "label_map": [], "copies": []}
    words = ["--recipe", plan.recipe, "--protocol", plan.protocol, "--device", "cuda", "--minutes", "9"]
    for number, part in enumerate(plan.parts):
        counts[part.kind].append(part.cases)
        if part.kind == "label_map" and part.made_from is not None:
            carried = folder / f"label_map_{number}.safetensors"
            write_volume(carried, read_integers(part.made_from))
            words += ["--label-map", str(carried)]
        elif part.kind == "copies" and part.made_from is not None:
            words += ["--sample", str(_carry_sample(part.made_from, folder))]
    shares = [sum(counts["parametric"]), *counts["label_map"], sum(counts["copies"])]
    words += ["--shares", ":".join(map(str, shares)), "--cases", str(sum(shares))]
    words += ["--validation", str(plan.validation), "--piece", str(plan.piece)]
    if plan.structures is not None and counts["label_map"]:
        shutil.copyfile(plan.structures, folder / "structures.csv")
        words += ["--structures", f"{folder}/structures.csv"]
    if plan.init is not None:
        shutil.copytree(find_model(plan.init), folder / "init", dirs_exist_ok=True)
        words += ["--init", f"{folder}/init"]
    elif plan.protocol == "shipped":
        words += ["--init", "none"]
    kept = [setting for setting in plan.overrides if not setting.startswith("train.threads=")]
    return [*words, *(word for setting in kept for word in ("--set", setting))]


def _carry_sample(case: Path, folder: Path) -> Path:
    target = folder / "sample" / case.resolve().name
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(case.iterdir()):
        if file.name.endswith(".nii.gz") and not file.name.startswith("GT"):
            read = read_integers if file.name.startswith("structures") else read_volume
            write_volume(target / file.name.replace(".nii.gz", ".safetensors"), read(file))
        elif file.suffix == ".csv":
            shutil.copyfile(file, target / file.name)
    return target


def _carry_packages(folder: Path) -> None:
    wanted = [*(f"{name}=={version(name)}" for name in PURE), *OLDER]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run(  # noqa: S603 (our own words)
        [*pip, "--no-deps", "--upgrade", "--target", str(folder), *wanted], check=True
    )
