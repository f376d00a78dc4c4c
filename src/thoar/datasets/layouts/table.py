"""Scans and labels that lie anywhere, listed in a table.

A CSV file with the columns ``id`` and ``image``, and if wanted ``label``, ``organs``, ``absent``, ``group``
and ``source``; several organs of one case with a ``;`` or ``|`` between them. Or a TOML file like
``dataset.toml``. Paths are relative to the table's folder, or absolute.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from thoar.core.errors import InputError
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase
from thoar.datasets.manifest import Entry, load_manifest

LAYOUT = "table"
COLUMNS = ("id", "image", "label", "organs", "absent", "group", "source")


def find(path: Path) -> Source:
    """Return the cases that a table lists.

    Raises:
        InputError: if it cannot be read, lacks or has an unknown column, or a line lacks its id or image.
        LabelError: if a TOML table's label set contradicts itself.
    """
    if path.suffix.lower() == ".toml":
        manifest = load_manifest(path)
        entries, label_set = manifest.cases, manifest.label_set
    else:
        entries, label_set = tuple(_entries(path)), None
    cases = tuple(_case(path.parent, entry) for entry in entries)
    return Source(layout=LAYOUT, place=path, cases=cases, label_set=label_set)


def _case(folder: Path, entry: Entry) -> SourceCase:
    return SourceCase(
        id=entry.id,
        image=folder / entry.image,
        labels=() if entry.label is None else (LabelFile(path=folder / entry.label),),
        organs=entry.organs,
        absent=entry.absent or (),
        group=entry.group or "",
        source=entry.source or "",
    )


def _entries(path: Path) -> Iterable[Entry]:
    for number, row in enumerate(_rows(path), 2):
        values = {name: (row.get(name) or "").strip() for name in COLUMNS}
        if not values["id"] or not values["image"]:
            raise InputError(f"{path}: line {number} lacks its id or its image")
        yield Entry(
            id=values["id"],
            image=values["image"],
            label=values["label"] or None,
            organs=_list(values["organs"]),
            absent=_list(values["absent"]),
            group=values["group"] or None,
            source=values["source"] or None,
        )


def _rows(path: Path) -> Sequence[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            head = lines.readline()
            lines.seek(0)
            delimiter = max(",;\t", key=head.count)
            rows = csv.DictReader(lines, delimiter=delimiter)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            found = list(rows)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a CSV or TOML file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no CSV file ({error}); save it as CSV in UTF-8, or as TOML") from error
    strange = [name for name in names if name not in COLUMNS]
    if (
        strange
        or len(set(names)) < len(names)
        or not {"id", "image"} <= set(names)
        or any(None in row for row in found)
    ):
        raise InputError(
            f"{path}: its columns are {', '.join(names) or 'none'}; it needs id and image once each, and may "
            f"have {', '.join(COLUMNS[2:])}; several organs of a case go with ; or | between them"
        )
    return found


def _list(text: str) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in re.split(r"[;|,]", text) if part.strip()) or None
