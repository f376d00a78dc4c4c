"""Add spinal cord and lungs to a shipped model from synthetic anatomy, to be drawn when asked for.

    .venv/bin/python scripts/train_organs.py WORK --label-map MAP --structures CSV

Each organ gets a coarse and a fine decoder of its own on the model's encoder, which stays as it is, and so
do all other organs. Every step is skipped where WORK holds its result; training goes on where it stopped.
The bundle is left in WORK/<model>; docs/how-to/train-the-shipped-models.md tells the rest.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from thorax.organ_card import with_organs, with_sources
from thorax.plan import thoar
from thorax.sources import PARAMETRIC, SourceError, map_source

from thoar.cli.text import listed
from thoar.core.configuration import configuration_from, load_toml
from thoar.core.errors import ThoarError
from thoar.core.labels import SEGTHOR, THORAX
from thoar.datasets.manifest import MANIFEST, Case, Dataset, read_dataset, write_dataset
from thoar.inference.bundle import CARD, read_bundle, write_bundle
from thoar.inference.manifest import Manifest
from thoar.inference.organs import with_organ
from thoar.inference.shipped import find_model
from thoar.io.atomic import replace_folder

ORGANS = THORAX.names[len(SEGTHOR.names) :]
FIRST_SEED = 8100
THRESHOLDS = {"spinal_cord": 0.8}
"""Coarse thresholds set by hand. At 0.5, which calibration keeps, marrow of hip and scapula stays in the box;
at 0.65 to 0.8 the held-out Dice rises from 0.864 to 0.900, and no such piece was left on three real scans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Cases of one source: its name in the data set, how many, and the label map they are made of."""

    name: str
    source: str
    cases: int
    made_from: Path | None = None


def main() -> None:
    """Take every step that is not taken yet."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    try:
        parts = _parts(given)
        for number, part in enumerate(parts):
            make_cases(given, part, seed=FIRST_SEED + number)
        merge(given.work, parts)
        with ThreadPoolExecutor(given.jobs) as pool:
            list(pool.map(lambda organ: train(given, organ), given.organs))
        print(f"{pack(given)}: copy it to src/thoar/models/ to ship it")
    except (SourceError, ThoarError) as error:
        raise SystemExit(f"error: {error}") from error


def _parts(given: argparse.Namespace) -> tuple[Part, ...]:
    if bool(given.label_map) != (given.structures is not None):
        raise SystemExit("--label-map and --structures: give both, or none")
    if len(given.cases) != 1 + len(given.label_map):
        raise SystemExit("--cases: give numbers for parametric chests and each label map, as in 60:26:5")
    count, *others = given.cases
    parts = [Part(name="parametric", source=PARAMETRIC, cases=count)]
    for number, (path, cases) in enumerate(zip(given.label_map, others, strict=True)):
        parts.append(Part(name=f"map-{number}", source=map_source(path), cases=cases, made_from=path))
    return tuple(part for part in parts if part.cases)


def make_cases(given: argparse.Namespace, part: Part, *, seed: int) -> None:
    """Make a source's cases with all organs labelled, unless they are there."""
    folder = given.work / part.name
    if (folder / MANIFEST).is_file():
        return
    preparation = configuration_from(load_toml(find_model(given.model) / "configuration.toml")).preparation
    words: list[str | Path] = ["phantom", folder, "--cases", str(part.cases), "--seed", str(seed)]
    words += ["--spacing-zyx-mm", *map(str, preparation.spacing_zyx_mm)]
    words += ["--organs", ",".join(THORAX.names), "--workers", str(given.jobs), "--resume"]
    words += ["--device", given.device]
    if part.made_from is not None:
        words += ["--from-map", part.made_from, "--structures", given.structures]
    thoar(*words)


def merge(work: Path, parts: Sequence[Part]) -> None:
    """Write one data set of all sources' cases."""
    cases = tuple(_renamed(case, part) for part in parts for case in read_dataset(work / part.name).cases)
    write_dataset(work, Dataset(root=work, label_set=THORAX, cases=cases))


def _renamed(case: Case, part: Part) -> Case:
    name = f"{part.name}-{case.id}"
    return replace(case, id=name, group=name, source=part.source)


def train(given: argparse.Namespace, organ: str) -> None:
    """Train one organ's decoders on the model's encoder, or go on with it."""
    out = given.work / organ
    if (out / "best" / "manifest.json").is_file():
        return
    words: list[str | Path] = ["model", "add-organ", organ, "--model", given.model, "--data", given.work]
    words += ["-o", out, "--optional", "--device", given.device, "--cache", given.work / "prepared"]
    words += [word for setting in given.overrides for word in ("--set", setting)]
    words += ["--resume"] if (out / "training").is_dir() else []
    thoar(*words)


def pack(given: argparse.Namespace) -> Path:
    """Write the model with all organs, in float16, with its sources and its card; return its folder."""
    model = read_bundle(find_model(given.model))
    joined = model
    for organ in given.organs:
        joined = with_organ(joined, read_bundle(given.work / organ / "training" / "best"), optional=True)
    about = with_thresholds(with_sources(joined.manifest))
    card = with_organs((model.folder / CARD).read_text(encoding="utf-8"), about, scores=given.score)
    folder = given.work / about.name
    replace_folder(
        folder,
        lambda new: write_bundle(
            new,
            network=joined.network,
            configuration=joined.configuration,
            label_set=about.label_set,
            localisation=about.localisation,
            about=about,
            half=True,
            card=card,
        ),
    )
    return folder


def with_thresholds(manifest: Manifest) -> Manifest:
    """Return a manifest with the coarse thresholds that were set by hand."""
    localisation = {
        organ: msgspec.structs.replace(found, threshold=THRESHOLDS.get(organ, found.threshold))
        for organ, found in manifest.localisation.items()
    }
    return msgspec.structs.replace(manifest, localisation=localisation)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Add spinal cord and lungs to a shipped model.")
    parser.add_argument("work", type=Path, help="folder of everything that is made")
    parser.add_argument("--model", default="thorax-fast")
    parser.add_argument("--organs", type=listed, default=ORGANS, help="as in spinal_cord,lung_left")
    parser.add_argument("--label-map", type=Path, action="append", default=[], help="may repeat")
    parser.add_argument("--structures", type=Path, help="the maps' table, with the columns structure and id")
    parser.add_argument(
        "--cases", type=_counts, default=(60,), metavar="P:M", help="parametric, each label map"
    )
    parser.add_argument("--jobs", type=int, default=2, help="organs trained, and cases made, at a time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument(
        "--score", action="append", default=[], type=_score, metavar="WHERE=RESULTS",
        help="for the card: what `thoar evaluate` measured, and on what",
    )  # fmt: skip
    return parser.parse_args()


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(":"))


def _score(text: str) -> tuple[str, Path]:
    where, _, path = text.partition("=")
    return where, Path(path)


if __name__ == "__main__":
    main()
