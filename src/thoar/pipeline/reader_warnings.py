"""What is said about an input while it is read, or outputs while they are written, for the run record."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@contextmanager
def warnings_about(called: Mapping[Path, str]) -> Iterator[list[str]]:
    """Collect thoar's warnings, so that what is dubious is said in the run record too.

    One scan may be read while another is written: a warning counts where it is said in this context, that is
    by this thread, or by one that runs in a copy of its context (``contextvars``). A run record may be
    handed on, so paths give way to names.

    Args:
        called: what stands in the place of a path that is read from or written to.
    """
    collected = _Collected(called=called)
    _LISTENER.attach()
    before = _COLLECTED.set(collected)
    try:
        yield collected.lines
    finally:
        _COLLECTED.reset(before)
        _LISTENER.detach()


def with_names(text: str, called: Mapping[Path, str]) -> str:
    """Return a message with names in the place of paths; a folder without a name leaves what lies in it.

    >>> with_names("/in/a/scan.nii: cut short", {Path("/in"): ""})
    'a/scan.nii: cut short'
    """
    for path, name in sorted(called.items(), key=lambda item: -len(str(item[0]))):
        if name:
            text = text.replace(str(path), name)
        elif path != Path():
            text = re.sub(rf"(?<![\w./\\]){re.escape(str(path))}[/\\]", "", text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Collected:
    called: Mapping[Path, str]
    lines: list[str] = field(default_factory=list)


_COLLECTED: ContextVar[_Collected | None] = ContextVar("collected", default=None)


class _Listener(logging.Handler):
    """Gives a warning to whom the context that it is said in belongs.

    One for all, attached while anybody listens: a handler taken away while another thread goes through the
    list of them makes that one pass over the next.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._count, self._one_at_a_time = 0, threading.Lock()

    def attach(self) -> None:
        """Listen until as many have detached as attached."""
        with self._one_at_a_time:
            self._count += 1
            logging.getLogger("thoar").addHandler(self)

    def detach(self) -> None:
        """See :meth:`attach`."""
        with self._one_at_a_time:
            self._count -= 1
            if not self._count:
                logging.getLogger("thoar").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        collected = _COLLECTED.get()
        if collected is not None:
            collected.lines.append(with_names(record.getMessage(), collected.called))


_LISTENER = _Listener()
