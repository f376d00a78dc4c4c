"""What a CT scanner adds to a patient: kernel, thick slices, noise, streaks, a table, a drifting scale."""

import msgspec
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.core.geometry import Vector3
from thoar.phantoms.smooth import blurred, filtered

AIR_HU = -1000.0


class Scanner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scanner's picture of a patient.

    Attributes:
        blur_mm: width (sigma) of the reconstruction kernel in the slice.
        sharpen: how much of what a blur takes away is added on top, as a sharp kernel does.
        slice_mm: distance and thickness of the slices that were reconstructed.
        noise_hu: standard deviation of the noise in the thorax's middle.
        noise_grain_mm: its correlation in the slice.
        streak_hu: standard deviation of horizontal streaks at the shoulders.
        gain: factor on values above air.
        offset_hu: added to every value.
        table: whether a couch lies under the patient.
        table_gap_mm: between back and couch.
        table_curve_per_mm: the couch's curvature.
        table_hu: the couch's shell.
        seed: of the noise.
    """

    blur_mm: float
    sharpen: float
    slice_mm: float
    noise_hu: float
    noise_grain_mm: float
    streak_hu: float
    gain: float
    offset_hu: float
    table: bool
    table_gap_mm: float
    table_curve_per_mm: float
    table_hu: float
    seed: int


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a scanner as they are found in thoracic imaging and planning."""
    sharp = bool(rng.random() < 0.25)  # noqa: PLR2004 (a share)
    return Scanner(
        blur_mm=0.0 if sharp else float(rng.uniform(0.0, 1.6)),
        sharpen=float(rng.uniform(0.2, 1.2)) if sharp else 0.0,
        slice_mm=float(
            rng.choice((1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0), p=(0.1, 0.1, 0.15, 0.2, 0.1, 0.25, 0.1))
        ),
        noise_hu=float(np.exp(rng.uniform(np.log(4), np.log(45)))),
        noise_grain_mm=float(rng.uniform(0.5, 1.6)),
        streak_hu=float(rng.uniform(5, 45)) if rng.random() < 0.4 else 0.0,  # noqa: PLR2004 (a share)
        gain=float(rng.normal(1, 0.012)),
        offset_hu=float(rng.normal(0, 5)),
        table=bool(rng.random() < 0.7),  # noqa: PLR2004 (a share)
        table_gap_mm=float(rng.uniform(1, 12)),
        table_curve_per_mm=float(rng.choice((0.0, rng.uniform(0.0003, 0.0015)))),
        table_hu=float(rng.uniform(-850, 150)),
        seed=int(rng.integers(2**31)),
    )


def scanned(
    hu: Float32[Tensor, "z y x"],
    body: Float32[Tensor, "z y x"],
    scanner: Scanner,
    *,
    spacing_zyx_mm: Vector3,
) -> Float32[Tensor, "z y x"]:
    """Return what the scanner makes of a patient.

    Args:
        hu: the patient.
        body: share of body in each voxel; the couch goes under it.
        scanner: the scanner.
        spacing_zyx_mm: of both arrays.
    """
    rng = np.random.default_rng(scanner.seed)
    if scanner.table:
        hu = _with_table(hu, body, scanner, spacing_zyx_mm)
    _, dy, dx = spacing_zyx_mm
    hu = blurred(hu, (0.0, scanner.blur_mm / dy, scanner.blur_mm / dx))
    if scanner.sharpen > 0:
        hu = hu + scanner.sharpen * (hu - blurred(hu, (0.0, 1.2 / dy, 1.2 / dx)))
    hu = hu + _noise(rng, body, scanner, spacing_zyx_mm)
    hu = _thick(hu, scanner.slice_mm / spacing_zyx_mm[0])
    return ((hu - AIR_HU) * scanner.gain + AIR_HU + scanner.offset_hu).clamp(-1024, 3071)


def _noise(rng: np.random.Generator, body: Tensor, scanner: Scanner, spacing_zyx_mm: Vector3) -> Tensor:
    shape = tuple(body.shape)
    grain = [scanner.noise_grain_mm / s for s in spacing_zyx_mm[1:]]
    noise = blurred(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)), (0.0, grain[0], grain[1]))
    strength = 0.35 + 0.65 * _middle(body, spacing_zyx_mm)
    out = noise / noise.std() * (scanner.noise_hu * strength)
    if scanner.streak_hu > 0:
        out += _streaks(rng, shape, spacing_zyx_mm) * (scanner.streak_hu * strength)
    return out


def _middle(body: Tensor, spacing_zyx_mm: Vector3) -> Tensor:
    """Return 0 outside to 1 in the body's middle: there the rays have lost most on their way."""
    sigma_mm, coarse = 30.0, 8
    small = interpolate(body[None, None], scale_factor=(1, 1 / coarse, 1 / coarse), mode="area")[0, 0]
    _, dy, dx = spacing_zyx_mm
    smooth = blurred(small, (0.0, sigma_mm / dy / coarse, sigma_mm / dx / coarse))
    return interpolate(smooth[None, None], size=body.shape, mode="trilinear")[0, 0]


def _streaks(rng: np.random.Generator, shape: tuple[int, ...], spacing_zyx_mm: Vector3) -> Tensor:
    """Return horizontal streaks of unit strength that fade below the shoulders."""
    dz, _, dx = spacing_zyx_mm
    width = max(1, round(12 / dx))
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    lines = filtered(noise, [1 / (2 * width + 1)] * (2 * width + 1), 2)
    from_top = torch.arange(shape[0] - 1, -1, -1, dtype=torch.float32) * dz
    return lines / lines.std() * torch.exp(-0.5 * (from_top / 45) ** 2)[:, None, None]


def _thick(hu: Tensor, slices: float) -> Tensor:
    """Return slices of so many voxels' thickness, put back on the grid by linear interpolation."""
    if slices <= 1:
        return hu
    count = max(2, round(hu.shape[0] / slices))
    flat = hu.reshape(1, hu.shape[0], -1).transpose(1, 2)
    thick = interpolate(_box_averaged(flat, slices), size=count, mode="linear", align_corners=False)
    back = interpolate(thick, size=hu.shape[0], mode="linear", align_corners=False)
    return back.transpose(1, 2).reshape(hu.shape)


def _box_averaged(lines: Tensor, width: float) -> Tensor:
    """Return lines (1, n, z) averaged over ``width`` voxels, fractional ends included."""
    radius = int(np.ceil((width - 1) / 2))
    edge = (width - (2 * radius - 1)) / 2
    weights = [w / width for w in (edge, *[1.0] * (2 * radius - 1), edge)]
    return filtered(lines, weights, 2)


def _with_table(hu: Tensor, body: Tensor, scanner: Scanner, spacing_zyx_mm: Vector3) -> Tensor:
    """Lay the patient on a couch: a thin shell, filled with foam, that follows a parabola."""
    _, dy, dx = spacing_zyx_mm
    _, height, width = hu.shape
    rows = torch.arange(height, dtype=torch.float32) * dy
    behind = (body > 0.5).any(dim=2).any(dim=0).nonzero()  # noqa: PLR2004 (half a voxel)
    back = float(rows[behind[-1, 0]]) if len(behind) else height * dy
    across = (torch.arange(width, dtype=torch.float32) - (width - 1) / 2) * dx
    surface = back + scanner.table_gap_mm - scanner.table_curve_per_mm * across**2
    depth = rows[:, None] - surface[None, :]
    shell = torch.minimum((depth / dy + 0.5).clamp(0, 1), ((4 - depth) / dy + 0.5).clamp(0, 1))
    shell = shell * (across.abs() < 220)  # noqa: PLR2004 (half a couch)
    outside = 1 - body
    return hu + outside * shell * (scanner.table_hu - hu)
