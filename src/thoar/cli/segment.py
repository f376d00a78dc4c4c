"""``thoar segment``: a scan, or many, to contours."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.core.errors import PartialFailureError

if TYPE_CHECKING:
    from thoar.pipeline.record import RunRecord

_log = logging.getLogger(__name__)


def segment(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="NIfTI, NRRD, MHA or safetensors, a DICOM folder, a data set, or a folder of volumes.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    model: Annotated[
        str, typer.Option(help="A shipped model's name, or the folder of a bundle or a training run.")
    ] = "thorax",
    organs: Annotated[
        str | None, typer.Option(help="Only these, as in heart,esophagus; all by default.")
    ] = None,
    formats: Annotated[
        str, typer.Option(help="What to write: nifti, nrrd, mha, safetensors (label map) and png (overview).")
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
) -> None:
    """Segment the organs at risk of a chest CT. Not a medical device: check every contour."""
    from thoar.pipeline.case import CaseSummary, Request, load_segmenter, segment_case, segment_cases
    from thoar.pipeline.inputs import find_cases, is_single

    cases = find_cases(source)
    request = Request(
        model=model,
        organs=_names(organs) if organs is not None else None,
        formats=_names(formats),
        device=device,
        coarse=coarse,
        probabilities=probabilities,
        overwrite=overwrite,
    )
    segmenter = load_segmenter(request)
    if is_single(source):
        record = segment_case(segmenter, cases[0], out)
        typer.echo(_json(record) if as_json else _lines(record, out))
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
            typer.echo(_json(summaries))
        raise
    typer.echo(_json(summaries) if as_json else f"{len(summaries)} cases are in {out}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _json(content: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _lines(record: "RunRecord", out: Path) -> str:
    lines = [f"{record.case_id}: {sum(record.seconds.values()):.1f} s on {record.device}"]
    for name, organ in record.organs.items():
        lines.append(f"  {name:<12} {'not found' if organ.flags.not_found else f'{organ.volume_ml:8.1f} mL'}")
    lines.append(f"results: {', '.join(sorted(record.outputs))} and run.json in {out}")
    return "\n".join(lines)
