"""What is said about an input while it is read, for the run record."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def warnings_about(path: Path) -> Iterator[list[str]]:
    """Collect thoar's warnings, so that dubious input is said in the run record too.

    Those of other threads, which read other scans, are left out. A run record may be handed on, so the
    input's path gives way to its name.

    Args:
        path: of the input.
    """
    collector, ours = _Collector(path), logging.getLogger("thoar")
    ours.addHandler(collector)
    try:
        yield collector.lines
    finally:
        ours.removeHandler(collector)


class _Collector(logging.Handler):
    """Keeps what the thread that made it logs as a warning."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.WARNING)
        self.path, self.thread = path, threading.get_ident()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        if threading.get_ident() != self.thread:
            return
        line = record.getMessage()
        self.lines.append(line.replace(str(self.path), self.path.name) if self.path.name else line)
