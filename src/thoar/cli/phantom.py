"""``thoar phantom``: any number of labelled cases of patients who never lived."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from thoar.core.labels import LabelSet

OURS = re.compile(
    r"dataset\.toml|(phantom|copy|map)_[0-9]{4}|\.(phantom|copy|map)_[0-9]{4}\.thoar-(new|old|waste)"
)
"""What ``--overwrite`` may replace and ``--resume`` may find."""
Spacing = tuple[float, float, float]
Format = Literal["nii.gz", "safetensors"]
Layout = Literal["thoar", "segthor"]
FINEST_MM, COARSEST_MM = 0.5, 12.0


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make: a data set.")],
    *,
    cases: Annotated[int, typer.Option(min=1, max=9999, help="How many cases.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same cases.")] = 0,
    spacing_zyx_mm: Annotated[Spacing, typer.Option(help="Voxel size, z y x.")] = (3.0, 2.0, 2.0),
    organs: Annotated[
        str, typer.Option(help="Labelled: some of these four, spinal_cord, lung_left, lung_right.")
    ] = "esophagus,heart,trachea,aorta",
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
    scanner: Annotated[
        str | None, typer.Option(help="All on one scanner: `shifted`, or a TOML file of its parameters.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    format: Annotated[Format, typer.Option(help="Of the files.")] = "nii.gz",  # noqa: A002 (the flag's name)
    layout: Annotated[Layout, typer.Option(help="Of the folder: with a manifest, or SegTHOR's.")] = "thoar",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; on a CPU the files do not depend on it.")
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in the folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the folder's finished cases.")] = False,
) -> None:
    """Make a data set of synthetic chest CTs with exact labels: parametric, of a label map, or of a scan."""
    from thoar.cli.phantom_cases import Recipe, fill
    from thoar.cli.phantom_sources import read_site, read_source
    from thoar.datasets.target import check_target
    from thoar.inference.device import choose_device
    from thoar.io.atomic import replace_folder
    from thoar.phantoms.synthesis import refuse_unlabelled

    _check_source(spacing_zyx_mm, copies_of, from_map, structures=structures, ct=ct)
    label_set = _label_set(organs)
    if layout == "segthor":
        _check_segthor(label_set, format=format, replacing=overwrite or resume)
    out = out.resolve()
    check_target(out, OURS, overwrite=overwrite or resume)
    site = read_site(scanner)
    source = read_source(copies_of=copies_of, from_map=from_map, structures=structures, ct=ct)
    refuse_unlabelled(source, label_set)
    place = copies_of or from_map
    whose, filled_from = ("" if path is None else path.resolve().name for path in (place, ct))
    recipe = Recipe(
        seed=seed,
        spacing_zyx_mm=spacing_zyx_mm,
        format=format,
        layout=layout,
        device=str(choose_device(device)),
        whose=whose,
        ct=filled_from,
        label_set=label_set,
        site=site,
    )
    numbers = range(cases)
    if resume and not overwrite:
        out.mkdir(parents=True, exist_ok=True)
        fill(out, numbers, source=source, recipe=recipe, workers=workers)
    else:
        replace_folder(out, lambda new: fill(new, numbers, source=source, recipe=recipe, workers=workers))


def _check_source(
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


def _label_set(organs: str) -> "LabelSet":
    from thoar.cli.text import listed
    from thoar.core.errors import LabelError, UsageError
    from thoar.core.labels import THORAX

    try:
        return THORAX.subset(listed(organs))
    except LabelError as error:
        raise UsageError(f"--organs {organs}: {error}") from error


def _check_segthor(label_set: "LabelSet", *, format: Format, replacing: bool) -> None:  # noqa: A002
    from thoar.core.errors import UsageError
    from thoar.core.labels import SEGTHOR

    if label_set != SEGTHOR or format != "nii.gz":
        raise UsageError(
            "--layout segthor means SegTHOR's four organs in .nii.gz; leave --organs and --format"
        )
    if replacing:
        raise UsageError(
            "--layout segthor makes a new folder only: nothing in it would tell it from real patients, so it "
            "is neither replaced nor resumed"
        )
