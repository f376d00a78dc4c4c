"""One structure of an RTSTRUCT or a DICOM-SEG as a mask on the slices of a series."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from thoar.core.box import Box


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureMask:
    """One structure as it was drawn, and what was odd about it.

    Attributes:
        name: ROIName or SegmentLabel, as the file has it.
        number: ROINumber or SegmentNumber.
        box_zyx: where ``mask`` lies, counted in slices, rows and columns of the series; None where nothing of
            the structure lies on the series.
        mask: inside the box; None likewise.
        faults: one sentence each, for a person to read; empty where nothing was odd.
    """

    name: str
    number: int
    box_zyx: Box | None
    mask: Bool[np.ndarray, "z y x"] | None
    faults: tuple[str, ...] = ()
