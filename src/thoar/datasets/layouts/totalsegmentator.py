"""TotalSegmentator's public data set: a folder per scan, in it one mask file per structure.

``s0011/ct.nii.gz``, ``s0011/segmentations/aorta.nii.gz`` and a hundred more, ``meta.csv`` for all (versions 1
and 2; doi 10.5281/zenodo.6802613). Every structure is labelled in every scan: an empty mask is an organ that
is not in view. Version 1 has no whole heart but five parts of it.
"""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

from thoar.core.errors import InputError
from thoar.core.labels import SEGTHOR
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase
from thoar.io.formats import volume_stem

LAYOUT = "totalsegmentator"
SCAN, MASKS, TABLE = "ct.nii.gz", "segmentations", "meta.csv"
SOURCE = "TotalSegmentator data set"

_log = logging.getLogger(__name__)


def find(folder: Path) -> Source:
    """Return the scans of a folder with their masks.

    Raises:
        InputError: if there is no such scan, or the table is broken.
    """
    places = sorted(p for p in folder.iterdir() if _is_scan(p)) if folder.is_dir() else []
    if not places:
        raise InputError(f"{folder}: holds no scan; name the folder of s0000/{SCAN}, s0001/{SCAN} and so on")
    institutes = _institutes(folder / TABLE)
    missing = institutes.keys() - {place.name for place in places}
    if missing:
        _log.warning("%s lists %d scans that are not here", TABLE, len(missing))
    return Source(
        layout=LAYOUT,
        place=folder,
        cases=tuple(_case(place, institutes.get(place.name, "")) for place in places),
        usual=SEGTHOR.names,
        empty="absent",
        any_region=True,
    )


def _is_scan(place: Path) -> bool:
    """Say whether a folder is a scan's, be it one whose image is missing; that is refused by name later."""
    return (place / SCAN).is_file() or (place / MASKS).is_dir()


def _case(place: Path, institute: str) -> SourceCase:
    masks = sorted((place / MASKS).glob("*.nii.gz"))
    return SourceCase(
        id=place.name,
        image=place / SCAN,
        labels=tuple(
            LabelFile(path=mask, names={1: volume_stem(mask)}) for mask in masks if mask.name[0] != "."
        ),
        source=f"{SOURCE}, institute {institute}" if institute else SOURCE,
    )


def _institutes(path: Path) -> Mapping[str, str]:
    """Return the institute of each scan that the table lists; nothing where there is no table."""
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            delimiter = ";" if ";" in lines.readline() else ","
            lines.seek(0)
            rows = list(csv.DictReader(lines, delimiter=delimiter))
        return {row["image_id"]: row.get("institute") or "" for row in rows}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: needs a column image_id ({error!r}); fetch it again, or take it away"
        ) from error
