"""The one series that is meant, and the one volume in it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword

from thoar.core.errors import InputError
from thoar.io.dicom.attributes import Slice, text
from thoar.io.dicom.kinds import first_of, image_type, value_of
from thoar.io.dicom.planes import plane_of
from thoar.io.dicom.values import chosen, listed, same_value, shown

_log = logging.getLogger(__name__)

_COLUMNS = (
    "SeriesInstanceUID",
    "modality",
    "images",
    "columns × rows",
    "spacing in mm",
    "number",
    "ImageType",
)


def one_series(slices: Sequence[Slice], path: Path, *, wanted: str | None) -> list[Slice]:
    """Return the images of the one series there is, or of the one wanted.

    Series without any position (screen captures, dose reports) are left out beside others, with a warning.

    Args:
        slices: all images.
        path: where they are from, for messages.
        wanted: a SeriesInstanceUID, or its unambiguous beginning or end.

    Raises:
        InputError: if there is none, if there are several and none is picked, or if images lack the UID that
            others have.
    """
    if not slices:
        raise InputError(f"{path}: holds no DICOM images of a scan; give the folder of a CT series")
    groups = _by_series(slices)
    if wanted is not None:
        return _picked(groups, path, wanted=wanted)
    groups = _with_a_place(groups)
    if len(groups) > 1:
        raise InputError(
            f"{path}: holds {len(groups)} series; pick one with --series UID, its beginning or end suffices, "
            f"or leave one in it\n{_table(groups)}"
        )
    return next(iter(groups.values()))


def selected(slices: Sequence[Slice], path: Path, *, select: tuple[str, str] | None) -> list[Slice]:
    """Return the images whose attribute has the value selected; all where nothing is.

    Raises:
        InputError: if there is no such attribute, or no image with such a value.
    """
    if select is None:
        return list(slices)
    keyword, wanted = select
    if tag_for_keyword(keyword) is None:
        raise InputError(
            f"{path}: {keyword} (--select) is no DICOM keyword; write it as the standard does, such as "
            "AcquisitionNumber"
        )
    kept = [item for item in slices if same_value(value_of(item, keyword), wanted)]
    if not kept:
        found = listed(keyword, (value_of(item, keyword) for item in slices))
        raise InputError(f"{path}: no image has {chosen(keyword, wanted)} (--select); found: {found}")
    if len(kept) < len(slices):
        left_out = len(slices) - len(kept)
        _log.warning("%s: %d images without %s, left out", path, left_out, chosen(keyword, wanted))
    return kept


def _by_series(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    groups: dict[str, list[Slice]] = {}
    for item in slices:
        groups.setdefault(text(item, "SeriesInstanceUID"), []).append(item)
    if "" in groups and len(groups) > 1:  # where all lack it, it was removed on purpose
        path = groups[""][0].path
        raise InputError(
            f"{path}: has no SeriesInstanceUID, as others have; it is damaged or cut short: fetch it again"
        )
    return groups


def _picked(groups: Mapping[str, list[Slice]], path: Path, *, wanted: str) -> list[Slice]:
    if wanted in groups:
        return groups[wanted]
    meant = [uid for uid in groups if wanted and (uid.startswith(wanted) or uid.endswith(wanted))]
    if len(meant) != 1:
        count = "no series" if not meant else f"{len(meant)} series"
        raise InputError(f"{path}: {count} with a UID like {shown(wanted)} (--series)\n{_table(groups)}")
    return groups[meant[0]]


def _with_a_place(groups: Mapping[str, list[Slice]]) -> Mapping[str, list[Slice]]:
    placed = {uid: items for uid, items in groups.items() if any(map(_has_a_place, items))}
    if not placed:
        return groups
    for uid in groups.keys() - placed.keys():
        _log.warning(
            "%s: no ImagePositionPatient, a screen capture or report, left out", first_of(groups[uid])
        )
    return placed


def _has_a_place(item: Slice) -> bool:
    return bool(text(item, "ImagePositionPatient"))


def _table(groups: Mapping[str, list[Slice]]) -> str:
    rows = [_COLUMNS, *(_row(uid, items) for uid, items in sorted(groups.items(), key=_by_number))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _by_number(group: tuple[str, list[Slice]]) -> tuple[int, str]:
    number = text(group[1][0], "SeriesNumber")
    return (int(number) if number.isdecimal() else 0, group[0])


def _row(uid: str, items: Sequence[Slice]) -> tuple[str, ...]:
    first = items[0]
    size = f"{text(first, 'Columns')} × {text(first, 'Rows')}"
    return (
        shown(uid, "SeriesInstanceUID"),
        shown(text(first, "Modality")),
        str(len(items)),
        shown(size),
        _spacing(items),
        shown(text(first, "SeriesNumber"), "SeriesNumber"),
        shown(image_type(first)),
    )


def _spacing(items: Sequence[Slice]) -> str:
    """Return distances between columns, rows and slices as far as they can be told."""
    try:
        planes = [plane_of(item) for item in items]
    except InputError:
        return "?"
    rows_mm, columns_mm = planes[0].spacing_yx_mm
    depths = np.sort([float(plane.origin_xyz_mm @ planes[0].normal_xyz) for plane in planes])
    step = f"{np.median(np.diff(depths)):.4g}" if len(planes) > 1 else "?"
    return f"{columns_mm:.4g} × {rows_mm:.4g} × {step}"
