"""What lies under and on the patient: couch, moulded cushion, blankets. Down is where gravity says."""

from typing import Literal

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from thoar.core.geometry import Vector3
from thoar.phantoms.posture import Posture
from thoar.phantoms.smooth import soft_noise

HALF = 0.5
CELL_MM = 12.0
"""Of the lattice on which blankets fall into folds."""


class Couch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What carries and covers the patient.

    Attributes:
        kind: none, a curved shell, a flat board, or a cradle with raised sides.
        gap_mm: between patient and couch: mattress, cloth.
        curve_per_mm: the curved couch's curvature.
        half_mm: from its middle to its sides.
        depth_mm: how thick it is.
        shell_hu: value of its skin.
        foam_hu: value of its inside.
        shift_mm: of its middle from the patient's.
        cushion_mm: how high a moulded cushion reaches up the patient's sides; 0 for none.
        cushion_hu: its value.
        blankets: thickness in millimetres of each layer on the patient.
        blanket_hu: their value.
        seed: of the folds.
    """

    kind: Literal["none", "curved", "flat", "cradle"]
    gap_mm: float
    curve_per_mm: float
    half_mm: float
    depth_mm: float
    shell_hu: float
    foam_hu: float
    shift_mm: float
    cushion_mm: float
    cushion_hu: float
    blankets: tuple[float, ...]
    blanket_hu: float
    seed: int


def draw_couch(rng: np.random.Generator) -> Couch:
    """Draw a diagnostic or a planning scanner's couch with what comes along."""
    kinds: tuple[Literal["none", "curved", "flat", "cradle"], ...] = ("none", "curved", "flat", "cradle")
    cushioned, covered = rng.random(2) < (0.2, 0.35)
    return Couch(
        kind=kinds[int(rng.choice(4, p=(0.12, 0.5, 0.25, 0.13)))],
        gap_mm=float(rng.uniform(1, 18)),
        curve_per_mm=float(rng.uniform(0.0004, 0.0018)),
        half_mm=float(rng.uniform(190, 270)),
        depth_mm=float(rng.uniform(12, 70)),
        shell_hu=float(rng.uniform(-850, 100)),
        foam_hu=float(rng.uniform(-1000, -900)),
        shift_mm=float(rng.normal(0, 15)),
        cushion_mm=float(rng.uniform(15, 90)) if cushioned else 0.0,
        cushion_hu=float(rng.uniform(-980, -780)),
        blankets=tuple(rng.uniform(3, 14, int(rng.integers(1, 4))).tolist()) if covered else (),
        blanket_hu=float(rng.uniform(-960, -800)),
        seed=int(rng.integers(2**31)),
    )


def with_couch(
    hu: Float[Tensor, "z y x"],
    body: Float[Tensor, "z y x"],
    couch: Couch,
    *,
    posture: Posture,
    spacing_zyx_mm: Vector3,
) -> Float[Tensor, "z y x"]:
    """Return the patient on the couch, in a posture; nothing of it lies within the body."""
    if not (body > HALF).any():
        return hu
    dz, dy, dx = spacing_zyx_mm
    step = (dz, dx, dy) if posture in ("left_side", "right_side") else (dz, dy, dx)
    scene, solid = downwards(hu, posture), downwards(body, posture)
    rng = np.random.default_rng(couch.seed)
    surface = _surface(solid, couch, step)
    air = 1 - solid
    for layer in (
        *_blankets(rng, solid, couch, step),
        *_cushion(rng, solid, surface, couch=couch, step=step),
        *_boards(solid, surface, couch, step=step),
    ):
        scene = scene + air * layer[0] * (layer[1] - scene)
    return downwards(scene, posture)


def downwards(voxels: Float[Tensor, "z y x"], posture: Posture) -> Float[Tensor, "z row column"]:
    """Return slices turned or mirrored so that rows run downwards; twice is not at all."""
    if posture == "supine":
        return voxels
    if posture == "prone":
        return voxels.flip(1)
    turned = voxels.transpose(1, 2)
    return turned if posture == "left_side" else turned.flip((1, 2))


Layer = tuple[Tensor, float]
"""A weight that broadcasts over (z, row, column), and a value."""


def _rows(solid: Tensor, step: Vector3) -> Tensor:
    return (torch.arange(solid.shape[1], device=solid.device) * step[1])[:, None]


def _across(solid: Tensor, couch: Couch, step: Vector3) -> Tensor:
    """Return how far each column lies from the couch's middle, which is under the patient's."""
    columns = torch.arange(solid.shape[2], device=solid.device) * step[2]
    weight = solid.sum(dim=(0, 1))
    return columns - (columns * weight).sum() / weight.sum() - couch.shift_mm


def _surface(solid: Tensor, couch: Couch, step: Vector3) -> Float[Tensor, " column"]:
    """Return the height of the couch's surface, in millimetres down, so low that the patient fits on it."""
    across = _across(solid, couch, step)
    shape = {
        "none": torch.zeros_like(across),
        "flat": torch.zeros_like(across),
        "curved": couch.curve_per_mm * across**2,
        "cradle": 0.03 * (across.abs() - couch.half_mm + 60).clamp(min=0) ** 2,
    }[couch.kind]
    lowest = torch.where(solid.amax(dim=0) > HALF, _rows(solid, step), -1e3).amax(dim=0)
    reached = torch.where(across.abs() < couch.half_mm, lowest + shape, -1e3).amax()
    return reached + couch.gap_mm - shape


def _between(rows: Tensor, top: Tensor, bottom: Tensor | float, *, step_mm: float) -> Tensor:
    """Return the share of each row that lies between two heights."""
    half = step_mm / 2
    high = torch.minimum(rows + half, torch.as_tensor(bottom, device=rows.device))
    return ((high - torch.maximum(rows - half, top)) / step_mm).clamp(min=0)


def _boards(solid: Tensor, surface: Tensor, couch: Couch, *, step: Vector3) -> list[Layer]:
    """Return the couch: foam between two skins, thinner towards the sides where it is curved."""
    if couch.kind == "none":
        return []
    aside = (_across(solid, couch, step) / couch.half_mm).abs()
    thick = couch.depth_mm * ((1 - aside**2).clamp(min=0).sqrt() if couch.kind == "curved" else 1.0)
    rows, skin, here = _rows(solid, step), 2.5, aside < 1
    top, bottom = surface, surface + torch.as_tensor(thick, device=solid.device).clamp(min=5)
    foam = _between(rows, top, bottom, step_mm=step[1]) * here
    skins = _between(rows, top, top + skin, step_mm=step[1]) + _between(
        rows, bottom - skin, bottom, step_mm=step[1]
    )
    return [(foam[None], couch.foam_hu), ((skins.clamp(max=1) * here)[None], couch.shell_hu)]


def _cushion(
    rng: np.random.Generator, solid: Tensor, surface: Tensor, *, couch: Couch, step: Vector3
) -> list[Layer]:
    """Return a cushion moulded to the patient's back and sides."""
    if couch.cushion_mm == 0:
        return []
    aside = (_across(solid, couch, step) / couch.half_mm).abs()
    uneven = 1 + 0.35 * _folds(rng, solid, step)
    top = surface - couch.gap_mm - couch.cushion_mm * aside**1.5 * uneven
    held = _between(_rows(solid, step)[None], top[:, None, :], surface, step_mm=step[1])
    return [(held * (aside < 0.9), couch.cushion_hu)]  # noqa: PLR2004 (within the couch)


def _blankets(rng: np.random.Generator, solid: Tensor, couch: Couch, step: Vector3) -> list[Layer]:
    """Return layers of cloth that lie on the patient and fall into folds."""
    rows = _rows(solid, step)
    lowest = float(rows[-1])
    top = torch.where(solid > HALF, rows, lowest).amin(dim=1)
    wide = 2 * max(1, round(20 / step[2])) + 1
    taut = -max_pool2d(-top[None], (1, wide), stride=1, padding=(0, wide // 2))[0]
    bottom = avg_pool2d(taut[None], (1, wide), stride=1, padding=(0, wide // 2), count_include_pad=False)[0]
    layers: list[Layer] = []
    for thick in couch.blankets:
        bottom = bottom - 3 - 4 * (_folds(rng, solid, step) + 1).clamp(min=0)
        inside = _between(rows[None], (bottom - thick)[:, None], bottom[:, None], step_mm=step[1])
        layers.append((inside, couch.blanket_hu))
        bottom = bottom - thick
    return layers


def _folds(rng: np.random.Generator, solid: Tensor, step: Vector3) -> Float[Tensor, "z column"]:
    """Return smooth chance about zero over the patient's length and width."""
    z, _, x = solid.shape
    size = (1, max(2, round(z * step[0] / CELL_MM)), max(2, round(x * step[2] / CELL_MM)))
    coarse = soft_noise(rng, size, sigma_zyx=(0, 1.5, 1.5), device=solid.device)
    return interpolate(coarse[None], size=(z, x), mode="bilinear")[0, 0]
