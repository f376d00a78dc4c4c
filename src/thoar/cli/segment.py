"""``thoar segment``: a scan, or many, to contours."""

import logging
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
from thoar.core.errors import PartialFailureError

if TYPE_CHECKING:
    from thoar.pipeline.record import RunRecord
    from thoar.pipeline.request import Request

_log = logging.getLogger(__name__)
_DICOM = "Writing RTSTRUCT and DICOM-SEG"


def segment(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="NIfTI, NRRD, MHA or safetensors; DICOM as a folder, zip or file; a data set; or a folder "
            "of volumes.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    model: Annotated[
        str,
        typer.Option(
            help="A shipped model's name, or the folder of a bundle, a training run or a cross-validation."
        ),
    ] = "thorax",
    organs: Annotated[
        str | None,
        typer.Option(help="Only these, as in heart,esophagus; by default all that are not optional."),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            help="What to write: nifti, nrrd, mha, safetensors (label map), rtstruct, dicom-seg (of a DICOM "
            "input) and png (overview)."
        ),
    ] = "nifti,png",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    coarse: Annotated[bool, typer.Option("--coarse", help="Also write the coarse masks.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write each organ's probability.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in OUT.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run record (or the summary) as JSON.")
    ] = False,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='What to call organs: TOML lines such as heart = "Heart PRV".',
            rich_help_panel=_DICOM,
        ),
    ] = None,
    append_to: Annotated[
        Path | None,
        typer.Option(
            metavar="RTSTRUCT", help="Write its structures too, as they are.", rich_help_panel=_DICOM
        ),
    ] = None,
    holes: Annotated[
        Literal["keyhole", "xor"],
        typer.Option(
            help="How RTSTRUCT shows a hole: by a slit, or by a second contour.", rich_help_panel=_DICOM
        ),
    ] = "keyhole",
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="UIDs and dates from input and model: the same command gives the same bytes.",
            rich_help_panel=_DICOM,
        ),
    ] = False,
    series: SeriesUid = None,
    select: Select = None,
    rectify: Rectify = False,
    fill_gaps: FillGaps = 0,
    assume_intercept: AssumeIntercept = None,
    any_modality: AnyModality = False,
) -> None:
    """Segment the organs at risk of a chest CT. Not a medical device: check every contour."""
    from thoar.pipeline.outputs import WriteOptions
    from thoar.pipeline.request import Request
    from thoar.pipeline.roi_names import read_roi_names

    request = Request(
        model=model,
        organs=listed(organs) if organs is not None else None,
        device=device,
        reading=read_options(
            series=series,
            select=select,
            rectify=rectify,
            fill_gaps=fill_gaps,
            assume_intercept=assume_intercept,
            any_modality=any_modality,
        ),
        writing=WriteOptions(
            formats=listed(formats),
            coarse=coarse,
            probabilities=probabilities,
            names={} if names is None else read_roi_names(names),
            append_to=append_to,
            holes=holes,
        ),
        deterministic=deterministic,
        overwrite=overwrite,
    )
    _run(request, source, out, as_json=as_json)


def _run(request: "Request", source: Path, out: Path, *, as_json: bool) -> None:
    from thoar.pipeline.case import CaseSummary, check_target, segment_case, segment_cases
    from thoar.pipeline.inputs import find_cases, is_single
    from thoar.pipeline.request import check_cases, load_segmenter

    cases = find_cases(source)
    check_cases(request, cases)
    if is_single(source):
        check_target(request, cases[0], out)
    segmenter = load_segmenter(request)
    if is_single(source):
        record = segment_case(segmenter, cases[0], out)
        typer.echo(as_json_text(record) if as_json else _lines(record, out))
        return
    summaries: list[CaseSummary] = []

    def on_case(summary: CaseSummary) -> None:
        summaries.append(summary)
        if summary.error is None:
            _log.info("%s: done", summary.case_id)

    try:
        segment_cases(segmenter, cases, out, on_case=on_case)
    except PartialFailureError:
        if as_json:
            typer.echo(as_json_text(summaries))
        raise
    typer.echo(as_json_text(summaries) if as_json else f"{len(summaries)} cases are in {out}")


def _lines(record: "RunRecord", out: Path) -> str:
    lines = [f"{record.case_id}: {sum(record.seconds.values()):.1f} s on {record.device}"]
    for name, organ in record.organs.items():
        lines.append(f"  {name:<12} {'not found' if organ.flags.not_found else f'{organ.volume_ml:8.1f} mL'}")
    lines.append(f"results: {', '.join(sorted(record.outputs))} and run.json in {out}")
    return "\n".join(lines)
