"""Segment one case: read, predict, write, verify, record."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from thoar.core.errors import InputError
from thoar.inference.segmentation import Segmentation
from thoar.io.digest import digest_of
from thoar.pipeline.dicom_outputs import called, check_rtstruct_target
from thoar.pipeline.finished import Origin, kept_results, request_digest
from thoar.pipeline.folder import (
    RUN_RECORD,
    check_output,
    new_folder_in,
    publish,
    recover,
    refuse_inside_input,
    write_json,
)
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.outputs import write_outputs
from thoar.pipeline.reader_warnings import warnings_about
from thoar.pipeline.reading import ReadCase, read_case
from thoar.pipeline.record import (
    Provenance,
    RunRecord,
    findings_of,
    model_record,
    run_record,
    versions,
)
from thoar.pipeline.request import Request, Segmenter, check_cases, maker_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """What is done to every case of a run, and what their records say of it alike."""

    segmenter: Segmenter
    provenance: Provenance
    resume: bool = False

    @property
    def request(self) -> Request:
        """What is wanted."""
        return self.segmenter.request

    def origin(self, input_sha256: str) -> Origin:
        """Return what the results of an input are made of."""
        return Origin(
            input_sha256=input_sha256,
            model_sha256=self.provenance.model.manifest_sha256,
            request_sha256=self.provenance.request_sha256,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnCase:
    """A case that was read and predicted.

    Attributes:
        read: the scan.
        segmentation: what was found in it.
        said: warnings about what is to be written.
    """

    read: ReadCase
    segmentation: Segmentation
    said: Sequence[str]


def segment_case(
    segmenter: Segmenter,
    case: InputCase,
    out: Path,
    *,
    resume: bool = False,
    read: Callable[[], ReadCase] | None = None,
) -> RunRecord:
    """Segment one scan and write its results and ``run.json``, all of them or none.

    Args:
        segmenter: see :func:`thoar.pipeline.request.load_segmenter`.
        case: what to read.
        out: folder for the results; made if it does not exist.
        resume: finished results may be there and stay; see :func:`begin_case`.
        read: gives the case where its reading has begun already.

    Raises:
        UsageError: if results are there already and may not be replaced, or a format needs another input.
        InputError: or one of its kinds, naming the file, if the scan cannot be used, or the folder may not
            be written.
        ResourceError: if memory or disk does not suffice.
    """
    order = order_of(segmenter, resume=resume)
    check_cases(segmenter.request, [case])
    begun = begin_case(order, case, out, read=read)
    if isinstance(begun, RunRecord):
        _log.info("%s: was finished before", case.id)
        return begun
    return write_case(order, draw_case(order, begun), out)


def order_of(segmenter: Segmenter, *, resume: bool) -> Order:
    """Return the order to do what a segmenter's request says."""
    predictor, request = segmenter.predictor, segmenter.request
    drawn = predictor.drawn if request.organs is None else predictor.drawn.subset(request.organs)
    provenance = Provenance(
        versions=versions(),
        device=str(predictor.device),
        precision="float32" if predictor.precision is None else predictor.precision.name,
        threads=torch.get_num_threads(),
        model=model_record(segmenter.bundle),
        request_sha256=request_digest(request, drawn.names),
    )
    return Order(segmenter=segmenter, provenance=provenance, resume=resume)


def check_target(request: Request, case: InputCase, out: Path) -> None:
    """Refuse a folder for results that holds some, or touches an input.

    Raises:
        UsageError: if it does.
    """
    _refuse_inputs(request, case, out)
    check_output(out, overwrite=request.overwrite)


def begin_case(
    order: Order, case: InputCase, out: Path, *, read: Callable[[], ReadCase] | None = None
) -> ReadCase | RunRecord:
    """Read a case, or return the record of finished results that stay when a run is resumed.

    These are the results whose record names the same input, model, request and version of thoar, and whose
    files are as it says. Others are in the way as they are when no run is resumed.

    Raises:
        UsageError: if results are there and can neither stay nor be replaced, or an input is touched.
        InputError: or one of its kinds, as :func:`read_case` does.
    """
    _refuse_inputs(order.request, case, out)
    sha256 = None
    if order.resume:
        recover(out)
        if (out / RUN_RECORD).is_file():
            sha256 = digest_of(case.path)
            kept = kept_results(out, order.origin(sha256), overwrite=order.request.overwrite)
            if kept is not None:
                return kept
    check_output(out, overwrite=order.request.overwrite)
    return read_case(case, order.request.reading, sha256=sha256) if read is None else read()


def draw_case(order: Order, read: ReadCase) -> DrawnCase:
    """Predict what is wanted of a scan, after a look whether it can be written at all.

    Raises:
        InputError: or one of its kinds, naming the file, if the scan or the RTSTRUCT to append to cannot be
            used.
        ResourceError: if memory does not suffice.
    """
    request, predictor = order.request, order.segmenter.predictor
    writing, path = request.writing, read.case.path
    with warnings_about(_names(path, writing.append_to)) as said:
        if "rtstruct" in writing.formats:
            named = [called(organ, writing.names) for organ in predictor.drawn.organs]
            check_rtstruct_target(read.scan, named, append_to=writing.append_to)
        try:
            segmentation = predictor.predict(read.scan.volume, organs=request.organs)
        except InputError as error:
            raise type(error)(f"{path}: {error}") from error
    return DrawnCase(read=read, segmentation=segmentation, said=tuple(said))


def write_case(order: Order, drawn: DrawnCase, out: Path) -> RunRecord:
    """Write the results of a case and the record of them, all of them or none.

    Raises:
        InputError: if the folder cannot be written.
        ResourceError: if the disk is full, or what was written and read back differ.
    """
    read, segmentation = drawn.read, drawn.segmentation
    request, case = order.request, read.case
    maker = maker_of(request, order.provenance.model, input_sha256=read.sha256)
    findings = findings_of(segmentation)
    with new_folder_in(out) as folder:
        began = time.perf_counter()
        with warnings_about({folder: case.id, **_names(request.writing.append_to)}) as said:
            structures = write_outputs(
                folder, read.scan, segmentation, options=request.writing, maker=maker, title=case.id
            )
        record = run_record(
            read,
            segmentation,
            provenance=order.provenance,
            findings=findings,
            seconds={
                "read": read.seconds,
                **segmentation.seconds,
                "write": time.perf_counter() - began,
            },
            structures=structures,
            outputs={file.name: digest_of(file) for file in sorted(folder.iterdir())},
            said=(*read.said, *drawn.said, *said),
        )
        write_json(folder / RUN_RECORD, record)
        publish(folder, out)
    for line in findings.warnings:
        _log.warning("%s: %s", case.id, line)
    return record


def _refuse_inputs(request: Request, case: InputCase, out: Path) -> None:
    for read_from in (case.path, request.writing.append_to):
        if read_from is not None:
            refuse_inside_input(out, read_from)


def _names(*paths: Path | None) -> dict[Path, str]:
    return {path: path.name for path in paths if path is not None}
