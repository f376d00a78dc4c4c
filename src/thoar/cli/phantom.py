"""``thoar phantom``: any number of labelled cases of patients who never lived."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from thoar.core.volume import LabelVolume, Volume
    from thoar.datasets.manifest import Case
    from thoar.phantoms.synthesis import CaseParameters, Source

_log = logging.getLogger(__name__)

OURS = re.compile(
    r"dataset\.toml|(phantom|copy|map)_[0-9]{4}|\.(phantom|copy|map)_[0-9]{4}\.thoar-(new|old|waste)"
)
"""What ``--overwrite`` may replace and ``--resume`` may find."""
NAMES = {"thorax": "phantom", "label_map": "map", "copy": "copy"}
"""What cases of each kind of source are called."""
RECORD = "parameters.json"
Spacing = tuple[float, float, float]
Format = Literal["nii.gz", "safetensors"]
FINEST_MM, COARSEST_MM = 0.5, 12.0


class Recipe(NamedTuple):
    """What all cases of one call have in common.

    ``whose`` names the file or folder they are made of, ``ct`` the scan that a label map was filled from.
    """

    seed: int
    spacing_zyx_mm: Spacing
    format: Format
    device: str
    whose: str
    ct: str


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make: a data set.")],
    *,
    cases: Annotated[int, typer.Option(min=1, max=9999, help="How many cases.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same cases.")] = 0,
    spacing_zyx_mm: Annotated[Spacing, typer.Option(help="Voxel size, z y x.")] = (3.0, 2.0, 2.0),
    copies_of: Annotated[
        Path | None, typer.Option(help="Case folder that `thoar sample` made; its scan is copied, deformed.")
    ] = None,
    from_map: Annotated[
        Path | None, typer.Option(help="A label map of many structures; bodies are made of it.")
    ] = None,
    structures: Annotated[
        Path | None, typer.Option(help="With --from-map: its table, a CSV with the columns structure and id.")
    ] = None,
    ct: Annotated[
        Path | None, typer.Option(help="With --from-map: the scan it was drawn on, for skin and fat.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    format: Annotated[Format, typer.Option(help="Of the files.")] = "nii.gz",  # noqa: A002 (the flag's name)
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; on a CPU the files do not depend on it.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the folder's finished cases.")] = False,
) -> None:
    """Make a data set of synthetic chest CTs with exact labels: parametric, of a label map, or of a scan."""
    from thoar.cli.phantom_sources import read_source
    from thoar.datasets.target import check_target
    from thoar.inference.predictor import choose_device
    from thoar.io.atomic import replace_folder

    _check_use(spacing_zyx_mm, copies_of, from_map, structures=structures, ct=ct)
    out = out.resolve()
    check_target(out, OURS, overwrite=overwrite or resume)
    source = read_source(copies_of=copies_of, from_map=from_map, structures=structures, ct=ct)
    place = copies_of or from_map
    whose, filled_from = ("" if path is None else path.resolve().name for path in (place, ct))
    recipe = Recipe(seed, spacing_zyx_mm, format, str(choose_device(device)), whose, filled_from)
    numbers = range(cases)
    if resume and not overwrite:
        out.mkdir(parents=True, exist_ok=True)
        fill(out, numbers, source=source, recipe=recipe, workers=workers)
    else:
        replace_folder(out, lambda new: fill(new, numbers, source=source, recipe=recipe, workers=workers))


def _check_use(
    spacing_zyx_mm: Spacing,
    copies_of: Path | None,
    from_map: Path | None,
    *,
    structures: Path | None,
    ct: Path | None,
) -> None:
    from thoar.core.errors import UsageError

    if not all(FINEST_MM <= s <= COARSEST_MM for s in spacing_zyx_mm):
        raise UsageError(
            f"--spacing-zyx-mm must lie in {FINEST_MM} to {COARSEST_MM} mm, got {spacing_zyx_mm}"
        )
    if copies_of is not None and from_map is not None:
        raise UsageError("--copies-of and --from-map are two sources; give one of them")
    if (from_map is None) != (structures is None):
        raise UsageError("--from-map needs --structures, the table of the map's ids, and the other way round")
    if ct is not None and from_map is None:
        raise UsageError("--ct belongs to --from-map")


def fill(folder: Path, numbers: range, *, source: "Source", recipe: Recipe, workers: int) -> None:
    """Make the cases that a folder lacks, and its ``dataset.toml``."""
    from thoar.core.labels import SEGTHOR
    from thoar.datasets.manifest import Dataset, write_dataset

    made: list[Case] = []
    for case in _made(folder, numbers, source=source, recipe=recipe, workers=min(workers, len(numbers))):
        made.append(case)
        _log.info("%d/%d %s", len(made), len(numbers), case.id)
    write_dataset(folder, Dataset(root=folder, label_set=SEGTHOR, cases=tuple(made)))


def _made(
    folder: Path, numbers: range, *, source: "Source", recipe: Recipe, workers: int
) -> "Iterator[Case]":
    """Make all cases, in order; with one thread each, so that no sum depends on how many there are."""
    import torch

    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for number in numbers:
                yield write_case(folder, number, source=source, recipe=recipe)
        finally:
            torch.set_num_threads(threads)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    start = (folder, source, recipe)
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, start) as pool:
        yield from pool.map(_run_in_worker, numbers)


_worker: list[tuple[Path, "Source", Recipe]] = []


def _start_worker(folder: Path, source: "Source", recipe: Recipe) -> None:
    import torch

    torch.set_num_threads(1)
    _worker.append((folder, source, recipe))


def _run_in_worker(number: int) -> "Case":
    folder, source, recipe = _worker[0]
    return write_case(folder, number, source=source, recipe=recipe)


def write_case(folder: Path, number: int, *, source: "Source", recipe: Recipe) -> "Case":
    """Make one case and write its scan, labels and parameters into its own folder, unless they are there.

    Raises:
        UsageError: if the folder holds the case of another recipe.
    """
    from thoar.core.errors import UsageError
    from thoar.core.labels import SEGTHOR
    from thoar.core.random import rng_for
    from thoar.datasets.manifest import Case
    from thoar.io.atomic import replace_folder
    from thoar.phantoms.synthesis import draw_case, name_of

    kind = name_of(source)
    name = f"{NAMES[kind]}_{number:04d}"
    place = folder / name
    case = Case(
        id=name,
        image=place / f"{name}.{recipe.format}",
        label=place / f"GT.{recipe.format}",
        organs=SEGTHOR.names,
        group=name,
        source=recipe.whose,
    )
    parameters = draw_case(rng_for(recipe.seed, kind, number), kind)
    record = _record(parameters, number, recipe)
    if not place.exists():
        replace_folder(
            place, lambda new: _write(new, case, record, made=_made_case(source, parameters, recipe))
        )
    elif not _is_finished(case, record):
        raise UsageError(f"{place}: was made with other options; name another folder, or use --overwrite")
    return case


def _record(parameters: "CaseParameters", number: int, recipe: Recipe) -> bytes:
    import msgspec

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
    return msgspec.json.format(msgspec.json.encode(record)) + b"\n"


def _is_finished(case: "Case", record: bytes) -> bool:
    stored = case.image.parent / RECORD
    files = (case.image, case.label, stored)
    return all(path is not None and path.is_file() for path in files) and stored.read_bytes() == record


def _made_case(
    source: "Source", parameters: "CaseParameters", recipe: Recipe
) -> "tuple[Volume, LabelVolume]":
    from thoar.phantoms.synthesis import make_case

    return make_case(source, parameters, spacing_zyx_mm=recipe.spacing_zyx_mm, device=recipe.device)


def _write(folder: Path, case: "Case", record: bytes, *, made: "tuple[Volume, LabelVolume]") -> None:
    from thoar.io.formats import write_labels, write_volume

    volume, labels = made
    write_volume(folder / case.image.name, volume)
    write_labels(folder / f"GT{case.image.name.removeprefix(case.id)}", labels)
    (folder / RECORD).write_bytes(record)
