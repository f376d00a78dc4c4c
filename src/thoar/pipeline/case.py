"""Segment one case, or many: read, predict, write, verify, record."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from thoar.core.errors import InputError, PartialFailureError, ResourceError, ThoarError, foreseen
from thoar.datasets.scans import Scan, read_scan
from thoar.inference.segmentation import Segmentation
from thoar.io.digest import digest_of
from thoar.pipeline.dicom_outputs import called, check_rtstruct_target
from thoar.pipeline.folder import (
    RUN_RECORD,
    check_output,
    new_folder_in,
    publish,
    refuse_inside_input,
    write_json,
)
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.outputs import write_outputs
from thoar.pipeline.reader_warnings import warnings_about
from thoar.pipeline.record import RunRecord, input_record, model_record, run_record, warnings_of
from thoar.pipeline.request import Request, Segmenter, check_cases, maker_of

_log = logging.getLogger(__name__)
SUMMARY = "summary.json"


class CaseSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of ``summary.json``: what became of a case, with an error or with its warnings."""

    case_id: str
    error: str | None = None
    error_kind: str | None = None
    warnings: tuple[str, ...] = ()


def segment_case(segmenter: Segmenter, case: InputCase, out: Path) -> RunRecord:
    """Segment one scan and write its results and ``run.json``, all of them or none.

    Args:
        segmenter: see :func:`thoar.pipeline.request.load_segmenter`.
        case: what to read.
        out: folder for the results; made if it does not exist.

    Raises:
        UsageError: if results are there already and may not be replaced, or a format needs another input.
        InputError: or one of its kinds, naming the file, if the scan cannot be used, or the folder may not
            be written.
        ResourceError: if memory or disk does not suffice.
    """
    check_cases(segmenter.request, [case])
    check_target(segmenter.request, case, out)
    with warnings_about(_called(case.path, segmenter.request.writing.append_to)) as said:
        scan, segmentation, read_s = _read_and_predict(segmenter, case)
    with new_folder_in(out) as folder:
        seconds = {"read": read_s, **segmentation.seconds}
        record = _write(
            segmenter, case, folder, scan=scan, segmentation=segmentation, seconds=seconds, said=said
        )
        publish(folder, out)
    for line in warnings_of(segmentation):
        _log.warning("%s: %s", case.id, line)
    return record


def check_target(request: Request, case: InputCase, out: Path) -> None:
    """Refuse a folder for results that holds some, or touches an input.

    Raises:
        UsageError: if it does.
    """
    check_output(out, overwrite=request.overwrite)
    for read_from in (case.path, request.writing.append_to):
        if read_from is not None:
            refuse_inside_input(out, read_from)


def _called(*paths: Path | None) -> dict[Path, str]:
    return {path: path.name for path in paths if path is not None}


def _read_and_predict(segmenter: Segmenter, case: InputCase) -> tuple[Scan, Segmentation, float]:
    """Return the scan, its segmentation, and the seconds that reading took."""
    began = time.perf_counter()
    with _memory_errors_explained(case.path):
        scan = read_scan(case.path, segmenter.request.reading)
    read_s = time.perf_counter() - began
    writing = segmenter.request.writing
    if "rtstruct" in writing.formats:
        named = [called(organ, writing.names) for organ in segmenter.predictor.drawn.organs]
        check_rtstruct_target(scan, named, append_to=writing.append_to)
    try:
        return scan, segmenter.predictor.predict(scan.volume, organs=segmenter.request.organs), read_s
    except InputError as error:
        raise type(error)(f"{case.path}: {error}") from error


def _write(
    segmenter: Segmenter,
    case: InputCase,
    folder: Path,
    *,
    scan: Scan,
    segmentation: Segmentation,
    seconds: dict[str, float],
    said: Sequence[str],
) -> RunRecord:
    """Write the results and then the record of them into a folder."""
    request, model = segmenter.request, model_record(segmenter.bundle)
    input_read = input_record(case.path, scan)
    maker = maker_of(request, model, input_sha256=input_read.sha256)
    began = time.perf_counter()
    with warnings_about({folder: case.id, **_called(request.writing.append_to)}) as said_of_outputs:
        structures = write_outputs(
            folder, scan, segmentation, options=request.writing, maker=maker, title=case.id
        )
    record = run_record(
        case.id,
        segmentation,
        input_read=input_read,
        model=model,
        device=segmenter.predictor.device,
        seconds={**seconds, "write": time.perf_counter() - began},
        structures=structures,
        outputs={file.name: digest_of(file) for file in sorted(folder.iterdir())},
        warnings=tuple(dict.fromkeys((*said, *said_of_outputs, *warnings_of(segmentation)))),
    )
    write_json(folder / RUN_RECORD, record)
    return record


def segment_cases(
    segmenter: Segmenter,
    cases: Sequence[InputCase],
    out: Path,
    *,
    on_case: Callable[[CaseSummary], None] = lambda _: None,
) -> tuple[CaseSummary, ...]:
    """Segment many scans into ``out/<case>/`` with the model loaded once, and write ``summary.json``.

    A case that fails, for whatever reason, does not stop the others.

    Args:
        segmenter: see :func:`thoar.pipeline.request.load_segmenter`.
        cases: what to read.
        out: folder for the results.
        on_case: told what became of each case, as soon as that is known.

    Raises:
        UsageError: if results are there already and may not be replaced, or a format needs other inputs.
        PartialFailureError: when all is done, if a case failed.
    """
    check_cases(segmenter.request, cases)
    check_output(out, overwrite=True)
    for case in cases:
        check_output(out / case.id, overwrite=segmenter.request.overwrite)
    summaries: list[CaseSummary] = []
    for case in cases:
        summaries.append(_attempt(segmenter, case, out / case.id))
        on_case(summaries[-1])
    write_json(out / SUMMARY, summaries)
    failed = [summary.case_id for summary in summaries if summary.error is not None]
    if failed:
        raise PartialFailureError(
            f"{len(failed)} of {len(cases)} cases failed ({', '.join(failed[:5])}); {out / SUMMARY} says why"
        )
    return tuple(summaries)


def _attempt(segmenter: Segmenter, case: InputCase, out: Path) -> CaseSummary:
    try:
        record = segment_case(segmenter, case, out)
    except Exception as raised:  # noqa: BLE001 (one case's bug must not cost the others)
        error = foreseen(raised) or raised
        text, kind = str(error), type(error).__name__
        _log.error("%s: %s", case.id, text or kind, exc_info=not isinstance(error, ThoarError))
        return CaseSummary(case_id=case.id, error=text or kind, error_kind=kind)
    return CaseSummary(case_id=case.id, warnings=record.warnings)


@contextmanager
def _memory_errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to read it") from error
