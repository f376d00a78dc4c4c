"""Segment one case, or many: read, predict, write, verify, record."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from thoar.core.errors import (
    InputError,
    PartialFailureError,
    ResourceError,
    ThoarError,
    UsageError,
    foreseen,
)
from thoar.core.volume import Volume
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.predictor import Predictor, choose_device
from thoar.inference.segmentation import Segmentation
from thoar.inference.shipped import DEFAULT_MODEL, find_model
from thoar.io.atomic import atomic_bytes
from thoar.io.digest import digest_of
from thoar.io.formats import read_volume
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.outputs import DEFAULT_FORMATS, check_formats, is_result, write_outputs
from thoar.pipeline.reader_warnings import warnings_about
from thoar.pipeline.record import RunRecord, input_record, model_record, run_record, warnings_of

_log = logging.getLogger(__name__)
RUN_RECORD = "run.json"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted for every case.

    Attributes:
        model: a shipped name, a bundle or a run.
        organs: names; None for all.
        formats: see :data:`thoar.pipeline.outputs.FORMATS`.
        device: see :func:`thoar.inference.predictor.choose_device`.
        coarse: write the coarse masks too.
        probabilities: write every organ's probability too.
        overwrite: results in the output folder may be replaced.
    """

    model: str | Path = DEFAULT_MODEL
    organs: tuple[str, ...] | None = None
    formats: tuple[str, ...] = DEFAULT_FORMATS
    device: str = "auto"
    coarse: bool = False
    probabilities: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmenter:
    """A loaded model and what is wanted of it; made by :func:`load_segmenter`."""

    bundle: Bundle
    predictor: Predictor
    request: Request


class CaseSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of ``summary.json``: what became of a case, with an error or with its warnings."""

    case_id: str
    error: str | None = None
    error_kind: str | None = None
    warnings: tuple[str, ...] = ()


def load_segmenter(request: Request) -> Segmenter:
    """Load the model and check what can be checked before any scan is read.

    Raises:
        ModelError: if the model is missing or damaged.
        LabelError: if it does not know an organ.
        UsageError: for an unknown format or device.
    """
    check_formats(request.formats)
    folder = find_model(request.model, accelerated=choose_device(request.device).type != "cpu")
    bundle = read_bundle(folder, organs=request.organs)
    return Segmenter(
        bundle=bundle, predictor=Predictor.from_bundle(bundle, device=request.device), request=request
    )


def segment_case(segmenter: Segmenter, case: InputCase, out: Path) -> RunRecord:
    """Segment one scan and write its results and ``run.json``, all of them or none.

    Args:
        segmenter: see :func:`load_segmenter`.
        case: what to read.
        out: folder for the results; made if it does not exist.

    Raises:
        UsageError: if results are there already and may not be replaced.
        InputError: or one of its kinds, naming the file, if the scan cannot be used, or the folder may not
            be written.
        ResourceError: if memory or disk does not suffice.
    """
    check_output(out, overwrite=segmenter.request.overwrite)
    _refuse_inside_input(out, case.path)
    with warnings_about(case.path) as said:
        volume, segmentation, read_s = _read_and_predict(segmenter, case)
    input_read = input_record(case.path, segmentation)
    with _write_errors_explained(out), _new_folder_in(out) as folder:
        began = time.perf_counter()
        write_outputs(
            folder,
            volume,
            segmentation,
            formats=segmenter.request.formats,
            coarse=segmenter.request.coarse,
            probabilities=segmenter.request.probabilities,
            title=case.id,
        )
        seconds = {"read": read_s, **segmentation.seconds, "write": time.perf_counter() - began}
        record = run_record(
            case.id,
            segmentation,
            input_read=input_read,
            model=model_record(segmenter.bundle),
            device=segmenter.predictor.device,
            seconds=seconds,
            outputs={file.name: digest_of(file) for file in sorted(folder.iterdir())},
            warnings=(*said, *warnings_of(segmentation)),
        )
        _write_json(folder / RUN_RECORD, record)
        _publish(folder, out)
    for line in warnings_of(segmentation):
        _log.warning("%s: %s", case.id, line)
    return record


def _read_and_predict(segmenter: Segmenter, case: InputCase) -> tuple[Volume, Segmentation, float]:
    """Return the scan, its segmentation, and the seconds that reading took."""
    began = time.perf_counter()
    with _memory_errors_explained(case.path):
        volume = read_volume(case.path)
    read_s = time.perf_counter() - began
    try:
        return volume, segmenter.predictor.predict(volume, organs=segmenter.request.organs), read_s
    except InputError as error:
        raise type(error)(f"{case.path}: {error}") from error


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
        segmenter: see :func:`load_segmenter`.
        cases: what to read.
        out: folder for the results.
        on_case: told what became of each case, as soon as that is known.

    Raises:
        UsageError: if results are there already and may not be replaced.
        PartialFailureError: when all is done, if a case failed.
    """
    for case in cases:
        check_output(out / case.id, overwrite=segmenter.request.overwrite)
    summaries: list[CaseSummary] = []
    for case in cases:
        summaries.append(_attempt(segmenter, case, out / case.id))
        on_case(summaries[-1])
    _write_json(out / SUMMARY, summaries)
    failed = [summary.case_id for summary in summaries if summary.error is not None]
    if failed:
        raise PartialFailureError(
            f"{len(failed)} of {len(cases)} cases failed ({', '.join(failed[:5])}); {out / SUMMARY} says why"
        )
    return tuple(summaries)


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds results already, unless they may be replaced.

    Raises:
        UsageError: if it does, or if the path is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; give a folder for the results")
    held = sorted(file.name for file in out.iterdir() if _is_ours(file)) if out.is_dir() else []
    if held and not overwrite:
        raise UsageError(
            f"{out}: holds results already ({', '.join(held[:5])}); choose another folder, or replace them "
            "with --overwrite"
        )


def _attempt(segmenter: Segmenter, case: InputCase, out: Path) -> CaseSummary:
    try:
        record = segment_case(segmenter, case, out)
    except Exception as raised:  # noqa: BLE001 (one case's bug must not cost the others)
        error = foreseen(raised) or raised
        text, kind = str(error), type(error).__name__
        _log.error("%s: %s", case.id, text or kind, exc_info=not isinstance(error, ThoarError))
        return CaseSummary(case_id=case.id, error=text or kind, error_kind=kind)
    return CaseSummary(case_id=case.id, warnings=record.warnings)


def _is_ours(file: Path) -> bool:
    return file.name == RUN_RECORD or is_result(file.name)


def _refuse_inside_input(out: Path, read_from: Path) -> None:
    """Refuse to write where the input lies: inputs are never touched, nor do results count as input."""
    ours = out.resolve()
    if read_from.is_dir() and ours.is_relative_to(read_from.resolve()):
        raise UsageError(f"{out}: lies in the input {read_from}, which is never touched; choose another -o")
    if read_from.resolve().parent == ours and _is_ours(read_from.resolve()):
        raise UsageError(
            f"{read_from}: is the input, and results would replace it; inputs are never touched: "
            "choose another -o"
        )


@contextmanager
def _new_folder_in(out: Path) -> Iterator[Path]:
    """Give a folder beside the results, and take it away again."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".thoar-") as name:
        yield Path(name)


@contextmanager
def _memory_errors_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to read it") from error


@contextmanager
def _write_errors_explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise foreseen(error, out) or InputError(
            f"{out}: results cannot be written ({error.strerror or error}); check the path"
        ) from error


def _publish(folder: Path, out: Path) -> None:
    """Move finished files into place, the run record last; an older one goes first, with what it lists."""
    for name in [RUN_RECORD, *_listed(out / RUN_RECORD)]:
        (out / name).unlink(missing_ok=True)
    for file in sorted(folder.iterdir(), key=lambda file: (file.name == RUN_RECORD, file.name)):
        file.replace(out / file.name)


class _Outputs(msgspec.Struct, frozen=True):
    outputs: dict[str, str]


def _listed(record: Path) -> list[str]:
    """Return the names of the results that an older run record lists; none where it cannot be read."""
    try:
        outputs = msgspec.json.decode(record.read_bytes(), type=_Outputs).outputs
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [name for name in outputs if is_result(name)]


def _write_json(path: Path, content: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_bytes(path, text)
