"""What a CT scanner makes of a patient: couch, motion, streaks, kernel, slices, noise, a drifting scale."""

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thoar.core.geometry import Vector3
from thoar.phantoms.patient import AIR_HU
from thoar.phantoms.posture import Posture
from thoar.phantoms.scanning.couch import Couch, draw_couch, with_couch
from thoar.phantoms.scanning.motion import Motion, breathing, draw_motion, with_heartbeat
from thoar.phantoms.scanning.noise import Noise, draw_noise, noise_in
from thoar.phantoms.scanning.slices import along_z, averaging, interpolating, slice_places
from thoar.phantoms.scanning.streaks import Streaks, draw_streaks, hardening, with_metal, with_starvation
from thoar.phantoms.smooth import blurred

LOWEST_HU, TWELVE_BITS_HU, SIXTEEN_BITS_HU = -1024.0, 3071.0, 30000.0


class Scanner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scanner's picture of a patient.

    Attributes:
        blur_mm: width (sigma) of the reconstruction kernel in the slice.
        sharpen: how much of what a blur takes away is added on top, as a sharp kernel does.
        slice_mm: thickness of the slices that were reconstructed.
        increment_mm: distance between them.
        start: of the first slice below the grid, as a share of the increment.
        noise: of the picture.
        streaks: of the rays.
        motion: of the patient.
        couch: under the patient.
        gain: factor on values above air.
        offset_hu: added to every value.
        highest_hu: what the file's numbers end at.
        step_hu: values are rounded to multiples of it.
        seed: of the chance in the picture.
    """

    blur_mm: float
    sharpen: float
    slice_mm: float
    increment_mm: float
    start: float
    noise: Noise
    streaks: Streaks
    motion: Motion
    couch: Couch
    gain: float
    offset_hu: float
    highest_hu: float
    step_hu: float
    seed: int


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a scanner as they are found in thoracic imaging and planning."""
    sharp = bool(rng.random() < 0.25)  # noqa: PLR2004 (a share)
    thick = (0.6, 1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    slice_mm = float(rng.choice(thick, p=(0.06, 0.12, 0.1, 0.1, 0.14, 0.16, 0.05, 0.17, 0.03, 0.03, 0.04)))
    return Scanner(
        blur_mm=0.0 if sharp else float(rng.uniform(0.3, 1.5)),
        sharpen=float(rng.uniform(0.2, 1.2)) if sharp else 0.0,
        slice_mm=slice_mm,
        increment_mm=slice_mm * float(rng.choice((0.5, 0.8, 1.0, 1.2), p=(0.08, 0.12, 0.75, 0.05))),
        start=float(rng.uniform(0, 1)),
        noise=draw_noise(rng, sharp=sharp),
        streaks=draw_streaks(rng),
        motion=draw_motion(rng),
        couch=draw_couch(rng),
        gain=float(rng.normal(1, 0.012)),
        offset_hu=float(rng.normal(0, 5)),
        highest_hu=float(rng.choice((TWELVE_BITS_HU, SIXTEEN_BITS_HU), p=(0.85, 0.15))),
        step_hu=float(rng.choice((1.0, 2.0, 4.0, 8.0), p=(0.94, 0.03, 0.02, 0.01))),
        seed=int(rng.integers(2**31)),
    )


def scanned(
    hu: Float[Tensor, "z y x"],
    body: Float[Tensor, "z y x"],
    heart: Float[Tensor, "z y x"],
    scanner: Scanner,
    *,
    posture: Posture,
    spacing_zyx_mm: Vector3,
) -> Float[Tensor, "z y x"]:
    """Return what the scanner makes of a patient: whole Hounsfield units on the same grid.

    Args:
        hu: the patient.
        body: share of body in each voxel; the couch goes under it.
        heart: share of heart, which beats.
        scanner: the scanner.
        posture: says where the couch is.
        spacing_zyx_mm: of the arrays.
    """
    dz, dy, dx = spacing_zyx_mm
    chance = [torch.Generator(hu.device).manual_seed(scanner.seed + k) for k in range(3)]
    hu = with_couch(hu, body, scanner.couch, posture=posture, spacing_zyx_mm=spacing_zyx_mm)
    hu = with_heartbeat(hu, heart, scanner.motion, spacing_zyx_mm=spacing_zyx_mm)
    places = slice_places(len(hu), step=scanner.increment_mm / dz, start=scanner.start, device=hu.device)
    slices = along_z(_thickness(heart, places, scanner, step_mm=dz), hu)
    slices = slices + hardening(slices, scanner.streaks, spacing_yx_mm=(dy, dx))
    slices = with_starvation(slices, scanner.streaks, spacing_yx_mm=(dy, dx), chance=chance[0])
    slices = with_metal(slices, scanner.streaks, spacing_yx_mm=(dy, dx), chance=chance[1])
    slices = _under_kernel(slices, scanner, spacing_yx_mm=(dy, dx))
    slices = slices + _noise(slices, scanner, spacing_yx_mm=(dy, dx), chance=chance[2])
    return _stored(along_z(interpolating(places, len(hu)), slices), scanner)


def _thickness(heart: Tensor, places: Tensor, scanner: Scanner, *, step_mm: float) -> Tensor:
    """Return the matrix from levels to slices, breathing included."""
    average = averaging(places, len(heart), thickness=scanner.slice_mm / step_mm)
    breath = breathing(heart, scanner.motion, step_mm=step_mm)
    return average if breath is None else average @ breath


def _under_kernel(hu: Tensor, scanner: Scanner, *, spacing_yx_mm: tuple[float, float]) -> Tensor:
    dy, dx = spacing_yx_mm
    hu = blurred(hu, (0.0, scanner.blur_mm / dy, scanner.blur_mm / dx))
    if scanner.sharpen == 0:
        return hu
    return hu + scanner.sharpen * (hu - blurred(hu, (0.0, 1.2 / dy, 1.2 / dx)))


def _noise(
    slices: Tensor, scanner: Scanner, *, spacing_yx_mm: tuple[float, float], chance: torch.Generator
) -> Tensor:
    """Return the noise; slices that overlap share some of theirs."""
    noise = noise_in(slices, scanner.noise, spacing_yx_mm=spacing_yx_mm, chance=chance)
    overlap = scanner.slice_mm / scanner.increment_mm
    if overlap <= 1:
        return noise
    places = torch.arange(len(slices), dtype=torch.float32, device=slices.device)
    shared = averaging(places, len(slices), thickness=overlap)
    return along_z(shared / shared.square().sum(dim=1, keepdim=True).sqrt(), noise)


def _stored(hu: Tensor, scanner: Scanner) -> Tensor:
    hu = (hu - AIR_HU) * scanner.gain + (AIR_HU + scanner.offset_hu)
    return ((hu / scanner.step_hu).round() * scanner.step_hu).clamp(LOWEST_HU, scanner.highest_hu)
