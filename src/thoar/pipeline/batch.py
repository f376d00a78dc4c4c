"""Segment many cases: one is read and one is written while the network works on a third."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from thoar.core.errors import DISK_FULL, PartialFailureError, ThoarError, foreseen
from thoar.pipeline.case import DrawnCase, Order, begin_case, draw_case, order_of, write_case
from thoar.pipeline.folder import check_output, only_run_in, write_json
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.overlap import in_three_stages
from thoar.pipeline.reader_warnings import with_names
from thoar.pipeline.reading import ReadCase
from thoar.pipeline.request import Segmenter, check_cases

_log = logging.getLogger(__name__)

SUMMARY = "summary.json"
Outcome = Literal["done", "skipped", "failed", "to do"]


class CaseSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of ``summary.json``: what became of a case.

    Attributes:
        case_id: the case's.
        outcome: ``skipped`` where finished results were there already.
        seconds: spent on the case itself, waiting aside.
        error: in whose words it failed; files are named from INPUT, or from OUT.
        error_kind: class of the error.
        warnings: those of its run record.
    """

    case_id: str
    outcome: Outcome
    seconds: float = 0.0
    error: str | None = None
    error_kind: str | None = None
    warnings: tuple[str, ...] = ()


def segment_cases(
    segmenter: Segmenter,
    cases: Sequence[InputCase],
    out: Path,
    *,
    resume: bool = False,
    ahead: Literal[0, 1] = 1,
    on_case: Callable[[CaseSummary], None] = lambda _: None,
) -> tuple[CaseSummary, ...]:
    """Segment many scans into ``out/<case>/`` with the model loaded once, and keep ``out/summary.json``.

    A case that fails, for whatever reason, does not stop the others; a full disk does. Whatever stops it,
    the cases that are done are whole, and ``summary.json`` says which these are.

    Args:
        segmenter: see :func:`thoar.pipeline.request.load_segmenter`.
        cases: what to read.
        out: folder for the results.
        resume: finished results may be there and stay; see :func:`thoar.pipeline.case.begin_case`.
        ahead: cases that are read ahead of the one that is drawn, and written behind it; with 0, one scan
            is in memory at a time, else three.
        on_case: told what became of each case, as soon as that is known and in the order of cases; by
            another thread, unless ``ahead`` is 0.

    Raises:
        UsageError: if results are there already and may not be replaced, a format needs other inputs, or
            another run is at work in the folder.
        ResourceError: if the disk is full.
        PartialFailureError: when all is done, if a case failed.
    """
    check_cases(segmenter.request, cases)
    check_output(out, overwrite=True)
    if not resume:
        for case in cases:
            check_output(out / case.id, overwrite=segmenter.request.overwrite)
    with only_run_in(out):
        batch = _Batch(order_of(segmenter, resume=resume), cases, out, on_case)
        try:
            in_three_stages(cases, batch.begin, batch.draw, batch.end, ahead=ahead)
        except BaseException:
            _log.warning("%s; the same command with --resume does the rest", summed_up(batch.lines, out))
            raise
    if any(line.outcome == "failed" for line in batch.lines):
        raise PartialFailureError(summed_up(batch.lines, out))
    return batch.lines


def summed_up(summaries: Sequence[CaseSummary], out: Path) -> str:
    """Return in one line what became of the cases."""
    count = Counter(summary.outcome for summary in summaries)
    told = ", ".join(f"{count[outcome]} {outcome}" for outcome in get_args(Outcome) if count[outcome])
    return f"{len(summaries)} case{'s' * (len(summaries) != 1)}: {told} (see {out / SUMMARY})"


class _Batch:
    """The stages of every case, and the summary as it grows."""

    def __init__(
        self, order: Order, cases: Sequence[InputCase], out: Path, on_case: Callable[[CaseSummary], None]
    ) -> None:
        self._order, self._out, self._on_case = order, out, on_case
        self._lines = {case.id: CaseSummary(case_id=case.id, outcome="to do") for case in cases}

    @property
    def lines(self) -> tuple[CaseSummary, ...]:
        """What became of each case so far."""
        return tuple(self._lines.values())

    def begin(self, case: InputCase) -> ReadCase | CaseSummary:
        """Read a case, unless it is finished."""
        began = time.perf_counter()
        try:
            begun = begin_case(self._order, case, self._out / case.id)
        except Exception as error:  # noqa: BLE001 (one case's bug must not cost the others)
            return self._failed(case, error, seconds=time.perf_counter() - began)
        if isinstance(begun, ReadCase):
            return begun
        return CaseSummary(
            case_id=case.id,
            outcome="skipped",
            seconds=round(time.perf_counter() - began, 3),
            warnings=begun.warnings,
        )

    def draw(self, begun: ReadCase | CaseSummary) -> DrawnCase | CaseSummary:
        """Predict what is wanted, unless it is settled what became of the case."""
        if isinstance(begun, CaseSummary):
            return begun
        began = time.perf_counter()
        try:
            return draw_case(self._order, begun)
        except Exception as error:  # noqa: BLE001 (likewise)
            return self._failed(begun.case, error, seconds=begun.seconds + time.perf_counter() - began)

    def end(self, drawn: DrawnCase | CaseSummary) -> None:
        """Write a case's results, and what became of it."""
        if isinstance(drawn, CaseSummary):
            self._note(drawn)
            return
        case, spent_s = drawn.read.case, drawn.read.seconds + sum(drawn.segmentation.seconds.values())
        began = time.perf_counter()
        try:
            record = write_case(self._order, drawn, self._out / case.id)
        except Exception as error:
            self._note(self._failed(case, error, seconds=spent_s + time.perf_counter() - began))
            if _is_full_disk(error):
                raise
            return
        self._note(
            CaseSummary(
                case_id=case.id,
                outcome="done",
                seconds=round(sum(record.seconds.values()), 3),
                warnings=record.warnings,
            )
        )

    def _failed(self, case: InputCase, raised: Exception, *, seconds: float) -> CaseSummary:
        error = foreseen(raised) or raised
        text, kind = str(error), type(error).__name__
        _log.error(
            "%s: %s", case.id, text or kind, exc_info=None if isinstance(error, ThoarError) else raised
        )
        return CaseSummary(
            case_id=case.id,
            outcome="failed",
            seconds=round(seconds, 3),
            error=with_names(text or kind, {case.root or case.path.parent: "", self._out: ""}),
            error_kind=kind,
        )

    def _note(self, line: CaseSummary) -> None:
        self._lines[line.case_id] = line
        write_json(self._out / SUMMARY, self.lines)
        self._on_case(line)


def _is_full_disk(error: BaseException | None) -> bool:
    """Say whether an error goes back to a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        error = error.__cause__
    return False
