"""``thoar dataset import``: one word for each layout that labelled scans come in."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoar.cli.dataset_dicom import dicom
from thoar.cli.text import listed
from thoar.core.errors import PartialFailureError

if TYPE_CHECKING:
    from thoar.datasets.layouts.layout_report import LayoutReport

Place = Annotated[Path, typer.Argument(metavar="SOURCE", help="What to read; it is not changed.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="Folder to make: the data set.")]
Organs = Annotated[str, typer.Option(help="Only these, as in heart,aorta.")]
NamesFile = Annotated[
    Path | None, typer.Option(help="TOML file that says which organ a label's name or id means.")
]
Empty = Annotated[
    Literal["unlabelled", "absent"] | None,
    typer.Option(help="What it means that an organ has no voxel in a case, where nobody says."),
]
Link = Annotated[bool, typer.Option("--link", help="Symbolic links to the images in place of copies.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import.")]

LAYOUTS = MappingProxyType(
    {
        "segthor": "Take over SegTHOR's layout: Patient_01/Patient_01.nii.gz and GT.nii.gz.",
        "nnunet": "Take over a DatasetXXX_Name of nnU-Net: imagesTr, labelsTr, imagesTs, dataset.json.",
        "msd": "Take over a task of the Medical Segmentation Decathlon, as its dataset.json lists it.",
        "totalsegmentator": "Take over TotalSegmentator's data set: s0011/ct.nii.gz, a file per structure.",
        "table": "Take over scans and label maps that lie anywhere, listed in a CSV or TOML table.",
    }
)
"""Each is a module of its name in ``datasets/layouts``."""

imports = typer.Typer(
    help="Take over scans with labels or contours.", no_args_is_help=True, pretty_exceptions_enable=False
)
imports.command("dicom")(dicom)


def _command(layout: str) -> Callable[..., None]:
    """Return the command for one layout; all have the same options."""

    def take(
        source: Place,
        *,
        out: Out,
        organs: Organs = "",
        names: NamesFile = None,
        empty: Empty = None,
        link: Link = False,
        overwrite: Overwrite = False,
    ) -> None:
        from thoar.datasets.layouts.take_over import Wish, take_over

        wish = Wish(names_file=names, organs=listed(organs), empty=empty, link=link)
        find = importlib.import_module(f"thoar.datasets.layouts.{layout}").find
        _leave(take_over(find(source), out, wish=wish, overwrite=overwrite), out)

    return take


for _layout, _what in LAYOUTS.items():
    imports.command(_layout, help=_what)(_command(_layout))


def _leave(report: "LayoutReport", out: Path) -> None:
    _show(report)
    if report.refused:
        raise PartialFailureError(
            f"{len(report.refused)} cases were refused, as listed above; the {len(report.cases)} other cases "
            f"are in {out}"
        )


def _show(report: "LayoutReport") -> None:
    for case in report.cases:
        volumes = ", ".join(f"{organ} {volume:.1f} mL" for organ, volume in case.volumes_ml.items())
        typer.echo(f"{case.id}  {volumes or 'no label'}")
        for note in case.notes:
            typer.echo(f"    {note}")
    for refusal in report.refused:
        typer.echo(f"{refusal.id}  refused: {refusal.reason}")
    if report.without_organs:
        typer.echo(f"left out, since none of the organs is in view: {', '.join(report.without_organs)}")
    if report.left_out:
        typer.echo(f"labels left out: {', '.join(report.left_out)}")
    for organ, count in report.cases_with.items():
        if count < report.labelled:
            typer.echo(f"{organ}: has voxels in {count} of {report.labelled} cases with labels")
