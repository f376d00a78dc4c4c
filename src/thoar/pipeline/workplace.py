"""Hidden folders to make results in, told apart by a lock: in use, or left behind by a kill."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thoar.core.errors import UsageError
from thoar.io.lock import locked

_PREFIX = ".thoar-"
_LOCK = "lock"


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """Make a folder to work in, and take it away again.

    Args:
        folder: where; what is made in the workplace can be moved there by renaming it.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as name:
        place = Path(name)
        with locked(place / _LOCK, says=f"{folder}: another process took what this one had begun there"):
            yield place


def workplaces(folder: Path) -> list[Path]:
    """Return the workplaces in a folder, whether they are in use or not."""
    return [place for place in sorted(folder.glob(f"{_PREFIX}*")) if place.is_dir()]


def is_abandoned(place: Path) -> bool:
    """Say whether the process that a workplace was made by is gone."""
    try:
        with locked(place / _LOCK, says="in use"):
            return True
    except (UsageError, FileNotFoundError):  # in use, or gone meanwhile
        return False


def clear_abandoned(folder: Path) -> None:
    """Remove the workplaces that killed processes left in a folder."""
    for place in workplaces(folder):
        if is_abandoned(place):
            shutil.rmtree(place, ignore_errors=True)


def clear_files(folder: Path) -> None:
    """Remove the files that killed writers left in a folder that nobody else writes into now."""
    for remains in folder.glob(f"{_PREFIX}*"):
        if remains.is_file():
            remains.unlink()
