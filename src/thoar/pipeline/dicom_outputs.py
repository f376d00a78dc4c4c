"""A case's organs as RTSTRUCT and DICOM-SEG, each by its own mask."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from thoar.core.errors import UsageError
from thoar.core.labels import Organ
from thoar.datasets.scans import Scan, organ_on_series
from thoar.inference.segmentation import Segmentation
from thoar.io.dicom.records import Series
from thoar.io.structures.organ_mask import Maker, OrganMask

_log = logging.getLogger(__name__)

Holes = Literal["keyhole", "xor"]


class StructuresRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one RTSTRUCT or DICOM-SEG holds. There is none where every organ is empty.

    Attributes:
        empty: organs that it has no contour or frame of.
        pieces: number of contours or frames of each other organ.
        self_check: it was read back by other code and compared with the organs' own masks; a file that
            fails this is not written.
    """

    empty: tuple[str, ...]
    pieces: dict[str, int]
    self_check: Literal["passed"] = "passed"


def organ_masks(scan: Scan, segmentation: Segmentation, *, names: Mapping[str, str]) -> list[OrganMask]:
    """Return every organ's own mask on the scan's series, called as ``names`` says."""
    return [
        organ_on_series(
            scan, called(result.organ, names), box_zyx=result.box_zyx, probability=result.probability
        )
        for result in segmentation.organs
    ]


def called(organ: Organ, names: Mapping[str, str]) -> Organ:
    """Return the organ with the name that RTSTRUCT and DICOM-SEG shall show."""
    return msgspec.structs.replace(organ, tg263=names.get(organ.name, organ.tg263))


def series_of(scan: Scan) -> Series:
    """Return a scan's series.

    Raises:
        UsageError: if it was no DICOM.
    """
    if scan.series is None:
        raise UsageError("RTSTRUCT and DICOM-SEG need a DICOM series as INPUT")
    return scan.series


def check_rtstruct_target(scan: Scan, organs: Sequence[Organ], *, append_to: Path | None) -> None:
    """Refuse an RTSTRUCT that could not be written whatever is found, before anything is drawn.

    Raises:
        InputError: if the series lacks a UID to refer to, or ``append_to`` is not of this series.
        LabelError: if names are no ROI names, or taken.
    """
    from thoar.io.structures import rtstruct_writer  # noqa: PLC0415 (needed for this format alone)

    rtstruct_writer.check_target(series_of(scan), organs, append_to=append_to)


def write_rtstruct(
    path: Path,
    series: Series,
    organs: Sequence[OrganMask],
    *,
    maker: Maker,
    append_to: Path | None,
    holes: Holes,
) -> StructuresRecord:
    """Write an RTSTRUCT that passes its self-check, and say what is in it."""
    if not _found_any(path, organs):
        return _of_nothing(organs)
    from thoar.io.structures import rtstruct_writer  # noqa: PLC0415 (needed for this format alone)

    report = rtstruct_writer.write_rtstruct(
        path, series, organs, maker=maker, append_to=append_to, holes=holes
    )
    return StructuresRecord(empty=report.empty, pieces=dict(report.contours))


def write_segmentation(
    path: Path, series: Series, organs: Sequence[OrganMask], *, maker: Maker, fractional: bool
) -> StructuresRecord:
    """Write a DICOM-SEG that passes its self-check, and say what is in it."""
    if not _found_any(path, organs):
        return _of_nothing(organs)
    from thoar.io.structures import seg_writer  # noqa: PLC0415 (highdicom is needed for this format alone)

    report = seg_writer.write_segmentation(path, series, organs, maker=maker, fractional=fractional)
    return StructuresRecord(empty=report.empty, pieces=dict(report.frames))


def _found_any(path: Path, organs: Sequence[OrganMask]) -> bool:
    found = any(organ.mask.any() for organ in organs)
    if not found:
        _log.warning("%s: not written, since no organ has a voxel", path)
    return found


def _of_nothing(organs: Sequence[OrganMask]) -> StructuresRecord:
    return StructuresRecord(empty=tuple(organ.organ.name for organ in organs), pieces={})
