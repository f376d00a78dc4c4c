"""``thoar segment``: a scan, or many, to contours."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
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
    from thoar.pipeline.inputs import InputCase
    from thoar.pipeline.reading import ReadCase
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
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of the network's numbers; auto: bfloat16 where the processor is faster with it."),
    ] = "auto",
    max_ram: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of the process, as in 4GiB; what is free by default."),
    ] = None,
    max_vram: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of the GPU; likewise.")] = None,
    coarse: Annotated[bool, typer.Option("--coarse", help="Also write the coarse masks.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write each organ's probability.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in OUT.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep finished results in OUT that are the same input's, model's and options'."
        ),
    ] = False,
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
    from thoar.pipeline.inputs import find_cases, is_single
    from thoar.pipeline.outputs import WriteOptions
    from thoar.pipeline.reading import reading_begun
    from thoar.pipeline.roi_names import read_roi_names

    reading = read_options(
        series=series,
        select=select,
        rectify=rectify,
        fill_gaps=fill_gaps,
        assume_intercept=assume_intercept,
        any_modality=any_modality,
    )
    writing = WriteOptions(
        formats=listed(formats),
        coarse=coarse,
        probabilities=probabilities,
        names={} if names is None else read_roi_names(names),
        append_to=append_to,
        holes=holes,
    )
    cases = find_cases(source)
    with reading_begun(cases[0], reading) if is_single(source) else nullcontext() as begun:
        from thoar.pipeline.request import Request  # brings torch, which takes as long as a scan

        request = Request(
            model=model,
            organs=listed(organs) if organs is not None else None,
            device=device,
            precision=precision,
            max_ram_bytes=_limit("--max-ram", max_ram),
            max_vram_bytes=_limit("--max-vram", max_vram),
            reading=reading,
            writing=writing,
            deterministic=deterministic,
            overwrite=overwrite,
        )
        if begun is None:
            _segment_many(request, cases, out, resume=resume, as_json=as_json)
        else:
            _segment_one(request, cases[0], out, begun=begun, resume=resume, as_json=as_json)


def _segment_one(
    request: "Request",
    case: "InputCase",
    out: Path,
    *,
    begun: "Future[ReadCase]",
    resume: bool,
    as_json: bool,
) -> None:
    from thoar.pipeline.case import check_target, segment_case
    from thoar.pipeline.request import check_cases, load_segmenter

    check_cases(request, [case])
    if not resume:
        check_target(request, case, out)
    if begun.done():
        begun.result()  # what is wrong with the scan is told before the model is loaded
    record = segment_case(load_segmenter(request), case, out, resume=resume, read=begun.result)
    typer.echo(as_json_text(record) if as_json else _lines(record, out))


def _segment_many(
    request: "Request", cases: "Sequence[InputCase]", out: Path, *, resume: bool, as_json: bool
) -> None:
    from thoar.pipeline.batch import CaseSummary, segment_cases, summed_up
    from thoar.pipeline.request import check_cases, load_segmenter

    check_cases(request, cases)
    summaries: list[CaseSummary] = []

    def on_case(summary: CaseSummary) -> None:
        summaries.append(summary)
        told = {"done": f"done in {summary.seconds:.1f} s", "skipped": "was finished before"}
        if summary.outcome in told:  # an error has been told
            _log.info("%s: %s (%d of %d)", summary.case_id, told[summary.outcome], len(summaries), len(cases))

    ahead = 1 if request.max_ram_bytes is None else 0  # others beside it take memory
    try:
        segment_cases(load_segmenter(request), cases, out, resume=resume, ahead=ahead, on_case=on_case)
    except PartialFailureError:
        if as_json:
            typer.echo(as_json_text(summaries))
        raise
    typer.echo(as_json_text(summaries) if as_json else summed_up(summaries, out))


def _limit(option: str, text: str | None) -> int | None:
    from thoar.cli.dataset_plan import size_in_bytes

    return None if text is None else int(size_in_bytes(option, text))


def _lines(record: "RunRecord", out: Path) -> str:
    lines = [f"{record.case_id}: {sum(record.seconds.values()):.1f} s on {record.device}"]
    for name, organ in record.organs.items():
        lines.append(f"  {name:<12} {'not found' if organ.flags.not_found else f'{organ.volume_ml:8.1f} mL'}")
    lines.append(f"results: {', '.join(sorted(record.outputs))} and run.json in {out}")
    return "\n".join(lines)
