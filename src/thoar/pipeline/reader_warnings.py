"""What is said about an input while it is read, or outputs while they are written, for the run record."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def warnings_about(called: Mapping[Path, str]) -> Iterator[list[str]]:
    """Collect thoar's warnings, so that what is dubious is said in the run record too.

    Those of other threads, which work on other scans, are left out. A run record may be handed on, so paths
    give way to names.

    Args:
        called: what stands in the place of a path that is read from or written to.
    """
    collector, ours = _Collector(called), logging.getLogger("thoar")
    ours.addHandler(collector)
    try:
        yield collector.lines
    finally:
        ours.removeHandler(collector)


class _Collector(logging.Handler):
    """Keeps what the thread that made it logs as a warning."""

    def __init__(self, called: Mapping[Path, str]) -> None:
        super().__init__(logging.WARNING)
        self.called, self.thread = called, threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        if threading.get_ident() != self.thread:
            return
        line = record.getMessage()
        for path, name in self.called.items():
            line = line.replace(str(path), name) if path.name else line
        self.lines.append(line)
