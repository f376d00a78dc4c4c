"""Which part of a patient is in view: levels, the reconstructed circle, and what is stored outside of it."""

from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from thoar.core.geometry import Vector3
from thoar.phantoms.deform import Deformation, pose_matrix
from thoar.phantoms.patient import Patient

RIM_MM = 10.0
"""A truncated patient's bright rim fades inwards over this length."""


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the patient is in view.

    Attributes:
        bottom: where the lowest slice lies, as a share of the patient's length from below.
        top: where the highest lies.
        width_mm: of the reconstructed circle, or square.
        circle: whether what lies outside the circle is padding.
        padding_hu: the value there.
        margin_mm: air kept around the patient in front, behind and at the sides, within the width.
        shift_xy_mm: of the circle's middle from the patient's.
        rim_hu: how much too bright the patient is where the circle cuts through.
    """

    bottom: float
    top: float
    width_mm: float
    circle: bool
    padding_hu: float
    margin_mm: float
    shift_xy_mm: tuple[float, float]
    rim_hu: float


def draw_field(rng: np.random.Generator) -> Field:
    """Draw a field of view: the whole patient there is, a chest, or a short part of one."""
    bottom, top = _draw_levels(rng)
    narrow, rim = rng.random(2) < (0.16, 0.25)
    return Field(
        bottom=bottom,
        top=top,
        width_mm=float(rng.uniform(250, 360) if narrow else rng.uniform(390, 600)),
        circle=bool(rng.random() < 0.7),  # noqa: PLR2004 (a share)
        padding_hu=float(rng.choice((-1024, -1000, -2000, -2048, -3024), p=(0.4, 0.1, 0.15, 0.15, 0.2))),
        margin_mm=float(rng.exponential(22) + 3),
        shift_xy_mm=(float(rng.normal(0, 10)), float(rng.normal(0, 10))),
        rim_hu=float(rng.uniform(30, 300)) if rim else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where a picture lies: two opposite corners, and the middle of the reconstructed circle."""

    low_xyz_mm: Vector3
    high_xyz_mm: Vector3
    middle_xy_mm: tuple[float, float]


def extent_of(patient: Patient, deformation: Deformation, field: Field) -> Extent:
    """Return where the picture lies: the posed patient's box, cut to the field."""
    inside = (patient.lattice[-1] > 0.3).nonzero().cpu().double().numpy()[:, ::-1]  # noqa: PLR2004 (at the skin)
    cells = np.array(patient.lattice.shape[:0:-1])
    forward = np.linalg.inv(pose_matrix(deformation))
    placed = ((inside + 0.5) / cells * 2 - 1) * np.array(patient.half_xyz_mm) @ forward.T
    low, high = placed.min(axis=0) - field.margin_mm, placed.max(axis=0) + field.margin_mm
    middle = (low + high)[:2] / 2 + field.shift_xy_mm
    for axis in (0, 1):
        low[axis] = max(low[axis], middle[axis] - field.width_mm / 2)
        high[axis] = min(high[axis], middle[axis] + field.width_mm / 2)
    half_z = patient.half_xyz_mm[2] * forward[2, 2]
    low[2], high[2] = half_z * (2 * field.bottom - 1), half_z * (2 * field.top - 1)
    return Extent(
        low_xyz_mm=(float(low[0]), float(low[1]), float(low[2])),
        high_xyz_mm=(float(high[0]), float(high[1]), float(high[2])),
        middle_xy_mm=(float(middle[0]), float(middle[1])),
    )


def in_circle(
    hu: Float[Tensor, "z y x"],
    body: Float[Tensor, "z y x"],
    field: Field,
    *,
    from_middle_xy_mm: tuple[Float[Tensor, " x"], Float[Tensor, " y"]],
) -> Float[Tensor, "z y x"]:
    """Return slices with padding outside the circle, and a bright rim where it cuts through the patient."""
    if not field.circle:
        return hu
    inwards = _inwards_mm(field, from_middle_xy_mm)
    if field.rim_hu > 0:
        cut = (body * (inwards < 0)).amax(dim=(1, 2), keepdim=True)
        rim = field.rim_hu * torch.exp(-inwards.clamp(min=0) / RIM_MM)
        hu = hu + body * cut * rim
    return torch.where(inwards < 0, field.padding_hu, hu)


def outside_circle(
    field: Field, *, from_middle_xy_mm: tuple[Float[Tensor, " x"], Float[Tensor, " y"]]
) -> Bool[Tensor, "y x"]:
    """Return where a slice holds padding: nobody can see an organ there."""
    return (_inwards_mm(field, from_middle_xy_mm) < 0) & field.circle


def _inwards_mm(field: Field, from_middle_xy_mm: tuple[Tensor, Tensor]) -> Tensor:
    x, y = from_middle_xy_mm
    return field.width_mm / 2 - (x[None, :].square() + y[:, None].square()).sqrt()


def _draw_levels(rng: np.random.Generator) -> tuple[float, float]:
    kind = rng.choice(("whole", "chest", "short"), p=(0.4, 0.42, 0.18))
    if kind == "whole":
        return float(rng.uniform(0, 0.08)), float(rng.uniform(0.93, 1))
    if kind == "chest":
        return float(rng.uniform(0, 0.42)), float(rng.uniform(0.7, 1))
    length = rng.uniform(0.28, 0.55)
    bottom = rng.uniform(0, 1 - length)
    return float(bottom), float(bottom + length)
