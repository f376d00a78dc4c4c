"""One writer at a time in a folder, by a lock that the operating system lets go of when its holder dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from thoar.core.errors import UsageError


@contextmanager
def locked(file: Path, *, says: str) -> Iterator[None]:
    """Hold a lock file, which stays behind unlocked.

    Args:
        file: to lock; made where it is not there.
        says: what to say to a second one who wants it.

    Raises:
        UsageError: if somebody else holds it.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(says) from error
    try:
        yield
    finally:
        lock.release()
