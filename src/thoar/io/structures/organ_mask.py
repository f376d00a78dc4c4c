"""One organ as the writers of RTSTRUCT and DICOM-SEG take it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from thoar.core.box import Box
from thoar.core.errors import GeometryError
from thoar.core.labels import Organ


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrganMask:
    """One organ's own mask on the slices of a series; it may overlap other organs.

    Attributes:
        organ: its name, colour and codes.
        box_zyx: where ``probability`` lies, counted in slices, rows and columns of the series.
        probability: 0 to 1 inside the box, of the box's shape; a plain mask is 0.0 and 1.0.

    Raises:
        ValueError: if box and array differ in shape.
    """

    organ: Organ
    box_zyx: Box
    probability: Float[np.ndarray, "z y x"]

    def __post_init__(self) -> None:
        if self.probability.shape != self.box_zyx.shape_zyx:
            raise ValueError(f"an array of {self.probability.shape} does not fill {self.box_zyx}")

    @property
    def mask(self) -> Bool[np.ndarray, "z y x"]:
        """The organ's mask inside the box: probability at least 0.5."""
        return self.probability >= 0.5  # noqa: PLR2004 (what a mask is)


def check_inside(organs: Sequence[OrganMask], shape_zyx: tuple[int, int, int]) -> None:
    """Refuse an organ whose box reaches beyond the slices.

    Raises:
        GeometryError: naming the organ.
    """
    whole = Box.of_shape(shape_zyx)
    for organ in organs:
        if not whole.contains(organ.box_zyx):
            raise GeometryError(f"{organ.organ.name}: {organ.box_zyx} reaches beyond the series, {whole}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who made the contours, for the header of what is written.

    Attributes:
        model: name of the model; empty where masks came from elsewhere.
        model_version: of the model: first twelve digits of its manifest's SHA-256; empty without a model.
        software_version: of thoar.
        automatic: contours come from an algorithm; False where their origin is not known.
        uid_seed: makes UIDs and dates a function of this and of the content, so that the same command gives
            the same bytes; None takes fresh UIDs and the present date.
    """

    model: str = ""
    model_version: str = ""
    software_version: str = ""
    automatic: bool = True
    uid_seed: str | None = None
