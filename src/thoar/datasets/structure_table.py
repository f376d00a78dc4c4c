"""The table of a label map: each structure's name and id, as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from thoar.core.errors import InputError
from thoar.io.atomic import atomic_bytes

HIGHEST_ID = 65535
"""Of a label map's structures."""


def read_structure_table(path: Path) -> Mapping[str, int]:
    """Read a CSV table of structures: each name's id in a label map.

    Raises:
        InputError: if it is absent, empty, lacks a column, or an id is no whole number from 0 to 65535.
    """
    if not path.is_file():
        raise InputError(f"{path} is absent; name a CSV file with the columns structure and id")
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(lines)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: needs the columns structure and id (a whole number): {error}") from error
    if not ids:
        raise InputError(f"{path}: names no structure; it needs a line for each, with structure and id")
    strange = sorted({number for number in ids.values() if not 0 <= number <= HIGHEST_ID})
    if strange:
        raise InputError(f"{path}: has the ids {strange}; a label map's lie in 0..{HIGHEST_ID}")
    return ids


def write_structure_table(path: Path, ids: Iterable[tuple[str, int]]) -> None:
    """Write such a table."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([("structure", "id"), *ids])
    atomic_bytes(path, lines.getvalue().encode())
