"""A labelled anatomy with values: what every source makes, and what a scanner then looks at."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.core.geometry import Vector3
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.organs import organ_masks

AIR_HU = -1000.0
LATTICE_MM = 6.0
"""Spacing of the lattice that deformations live on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """Values and organs of one patient on an axial grid, all on one device.

    Points are (x, y, z) in millimetres from the middle of the grid, whose faces lie ``half_xyz_mm`` away.

    Attributes:
        hu: values, air at least.
        organs: share of each voxel that each organ of the label set takes.
        body: share of body, lungs and all.
        lattice: the organs and, last, the body on a lattice of about ``LATTICE_MM``.
        spacing_zyx_mm: of the grid.
        label_set: names and ids of the organs; those of SegTHOR's label set are always among them.
    """

    hu: Float[Tensor, "z y x"]
    organs: Float[Tensor, "organ z y x"]
    body: Float[Tensor, "z y x"]
    lattice: Float[Tensor, "part depth height width"]
    spacing_zyx_mm: Vector3
    label_set: LabelSet

    @property
    def half_xyz_mm(self) -> Vector3:
        """From the middle of the grid to its faces."""
        z, y, x = (n * s / 2 for n, s in zip(self.hu.shape, self.spacing_zyx_mm, strict=True))
        return (x, y, z)

    @property
    def device(self) -> torch.device:
        """Where the patient lies."""
        return self.hu.device


def patient_of(body_map: BodyMap, hu: Float[Tensor, "z y x"], *, label_set: LabelSet = SEGTHOR) -> Patient:
    """Return the patient of a map of structures and the values painted on it.

    Args:
        body_map: the structures.
        hu: their values, on the same grid.
        label_set: the organs to tell apart, some of ``core.labels.THORAX``; the heart is needed by whoever
            deforms the patient, so SegTHOR's organs must be among them.
    """
    organs = organ_masks(body_map, label_set.names).float()
    body = (body_map.structure != 0).float()
    return Patient(
        hu=hu,
        organs=organs,
        body=body,
        lattice=on_lattice(organs, body, spacing_zyx_mm=body_map.spacing_zyx_mm),
        spacing_zyx_mm=body_map.spacing_zyx_mm,
        label_set=label_set,
    )


def on_lattice(
    organs: Float[Tensor, "organ z y x"], body: Float[Tensor, "z y x"], *, spacing_zyx_mm: Vector3
) -> Float[Tensor, "part depth height width"]:
    """Return organs and, last, the body averaged onto the lattice of deformations."""
    shape = [max(4, round(n * s / LATTICE_MM)) for n, s in zip(body.shape, spacing_zyx_mm, strict=True)]
    parts = [interpolate(part[None, None], size=shape, mode="area")[0, 0] for part in (*organs, body)]
    return torch.stack(parts)
