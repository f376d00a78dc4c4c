"""RTSTRUCT and DICOM-SEG as one thing: named structures that can be drawn on a series."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thoar.datasets.dicom_inventory import StructureKind
from thoar.io.dicom.records import Series
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_object import SegmentationObject
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.structure_mask import StructureMask
from thoar.io.structures.structure_set import StructureSet

Structures = StructureSet | SegmentationObject


def read_structures(path: Path, kind: StructureKind) -> Structures:
    """Read a file of structures; nothing is drawn yet.

    Raises:
        InputError: or one of its kinds, as the readers document.
    """
    return read_rtstruct(path) if kind == "rtstruct" else read_segmentation(path)


def names_of(structures: Structures) -> tuple[str, ...]:
    """Return what the structures are called, in the file's order."""
    if isinstance(structures, StructureSet):
        return tuple(structure.name for structure in structures.structures)
    return tuple(segment.label for segment in structures.segments)


def parts_of(structures: Structures) -> tuple[int, ...]:
    """Return of how many contours or frames each structure is made; 0 where nothing was drawn."""
    if isinstance(structures, StructureSet):
        return tuple(len(structure.contours) for structure in structures.structures)
    frames = Counter(frame.segment for frame in structures.frames)
    unknown = frames[None]  # a label map's frames belong to all of its segments
    return tuple(frames[segment.number] or unknown for segment in structures.segments)


def masks_of(structures: Structures, wanted: Sequence[int], *, series: Series) -> tuple[StructureMask, ...]:
    """Draw some structures on a series, in the order wanted.

    Raises:
        InputError: or one of its kinds, if they do not belong to the series.
    """
    if isinstance(structures, StructureSet):
        chosen = tuple(structures.structures[k] for k in wanted)
        return rtstruct_masks(replace(structures, structures=chosen), series)
    masks = segment_masks(structures, series)
    return tuple(masks[k] for k in wanted)
