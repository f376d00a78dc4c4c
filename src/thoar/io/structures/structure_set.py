"""What an RTSTRUCT says, as it says it: structures as contours (PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contour:
    """One item of a ContourSequence.

    Attributes:
        points_xyz_mm: in LPS; of a closed contour the last point is joined to the first.
        geometric_type: ContourGeometricType, such as CLOSED_PLANAR.
        sop_instance_uid: the image it was drawn on (ContourImageSequence); empty where the file does not say.
    """

    points_xyz_mm: Float[np.ndarray, "point 3"]
    geometric_type: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """One region of interest.

    Attributes:
        name: ROIName; free text, which may say more than an organ: for a person's eyes only.
        number: ROINumber, which no other structure of the set has.
        color_rgb: ROIDisplayColor, 0 to 255 each; None where the file does not say.
        interpreted_type: RTROIInterpretedType, such as ORGAN; empty likewise.
        frame_of_reference_uid: the frame its points are in; empty likewise.
        contours: in the file's order.
    """

    name: str
    number: int
    color_rgb: tuple[int, int, int] | None
    interpreted_type: str
    frame_of_reference_uid: str
    contours: tuple[Contour, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureSet:
    """One RTSTRUCT file.

    Attributes:
        file: its name, for messages.
        frame_of_reference_uids: all that the file speaks of, in the order it does.
        series_uids: SeriesInstanceUIDs of the images it was drawn on.
        sop_instance_uids: those images, as the file lists them at its head.
        structures: in the file's order.
    """

    file: str
    frame_of_reference_uids: tuple[str, ...]
    series_uids: tuple[str, ...]
    sop_instance_uids: frozenset[str]
    structures: tuple[Structure, ...]
