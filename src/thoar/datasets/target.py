"""The folder that a new data set is to be made in: nothing of somebody else's is ever replaced."""

import re
from pathlib import Path

from thoar.core.errors import UsageError


def check_target(out: Path, ours: re.Pattern[str], *, overwrite: bool) -> None:
    """Refuse a folder that holds anything, or, where it may be replaced, anything that is not ours.

    Args:
        out: the folder, which need not exist.
        ours: matches the whole name of whatever may be replaced.
        overwrite: that may be replaced.

    Raises:
        UsageError: if the folder may not be made or replaced.
    """
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place}: is a file; name a folder to make")
    present = sorted(place.name for place in out.iterdir()) if out.exists() else []
    strangers = [name for name in present if not ours.fullmatch(name)]
    if strangers:
        raise UsageError(f"{out}: holds other files ({strangers[0]} …); name a new or empty folder")
    if present and not overwrite:
        raise UsageError(f"{out}: is not empty; name another folder, or replace it with --overwrite")
