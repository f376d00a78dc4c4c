"""What a DICOM-SEG says of itself: its segments, and where each frame lies (PS3.3 A.51, C.8.20)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from thoar.core.errors import GeometryError
from thoar.core.slices import POSITION_TOLERANCE_MM, SlicePlanes
from thoar.io.dicom.attributes import Slice

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One item of the SegmentSequence.

    Attributes:
        number: SegmentNumber, which no other segment of the object has.
        label: SegmentLabel; free text, which may say more than an organ: for a person's eyes only.
        kind: code value of the Segmented Property Type; empty where the file does not say.
        side: code value of its laterality modifier; empty likewise.
    """

    number: int
    label: str
    kind: str
    side: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentFrame:
    """One frame.

    Attributes:
        segment: number of the segment it shows; None in a LABELMAP, whose pixels are the numbers.
        origin_xyz_mm: centre of its first pixel.
        source: SOPInstanceUID and frame number, from 1, of the one image it was drawn on; None where the file
            names none or several. The number is None for a file of one slice.
    """

    segment: int | None
    origin_xyz_mm: Float[np.ndarray, "3"]
    source: tuple[str, int | None] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentationObject:
    """One DICOM-SEG file; its pixels stay there until they are asked for.

    Attributes:
        item: the file and its attributes.
        kind: SegmentationType.
        segments: in the file's order.
        frames: likewise.
        largest_value: MaximumFractionalValue, what probability 1 is stored as; 1 for other kinds.
        along_row_xyz: unit vector from column to column of every frame.
        along_column_xyz: unit vector from row to row.
        spacing_yx_mm: between rows, between columns.
        shape_yx: rows, columns.
        frame_of_reference_uid: empty where the file does not say.
    """

    item: Slice
    kind: Kind
    segments: tuple[Segment, ...]
    frames: tuple[SegmentFrame, ...]
    largest_value: int
    along_row_xyz: Float[np.ndarray, "3"]
    along_column_xyz: Float[np.ndarray, "3"]
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]
    frame_of_reference_uid: str

    def planes(self) -> SlicePlanes:
        """Return the slices that have a frame, sorted; those between, without any, are not there.

        Frames within ``POSITION_TOLERANCE_MM`` along the normal lie on one slice, that of the first.

        Raises:
            GeometryError: if the frames' directions or spacing are impossible.
        """
        origins = np.stack([frame.origin_xyz_mm for frame in self.frames])
        depths = origins @ np.cross(self.along_row_xyz, self.along_column_xyz)
        order = np.argsort(depths, kind="stable")
        apart = np.diff(depths[order], prepend=-np.inf) > POSITION_TOLERANCE_MM
        try:
            return SlicePlanes(
                origins_xyz_mm=origins[order[apart]],
                along_row_xyz=self.along_row_xyz,
                along_column_xyz=self.along_column_xyz,
                spacing_yx_mm=self.spacing_yx_mm,
                shape_yx=self.shape_yx,
            )
        except GeometryError as error:
            raise GeometryError(
                f"{self.item.path}: {error} (ImageOrientationPatient, PixelSpacing)"
            ) from None
