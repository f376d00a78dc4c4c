"""``thoar dataset plan``: what training on a data set takes, and a recipe that fits the machine."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thoar.training.fit import Limits
    from thoar.training.needs import StageNeed
    from thoar.training.plan import Plan

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def plan(
    folder: Annotated[Path, typer.Argument(help="Data set: with dataset.toml, or in SegTHOR's layout.")],
    *,
    recipe: Annotated[
        str, typer.Option(metavar="CONFIG", help="A shipped recipe (paper, fast, tiny …) or a TOML file.")
    ] = "fast",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in train.precision=float32; repeatable."),
    ] = None,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory of a process, as in 8GiB or 500MB.")
    ] = None,
    max_vram: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of a GPU.")] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; cuda may be planned for without one.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Cases read at the same time.")] = 2,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the recipe that fits, for thoar train.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say what training will take of memory, time and disk, and fit a recipe to limits before it begins."""
    from thoar.cli.text import as_json_text
    from thoar.io.atomic import atomic_bytes
    from thoar.training.fit import Limits
    from thoar.training.plan import recipe_text

    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out}: is there already; name another file, or replace it with --overwrite")
    limits = Limits(
        ram_bytes=_limit("--max-ram", max_ram),
        vram_bytes=_limit("--max-vram", max_vram),
    )
    made = _made(folder, recipe, overrides or [], limits=limits, device=device, workers=workers)
    if out is not None:
        atomic_bytes(out, recipe_text(made).encode())
    if as_json:
        typer.echo(as_json_text(made))
        return
    _show(made)
    if out is not None:
        typer.echo(f"\n{out}: thoar train {out} --data {folder} -o RUN")


def size_in_bytes(option: str, text: str) -> float:
    """Return how many bytes a size such as 8GiB, 500 MB or 12e9 means.

    Raises:
        UsageError: if it is no size, or none above 0.
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    unit = UNITS.get(found[2].upper()) if found else None
    try:
        value = float(found[1]) * unit if found and unit else 0.0
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UsageError(f"{option} {text}: expected a size such as 8GiB or 500MB")
    return value


def _limit(option: str, text: str | None) -> float:
    return math.inf if text is None else size_in_bytes(option, text)


def _made(
    folder: Path, recipe: str, overrides: "Sequence[str]", *, limits: "Limits", device: str, workers: int
) -> "Plan":
    import torch

    from thoar.cli.recipe import read_recipe
    from thoar.datasets.fingerprint import fingerprint
    from thoar.datasets.manifest import labelled, read_dataset
    from thoar.inference.device import choose_device
    from thoar.training.plan import make_plan

    configuration = read_recipe(recipe, overrides)
    elsewhere = device.startswith("cuda") and not torch.cuda.is_available()
    where = torch.device("cuda") if elsewhere else choose_device(device)
    found = fingerprint(labelled(read_dataset(folder)), configuration, workers=workers)
    if configuration.train.threads:
        torch.set_num_threads(configuration.train.threads)
    return make_plan(configuration, found, limits=limits, device=where, workers=workers, timed=not elsewhere)


def _show(made: "Plan") -> None:
    _show_data(made)
    _show_needs(made.needs if not made.changes else made.as_it_was, title="it takes, at its worst")
    for change in made.changes:
        typer.echo(f"{change.setting}: {change.before} became {change.after}: {change.cost}")
    if made.changes:
        _show_needs(made.needs, title="then it takes, at its worst")
    if made.times is None:
        typer.echo("time: not known, since the device is not here")
    else:
        times = made.times
        typer.echo(
            f"time on this {made.device}: {_duration(times.coarse_epoch_s)} an epoch of the coarse stage, "
            f"{_duration(times.joint_epoch_s)} of the joint stage, {_duration(times.run_s)} in all"
        )
    typer.echo(f"disk: {_size(made.cache_bytes)} of prepared cases")


def _show_data(made: "Plan") -> None:
    found = made.fingerprint
    typer.echo(f"{len(found.cases)} cases")
    for name, values in (
        ("slices", [case.shape_zyx[0] for case in found.cases]),
        ("slice distance, mm", [case.spacing_zyx_mm[0] for case in found.cases]),
        ("pixel size, mm", [case.spacing_zyx_mm[2] for case in found.cases]),
    ):
        typer.echo(f"{name}: {_spread(values)}")
    voxels = "×".join(f"{side:g}" for side in found.spacing_zyx_mm)
    for axis, name in enumerate(("z", "y", "x")):
        shown = _spread([case.prepared_shape_zyx[axis] for case in found.cases])
        typer.echo(f"prepared at {voxels} mm, {name}: {shown} voxels")
    for organ in found.organs:
        _show_organ(made, organ)
    body = found.body_hu
    typer.echo(f"body: {body.lowest:g} to {body.highest:g} HU, median {body.median:g}")


def _show_organ(made: "Plan", organ: str) -> None:
    boxes = [case.box_cells_zyx[organ] for case in made.fingerprint.cases if organ in case.box_cells_zyx]
    if not boxes:
        typer.echo(f"{organ}: in no case")
        return
    z, y, x = (_spread([box[axis] for box in boxes]) for axis in range(3))
    hu = made.fingerprint.organ_hu[organ]
    typer.echo(
        f"{organ}: in {len(boxes)} cases; box {z} × {y} × {x} coarse cells; {hu.lowest:g} to "
        f"{hu.highest:g} HU, median {hu.median:g}"
    )


def _show_needs(found: "Sequence[StageNeed]", *, title: str) -> None:
    typer.echo(title)
    for need in found:
        gpu = f", {_size(need.vram_bytes)} of GPU memory" if need.vram_bytes else ""
        typer.echo(f"  {need.stage}: {_size(need.ram_bytes)} of RAM{gpu}")


def _spread(values: "Sequence[float]") -> str:
    """Return the least, the median and the largest value; one number where they are equal."""
    import statistics

    least, middle, most = min(values), statistics.median(values), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g} (median {middle:g})"


def _size(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 (seconds read better so far)
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
