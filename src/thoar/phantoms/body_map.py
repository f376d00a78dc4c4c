"""A labelled anatomy: what every source of synthetic cases makes, and what is then painted and scanned."""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from thoar.core.geometry import Vector3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyMap:
    """Which structure each voxel holds, on an axial grid: z to the head, y to the back, x to the left.

    Attributes:
        structure: ids of ``structures.STRUCTURES``; 0 is the air around the patient.
        spacing_zyx_mm: of the grid; fine enough for walls, about 1.5 mm.
    """

    structure: UInt8[Tensor, "z y x"]
    spacing_zyx_mm: Vector3

    @property
    def device(self) -> torch.device:
        """Where the map lies."""
        return self.structure.device
