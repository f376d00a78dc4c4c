"""The cases of one call of ``thoar phantom``: each made whole, in its own folder, and then listed."""

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch

from thoar.core.errors import UsageError
from thoar.core.geometry import Vector3
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, write_dataset
from thoar.io.atomic import replace_folder
from thoar.io.formats import read_integers, write_labels, write_volume
from thoar.phantoms.scanning.site import Site
from thoar.phantoms.synthesis import (
    CaseParameters,
    Source,
    SourceName,
    draw_case,
    make_case,
    name_of,
    with_site,
)

_log = logging.getLogger(__name__)

NAMES = {"thorax": "phantom", "label_map": "map", "copy": "copy"}
"""What cases of each kind of source are called."""
RECORD = "parameters.json"


class Recipe(NamedTuple):
    """What all cases of one call have in common.

    ``whose`` names the file or folder they are made of, ``ct`` the scan that a label map was filled from.
    """

    seed: int
    spacing_zyx_mm: Vector3
    format: str
    layout: Literal["thoar", "segthor"]
    device: str
    whose: str
    ct: str
    label_set: LabelSet
    site: Site | None


def fill(folder: Path, numbers: range, *, source: Source, recipe: Recipe, workers: int) -> None:
    """Make the cases that a folder lacks, and its ``dataset.toml`` if its layout has one."""
    made: list[Case] = []
    for case in _made(folder, numbers, source=source, recipe=recipe, workers=min(workers, len(numbers))):
        made.append(case)
        _log.info("%d/%d %s", len(made), len(numbers), case.id)
    if recipe.layout == "thoar":
        write_dataset(folder, Dataset(root=folder, label_set=recipe.label_set, cases=tuple(made)))


def _made(folder: Path, numbers: range, *, source: Source, recipe: Recipe, workers: int) -> Iterator[Case]:
    """Make all cases, in order; with one thread each, so that no sum depends on how many there are."""
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for number in numbers:
                yield write_case(folder, number, source=source, recipe=recipe)
        finally:
            torch.set_num_threads(threads)
        return
    start = (folder, source, recipe)
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, start) as pool:
        yield from pool.map(_run_in_worker, numbers)


_worker: list[tuple[Path, Source, Recipe]] = []


def _start_worker(folder: Path, source: Source, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    _worker.append((folder, source, recipe))


def _run_in_worker(number: int) -> Case:
    folder, source, recipe = _worker[0]
    return write_case(folder, number, source=source, recipe=recipe)


def write_case(folder: Path, number: int, *, source: Source, recipe: Recipe) -> Case:
    """Make one case and write its scan, labels and parameters into its own folder, unless they are there.

    Raises:
        UsageError: if the folder holds the case of another recipe.
    """
    kind = name_of(source)
    case = _case(folder, number, kind=kind, recipe=recipe)
    place = case.image.parent
    parameters = _drawn(number, kind=kind, recipe=recipe)
    record = _record(parameters, number, recipe)
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        made = _made_case(source, parameters, recipe)
        replace_folder(place, lambda new: _write(new, case, record, made=made))
    elif not _is_finished(case, record):
        raise UsageError(f"{place}: was made with other options; name another folder, or use --overwrite")
    return _with_absent(case, recipe.label_set)


def _case(folder: Path, number: int, *, kind: SourceName, recipe: Recipe) -> Case:
    name, place = f"{NAMES[kind]}_{number:04d}", folder
    if recipe.layout == "segthor":
        name, place = f"Patient_{number + 1:02d}", folder / "train"
    return Case(
        id=name,
        image=place / name / f"{name}.{recipe.format}",
        label=place / name / f"GT.{recipe.format}",
        organs=recipe.label_set.names,
        group=name,
        source=recipe.whose,
    )


def _drawn(number: int, *, kind: SourceName, recipe: Recipe) -> CaseParameters:
    parameters = draw_case(rng_for(recipe.seed, kind, number), kind)
    if recipe.site is None:
        return parameters
    return with_site(parameters, recipe.site, rng=rng_for(recipe.seed, kind, number, "site"))


def _record(parameters: CaseParameters, number: int, recipe: Recipe) -> bytes | None:
    """Return what makes the case again; SegTHOR's layout has no place for it."""
    if recipe.layout == "segthor":
        return None
    record = {
        "seed": recipe.seed,
        "number": number,
        "spacing_zyx_mm": recipe.spacing_zyx_mm,
        "made_of": recipe.whose,
        "device": recipe.device.partition(":")[0],
        "parameters": parameters,
    }
    if recipe.ct:
        record["filled_from"] = recipe.ct
    if recipe.label_set != SEGTHOR:
        record["organs"] = recipe.label_set.names
    return msgspec.json.format(msgspec.json.encode(record)) + b"\n"


def _is_finished(case: Case, record: bytes | None) -> bool:
    stored = case.image.parent / RECORD
    files = (case.image, case.label, stored)
    return all(path is not None and path.is_file() for path in files) and stored.read_bytes() == record


def _made_case(source: Source, parameters: CaseParameters, recipe: Recipe) -> tuple[Volume, LabelVolume]:
    return make_case(
        source,
        parameters,
        spacing_zyx_mm=recipe.spacing_zyx_mm,
        device=recipe.device,
        label_set=recipe.label_set,
    )


def _write(folder: Path, case: Case, record: bytes | None, *, made: tuple[Volume, LabelVolume]) -> None:
    volume, labels = made
    write_volume(folder / case.image.name, volume)
    write_labels(folder / f"GT{case.image.name.removeprefix(case.id)}", labels)
    if record is not None:
        (folder / RECORD).write_bytes(record)


def _with_absent(case: Case, label_set: LabelSet) -> Case:
    """Return the case with the organs that are out of its field of view."""
    if case.label is None:
        return case
    found = np.unique(read_integers(case.label).voxels)
    return replace(case, absent=tuple(organ.name for organ in label_set.organs if organ.id not in found))
