"""``thoar phantom``: any number of labelled cases of patients who never lived."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from thoar.core.volume import LabelVolume, Volume
    from thoar.datasets.manifest import Case
    from thoar.phantoms.copies import CopyParameters
    from thoar.phantoms.labelled_scan import LabelledScan
    from thoar.phantoms.thorax_parameters import ThoraxParameters

    Made = tuple[CopyParameters | ThoraxParameters, Volume, LabelVolume]

_log = logging.getLogger(__name__)

OURS = re.compile(r"dataset\.toml|(phantom|copy)_[0-9]{4}")
"""What ``--overwrite`` may replace."""
Spacing = tuple[float, float, float]
FINEST_MM, COARSEST_MM = 0.5, 12.0


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make: a data set.")],
    *,
    cases: Annotated[int, typer.Option(min=1, max=9999, help="How many cases.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same cases.")] = 0,
    spacing_zyx_mm: Annotated[Spacing, typer.Option(help="Voxel size, z y x.")] = (3.0, 2.0, 2.0),
    copies_of: Annotated[
        Path | None, typer.Option(help="Case folder that `thoar sample` made; its scan is copied, deformed.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the files do not depend on it.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
) -> None:
    """Make a data set of synthetic chest CTs with exact labels: parametric ones, or copies of a real one."""
    from thoar.core.errors import UsageError
    from thoar.core.labels import SEGTHOR
    from thoar.datasets.manifest import Dataset, write_dataset
    from thoar.datasets.target import check_target
    from thoar.io.atomic import replace_folder

    if not all(FINEST_MM <= s <= COARSEST_MM for s in spacing_zyx_mm):
        raise UsageError(
            f"--spacing-zyx-mm must lie in {FINEST_MM} to {COARSEST_MM} mm, got {spacing_zyx_mm}"
        )
    out = out.resolve()
    check_target(out, OURS, overwrite=overwrite)

    def fill(folder: Path) -> None:
        jobs = [(folder, number, seed, spacing_zyx_mm, copies_of) for number in range(cases)]
        made = []
        for case in _made(jobs, workers=min(workers, cases)):
            made.append(case)
            _log.info("%d/%d %s", len(made), cases, case.id)
        write_dataset(folder, Dataset(root=folder, label_set=SEGTHOR, cases=tuple(made)))

    replace_folder(out, fill)


Job = tuple[Path, int, int, Spacing, Path | None]


def _made(jobs: list[Job], *, workers: int) -> "Iterator[Case]":
    """Make all cases, in order; with one thread each, so that no sum depends on how many there are."""
    import torch

    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from _run_all(jobs)
        finally:
            torch.set_num_threads(threads)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    source = jobs[0][-1]
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (source,)) as pool:
        yield from pool.map(_run_in_worker, jobs)


def _run_all(jobs: list[Job]) -> "Iterator[Case]":
    make = maker(jobs[0][-1])
    for job in jobs:
        yield write_case(job, make=make)


_worker: dict[str, "Callable[[int, int, Spacing], Made]"] = {}


def _start_worker(source: Path | None) -> None:
    import torch

    torch.set_num_threads(1)
    _worker["make"] = maker(source)


def _run_in_worker(job: Job) -> "Case":
    return write_case(job, make=_worker["make"])


def maker(source: Path | None) -> "Callable[[int, int, Spacing], Made]":
    """Return what makes case ``number`` of a seed: a parametric chest, or a copy of a sample's scan.

    Raises:
        InputError: if the sample's folder lacks a file.
        LabelError: if its label map lacks an organ.
    """
    from thoar.core.random import rng_for

    if source is None:
        from thoar.phantoms.thorax import draw_thorax, make_thorax

        def parametric(number: int, seed: int, spacing_zyx_mm: Spacing) -> "Made":
            parameters = draw_thorax(rng_for(seed, "thorax", number))
            return parameters, *make_thorax(parameters, spacing_zyx_mm=spacing_zyx_mm)

        return parametric
    from thoar.phantoms.copies import draw_copy, make_copy

    scan = _ready(source)

    def copy(number: int, seed: int, spacing_zyx_mm: Spacing) -> "Made":
        parameters = draw_copy(rng_for(seed, "copy", number))
        return parameters, *make_copy(scan, parameters, spacing_zyx_mm=spacing_zyx_mm)

    return copy


def _ready(source: Path) -> "LabelledScan":
    """Read a sample's folder: the scan, its label map of many structures, and their names."""
    import csv

    import numpy as np

    from thoar.core.errors import GeometryError, InputError
    from thoar.io.formats import read_integers, read_volume
    from thoar.phantoms.labelled_scan import ready_scan

    table = source / "structures.csv"
    image = source / f"{source.resolve().name}.nii.gz"
    for path in (image, source / "structures.nii.gz", table):
        if not path.is_file():
            raise InputError(f"{path} is absent; --copies-of takes a case folder that `thoar sample` made")
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(lines)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{table}: needs the columns structure and id (a whole number): {error}") from error
    scan, structures = read_volume(image), read_integers(source / "structures.nii.gz")
    if not scan.geometry.same_grid(structures.geometry):
        raise GeometryError(f"{source}: structures.nii.gz does not lie on the grid of {image.name}")
    return ready_scan(scan, np.asarray(structures.voxels), ids=ids)


def write_case(job: Job, *, make: "Callable[[int, int, Spacing], Made]") -> "Case":
    """Make one case and write its scan, labels and parameters into its own folder."""
    import msgspec

    from thoar.core.labels import SEGTHOR
    from thoar.datasets.manifest import Case
    from thoar.io.formats import write_labels, write_volume

    folder, number, seed, spacing_zyx_mm, source = job
    name = f"{'phantom' if source is None else 'copy'}_{number:04d}"
    place = folder / name
    place.mkdir()
    parameters, volume, labels = make(number, seed, spacing_zyx_mm)
    write_volume(place / f"{name}.nii.gz", volume)
    write_labels(place / "GT.nii.gz", labels)
    record = {"seed": seed, "number": number, "spacing_zyx_mm": spacing_zyx_mm, "parameters": parameters}
    (place / "parameters.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return Case(
        id=name, image=place / f"{name}.nii.gz", label=place / "GT.nii.gz", organs=SEGTHOR.names, group=name
    )
