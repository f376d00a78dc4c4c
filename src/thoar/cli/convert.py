"""``thoar convert``: series, volumes, masks, RTSTRUCT and DICOM-SEG into each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoar.cli.dicom_options import (
    AnyModality,
    AssumeIntercept,
    FillGaps,
    Rectify,
    Select,
    SeriesUid,
    read_options,
)
from thoar.cli.text import as_json_text, listed

if TYPE_CHECKING:
    from thoar.pipeline.conversion import Converted


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A DICOM series, a volume, a label map, a folder of masks, an RTSTRUCT or a DICOM-SEG.",
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="File to make, or folder of masks.")
    ],
    to: Annotated[
        Literal["volume", "label-map", "masks", "rtstruct", "dicom-seg", "fractional-dicom-seg"] | None,
        typer.Option(help="What to make; told by OUT's ending, but for .dcm."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="SERIES", help="The series that structures lie on, or are to lie on."),
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="CSV of a label map's names: columns structure and id."),
    ] = None,
    organs: Annotated[
        str | None, typer.Option("--organs", "--labels", help="Only these structures; all by default.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='What to call structures: TOML lines such as heart = "Heart PRV".'),
    ] = None,
    probability: Annotated[
        bool,
        typer.Option("--probability", help="INPUT holds probabilities, a file for each structure."),
    ] = False,
    resample: Annotated[
        bool, typer.Option("--resample", help="Take structures on another grid than SERIES, resampled.")
    ] = False,
    suffix: Annotated[
        Literal["nii.gz", "nrrd", "mha", "safetensors"],
        typer.Option("--format", help="Of a folder of masks."),
    ] = "nii.gz",
    append_to: Annotated[
        Path | None, typer.Option(metavar="RTSTRUCT", help="Write its structures too, as they are.")
    ] = None,
    holes: Annotated[
        Literal["keyhole", "xor"],
        typer.Option(help="How RTSTRUCT shows a hole: by a slit, or by a second contour."),
    ] = "keyhole",
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="UIDs and dates from the inputs: the same bytes each time."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at OUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
    series: SeriesUid = None,
    select: Select = None,
    rectify: Rectify = False,
    fill_gaps: FillGaps = 0,
    assume_intercept: AssumeIntercept = None,
    any_modality: AnyModality = False,
) -> None:
    """Convert series to volumes, and masks, RTSTRUCT and DICOM-SEG into each other."""
    from thoar.pipeline import conversion
    from thoar.pipeline.roi_names import read_roi_names

    wanted = conversion.Conversion(
        source=source,
        out=out,
        to=to,
        like=like,
        reading=read_options(
            series=series,
            select=select,
            rectify=rectify,
            fill_gaps=fill_gaps,
            assume_intercept=assume_intercept,
            any_modality=any_modality,
        ),
        table=structures,
        probability=probability,
        organs=None if organs is None else listed(organs),
        names={} if names is None else read_roi_names(names),
        resample=resample,
        suffix=f".{suffix}",
        append_to=append_to,
        holes=holes,
        deterministic=deterministic,
        overwrite=overwrite,
    )
    _show(conversion.convert(wanted), out, as_json=as_json)


def _show(done: "Converted", out: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(as_json_text(done))
        return
    if done.structures:
        typer.echo(f"{done.to}: {', '.join(done.structures)}")
    if done.empty:
        typer.echo(f"empty, left out: {', '.join(done.empty)}")
    typer.echo(f"{', '.join(done.files)} in {out if done.to == 'masks' else out.parent}")
