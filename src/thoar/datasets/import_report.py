"""What an import took and what it left, and why: ``import.json``. It names nobody.

Series and structure files go by the first twelve digits of their UID's SHA-256: whoever has the files can
find them again, nobody else. Names of structures stand here only where a list of names has them; others may
be anything that somebody once typed, also where a pattern told that they mean an organ.
"""

import msgspec

from thoar.io.dicom.records import ReadOptions

REPORT = "import.json"
BY_PATTERN = "(by a pattern)"
"""Stands for a structure's name that is in no list."""
ANOTHER = "another of an organ"
"""A structure that means an organ which another one was taken for."""


class OrganRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One organ of a case.

    Attributes:
        organ: of the label set.
        names: of the structures it was taken from.
        parts: contours or frames that they are made of.
        volume_ml: of the organ's own mask, on the label map's grid; 0 where it was not taken.
        faults: what was odd about the drawing.
    """

    organ: str
    names: tuple[str, ...]
    parts: int
    volume_ml: float
    faults: tuple[str, ...]


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case that was made.

    Attributes:
        id: of the case.
        group: the patient.
        kind: rtstruct or seg.
        structures: code of the structure file.
        series: code of the series.
        slices: of the series.
        spacing_zyx_mm: of the image written.
        rectified: the image is not on the series' slices, but on a regular grid they were resampled onto.
        organs: asked for and named in the file, drawn or not.
        overlaps_ml: where an organ took voxels of another, as in "aorta over heart".
        left_out: structures of other names, known ones to be ignored, and unknown ones; and those of an organ
            that was taken from another.
        warnings: of the readers.
    """

    id: str
    group: str
    kind: str
    structures: str
    series: str
    slices: int
    spacing_zyx_mm: tuple[float, float, float]
    rectified: bool
    organs: tuple[OrganRecord, ...]
    overlaps_ml: dict[str, float]
    left_out: dict[str, int]
    warnings: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A structure file of which no case was made.

    Attributes:
        id: that the case would have had.
        kind: rtstruct or seg.
        structures: code of the structure file.
        reason: the error's text.
    """

    id: str
    kind: str
    structures: str
    reason: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole import.

    Attributes:
        thoar: version that did it.
        organs: asked for.
        priority: of organs that overlap; the later one got the voxel.
        names_sha256: of the file of names; None without one.
        options: how the series were read.
        cases: made.
        refused: not made.
        unreadable_files: DICOM files that could not be read, and why.
        series_without_structures: number of series that no structure file was drawn on.
    """

    thoar: str
    organs: tuple[str, ...]
    priority: tuple[str, ...]
    names_sha256: str | None
    options: ReadOptions
    cases: tuple[CaseRecord, ...]
    refused: tuple[Refusal, ...]
    unreadable_files: tuple[str, ...]
    series_without_structures: int
