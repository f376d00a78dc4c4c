"""Fluid and air between the lung and its wall; they find their level along gravity."""

import torch
from jaxtyping import Bool
from torch import Tensor

from thoar.phantoms.distances import coarse_distance_mm
from thoar.phantoms.pathology.record import Fluid, Side
from thoar.phantoms.pathology.subject import Subject, Window, extent
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import LOBES, LUNGS, chosen

REPLACED = (*LUNGS, "atelectasis", "emphysema", "pleural_air")
TOWARDS_FEET = 0.12
"""The back of the chest slopes to the feet when a patient lies on it."""


def add_fluid(subject: Subject, fluid: Fluid) -> None:
    """Let fluid collect where it is lowest, as a crescent along the wall, with airless lung on it."""
    _fill(subject, fluid, side="left", gas=False)
    _fill(subject, fluid, side="right", gas=False)


def add_air(subject: Subject, air: Fluid) -> None:
    """Let air collect where it is highest."""
    _fill(subject, air, side="left", gas=True)
    _fill(subject, air, side="right", gas=True)


def lung_side(subject: Subject, side: Side) -> tuple[Window, Bool[Tensor, "z y x"]] | None:
    """Return a window and where a side's lung is in it: its lobes, and the vessels and airways in them."""
    own = [name for name in LOBES if name.endswith(side)]
    window = extent(subject, *own)
    if window is None:
        return None
    part = subject.structure[window]
    other = [name for name in LOBES if not name.endswith(side)]
    lung = chosen(part, *REPLACED)
    away = [coarse_distance_mm(chosen(part, *n), subject.spacing_zyx_mm, reach_mm=15.0) for n in (own, other)]
    return window, lung & ~chosen(part, *other) & (away[0] <= away[1])


def _fill(subject: Subject, fluid: Fluid, *, side: Side, gas: bool) -> None:
    share = fluid.left_share if side == "left" else fluid.right_share
    found = lung_side(subject, side) if share > 0 else None
    if found is None:
        return
    window, lung = found
    depth = _depth(subject, window, lung, fluid=fluid, gas=gas)
    level = _level(depth, lung, share=share)
    if fluid.band_mm > 0 and not gas:
        airless = lung & (depth > level - fluid.band_mm)
        subject.fill(airless, "atelectasis", window=window, only=(*LOBES, "fissure", "emphysema"))
    name = "pleural_air" if gas else "effusion"
    subject.fill(lung & (depth > level), name, window=window, only=REPLACED)


def _depth(
    subject: Subject, window: Window, lung: Bool[Tensor, "z y x"], *, fluid: Fluid, gas: bool
) -> Tensor:
    """How low a voxel lies, less what its distance from the wall takes off."""
    sign = -1.0 if gas else 1.0
    down = [sign * g for g in subject.gravity_zyx]
    down[0] -= 0.0 if gas else TOWARDS_FEET
    wall = coarse_distance_mm(~lung, subject.spacing_zyx_mm, reach_mm=60.0)
    wall = blurred(wall, (4.0, 4.0, 4.0))
    z, y, x = (a * d for a, d in zip(subject.axes(window), down, strict=True))
    return z + y + x - fluid.slope * wall


def _level(depth: Tensor, lung: Bool[Tensor, "z y x"], *, share: float) -> Tensor:
    step = 3
    values = depth[::step, ::step, ::step][lung[::step, ::step, ::step]].sort().values
    return values[min(len(values) - 1, int((1 - share) * len(values)))] if len(values) else torch.tensor(0.0)
