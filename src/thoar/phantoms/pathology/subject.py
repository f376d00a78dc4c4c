"""A body under change, and how places in it are found."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from thoar.core.geometry import Vector3
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import IDS, chosen

Window = tuple[slice, slice, slice]
COARSE = 3
"""Every how many voxels of a map are looked at to find a place."""

FIXED: tuple[str, ...] = (
    "outside", "skin", "subcutaneous_fat", "muscle", "intermuscular_fat", "breast_gland",
    "cortical_bone", "marrow", "disc", "costal_cartilage", "spinal_canal", "dural_sac", "spinal_cord",
)  # fmt: skip
"""What no illness moves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A copy of a map that illnesses change in place.

    Attributes:
        structure: ids of structures.
        spacing_zyx_mm: of the grid. Positions are (z, y, x) in millimetres from the first voxel's middle.
        gravity_zyx: unit vector.
        generator: of smooth chance, on the map's device.
    """

    structure: UInt8[Tensor, "z y x"]
    spacing_zyx_mm: Vector3
    gravity_zyx: Vector3
    generator: torch.Generator

    @property
    def device(self) -> torch.device:
        """Where the map lies."""
        return self.structure.device

    def window(self, low_zyx_mm: Sequence[float], high_zyx_mm: Sequence[float]) -> Window:
        """Return the slices of the voxels in a box, as far as the map goes."""
        found = []
        for low, high, step, count in zip(
            low_zyx_mm, high_zyx_mm, self.spacing_zyx_mm, self.structure.shape, strict=True
        ):
            start = min(count, max(0, int(low // step)))
            found.append(slice(start, min(count, max(start, int(-(-high // step)) + 1))))
        return (found[0], found[1], found[2])

    def around(self, centre_zyx_mm: Sequence[float], reach_mm: float) -> Window:
        """Return the window of a cube about a point."""
        return self.window([c - reach_mm for c in centre_zyx_mm], [c + reach_mm for c in centre_zyx_mm])

    def axes(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Return z, y and x of a window's voxels in millimetres, shaped to broadcast."""
        z, y, x = (
            torch.arange(part.start, part.stop, device=self.device, dtype=torch.float32) * step
            for part, step in zip(window, self.spacing_zyx_mm, strict=True)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def fill(self, inside: Bool[Tensor, "z y x"], name: str, *, window: Window, only: Sequence[str]) -> None:
        """Make voxels of a window the structure named where they are one of ``only``."""
        part = self.structure[window]
        part.masked_fill_(inside & chosen(part, *only), IDS[name])

    def noise(self, shape_zyx: Sequence[int], *, scale_mm: float) -> Float[Tensor, "z y x"]:
        """Return smooth chance of mean square about one, correlated over ``scale_mm``."""
        cells = [
            max(2, round(n * step / scale_mm)) + 4
            for n, step in zip(shape_zyx, self.spacing_zyx_mm, strict=True)
        ]
        white = torch.randn(cells, generator=self.generator, device=self.device)
        smooth = blurred(white, (0.7, 0.7, 0.7))[2:-2, 2:-2, 2:-2]
        fine = functional.interpolate(smooth[None, None], tuple(shape_zyx), mode="trilinear")[0, 0]
        return fine / LATTICE_DEVIATION


LATTICE_DEVIATION = 0.207
"""Of white noise after the blur and between the lattice's points."""


def extent(subject: Subject, *names: str, margin_mm: float = 0.0) -> Window | None:
    """Return the window that holds structures, found on every second voxel; None where there are none."""
    step = 2
    mask = chosen(subject.structure[::step, ::step, ::step], *names)
    low, high = [], []
    for axis, spacing in enumerate(subject.spacing_zyx_mm):
        others = tuple(a for a in range(3) if a != axis)
        held = mask.any(dim=others[1]).any(dim=others[0]).nonzero().flatten()
        if held.numel() == 0:
            return None
        low.append((int(held[0]) * step - 1) * spacing - margin_mm)
        high.append((int(held[-1]) * step + 1) * spacing + margin_mm)
    return subject.window(low, high)


def coarse_points(subject: Subject, *names: str) -> Float[Tensor, "n zyx"]:
    """Return positions of structures on every third voxel, in raster order."""
    mask = chosen(subject.structure[::COARSE, ::COARSE, ::COARSE], *names)
    steps = torch.tensor(subject.spacing_zyx_mm, device=subject.device) * COARSE
    return mask.nonzero() * steps


def picked(points: Float[Tensor, "n zyx"], place: float) -> Vector3:
    """Return the point at a share of a list."""
    z, y, x = points[min(len(points) - 1, int(place * len(points)))].tolist()
    return (z, y, x)


def middle(points: Float[Tensor, "n zyx"]) -> Vector3:
    """Return the mean of points."""
    z, y, x = points.mean(dim=0).tolist()
    return (z, y, x)


def centre_line(subject: Subject, *names: str) -> Float[Tensor, "n zyx"]:
    """Return the middle of structures in each slice that holds some, from below upwards."""
    window = extent(subject, *names)
    if window is None:
        return torch.zeros(0, 3, device=subject.device)
    mask = chosen(subject.structure[window], *names).float()
    z, y, x = subject.axes(window)
    area = mask.sum(dim=(1, 2))
    across, aside = ((mask * a).sum(dim=(1, 2)) / area.clamp(min=1) for a in (y, x))
    return torch.stack([z.flatten(), across, aside], dim=1)[area > 0]
