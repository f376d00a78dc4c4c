"""``thoar dataset export``: a data set in the layouts that other programs read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.cli.text import listed
from thoar.core.errors import UsageError

if TYPE_CHECKING:
    from thoar.datasets.layouts.export_case import Partial, Plan

Folder = Annotated[Path, typer.Argument(metavar="DATASET", help="A data set; it is not changed.")]
Organs = Annotated[str, typer.Option(help="Only these, as in heart,aorta.")]
DropPartial = Annotated[
    bool, typer.Option("--drop-partial", help="Leave out cases in which an organ is not labelled.")
]
AsBackground = Annotated[
    bool,
    typer.Option("--as-background", help="Write organs that are not labelled as if they were not there."),
]
Link = Annotated[
    bool, typer.Option("--link", help="Symbolic links to images that are .nii.gz, in place of copies.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")]

exports = typer.Typer(
    help="Write a data set in another layout.", no_args_is_help=True, pretty_exceptions_enable=False
)


@exports.command("nnunet")
def nnunet(
    source: Folder,
    *,
    out: Annotated[Path, typer.Option("-o", "--output", help="nnUNet_raw: the folder to make it in.")],
    name: Annotated[str, typer.Option(help="Of the folder made there.")] = "Dataset501_Thorax",
    organs: Organs = "",
    drop_partial: DropPartial = False,
    as_background: AsBackground = False,
    link: Link = False,
    overwrite: Overwrite = False,
) -> None:
    """Write nnU-Net's raw layout, version 2, with its dataset.json."""
    from thoar.datasets.layouts.nnunet_export import export_nnunet
    from thoar.datasets.manifest import read_dataset

    plan = export_nnunet(
        read_dataset(source),
        out,
        name=name,
        organs=listed(organs),
        partial=_partial(drop_partial, as_background),
        link=link,
        overwrite=overwrite,
    )
    _show(plan, out / name)


@exports.command("segthor")
def segthor(
    source: Folder,
    *,
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.")],
    organs: Organs = "",
    drop_partial: DropPartial = False,
    as_background: AsBackground = False,
    link: Link = False,
    overwrite: Overwrite = False,
) -> None:
    """Write SegTHOR's layout, with its ids."""
    from thoar.datasets.layouts.segthor_export import export_segthor
    from thoar.datasets.manifest import read_dataset

    plan = export_segthor(
        read_dataset(source),
        out,
        organs=listed(organs),
        partial=_partial(drop_partial, as_background),
        link=link,
        overwrite=overwrite,
    )
    _show(plan, out)


def _partial(drop: bool, as_background: bool) -> "Partial":
    if drop and as_background:
        raise UsageError("give --drop-partial or --as-background, not both")
    return "drop" if drop else "background" if as_background else "refuse"


def _show(plan: "Plan", place: Path) -> None:
    organs = ", ".join(f"{organ.id} {organ.name}" for organ in plan.label_set.organs)
    typer.echo(f"{place}: {len(plan.labelled)} cases with labels ({organs}), {len(plan.bare)} without")
    if plan.dropped:
        typer.echo(f"left out, since an organ is not labelled in them: {', '.join(plan.dropped)}")
