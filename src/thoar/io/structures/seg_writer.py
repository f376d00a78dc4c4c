"""Organs on a series as a DICOM-SEG (PS3.3 A.51)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thoar.io.atomic import atomic_file
from thoar.io.dicom.records import Series
from thoar.io.structures.codes import ANATOMICAL_STRUCTURE, structure_code
from thoar.io.structures.derived import lenient
from thoar.io.structures.organ_mask import Maker, OrganMask, check_inside
from thoar.io.structures.organ_names import written_names
from thoar.io.structures.seg_check import check_segmentation
from thoar.io.structures.seg_frames import append_pixels, frame_pixels, touched_slices
from thoar.io.structures.seg_header import segmentation_header

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationReport:
    """What went into a DICOM-SEG.

    Attributes:
        empty: names of organs whose mask is empty; they have no segment.
        frames: how many frames each other organ has, by name.
    """

    empty: tuple[str, ...]
    frames: dict[str, int]


def write_segmentation(
    path: Path,
    series: Series,
    organs: Sequence[OrganMask],
    *,
    maker: Maker,
    fractional: bool = False,
) -> SegmentationReport:
    """Write organs as segments whose frames lie on the series' own slices, tilted or uneven as they may be.

    Each organ keeps its own mask; organs may overlap. Only slices that an organ touches have a frame, and
    frames are made and written one at a time. The file is read back by code that shares nothing with this,
    and gets its name only if every organ is found as it was meant, where it was meant.

    Args:
        path: the file to make or replace.
        series: what the organs were drawn on.
        organs: at most one per name; one with an empty mask is left out.
        maker: who drew them.
        fractional: store the probabilities, in steps of 1/255, as a FRACTIONAL object; else the masks, as a
            BINARY one.

    Returns:
        What was written. Where all organs are empty, no file is.

    Raises:
        InputError: if the series lacks a UID to refer to.
        GeometryError: if an organ reaches beyond the series.
        LabelError: if an organ's name is no segment label, or two are alike.
        ResourceError: if the disk is full, or what was written is not what was meant.
    """
    check_inside(organs, series.stack.voxels.shape)
    written_names([organ.organ for organ in organs], "SegmentLabel")
    _warn_of_unknown(organs)
    shown = [organ for organ in organs if organ.mask.any()]
    empty = tuple(organ.organ.name for organ in organs if not organ.mask.any())
    if not shown:
        return SegmentationReport(empty=empty, frames={})
    slices = [touched_slices(organ, fractional=fractional) for organ in shown]
    ds, frames = segmentation_header(series, shown, slices, maker=maker, fractional=fractional)
    shape_yx = series.stack.planes.shape_yx

    def write(temporary: Path) -> None:
        with lenient():
            ds.save_as(temporary, enforce_file_format=True)
        pixels = (
            frame_pixels(shown[organ], index, shape_yx=shape_yx, fractional=fractional)
            for organ, index in frames
        )
        append_pixels(temporary, pixels, count=len(frames), shape_yx=shape_yx, bits=ds.BitsAllocated)

    def verify(temporary: Path) -> None:
        check_segmentation(temporary, series, shown, fractional=fractional, called=path)

    atomic_file(path, write, verify=verify)
    counts = {organ.organ.name: len(touched) for organ, touched in zip(shown, slices, strict=True)}
    return SegmentationReport(empty=empty, frames=counts)


def _warn_of_unknown(organs: Sequence[OrganMask]) -> None:
    for organ in organs:
        if structure_code(organ.organ).kind == ANATOMICAL_STRUCTURE:
            _log.warning("%s: no SNOMED CT code is known; coded as an anatomical structure", organ.organ.name)
