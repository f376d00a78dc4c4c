"""A parametric chest: any number of patients who never lived, with exact labels.

Everything lies in the patient's own frame (``anatomy``), is seen through a pose and a smooth deformation,
painted with soft edges (``chest``), and then scanned (``scanner``). The trachea's label ends just past the
carina: it takes in the first centimetre of either main bronchus. The aorta's runs from its root to the
field's end, without its branches. The heart's holds chambers and muscle, and no vessel.
"""

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn.functional import interpolate

from thoar.core.geometry import Geometry, Vector3
from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.chest import paint_chest
from thoar.phantoms.deform import rotation
from thoar.phantoms.lungs import breathe
from thoar.phantoms.scanner import AIR_HU, scanned
from thoar.phantoms.shapes import Canvas, Points
from thoar.phantoms.smooth import unit_noise
from thoar.phantoms.thorax_parameters import ThoraxParameters, draw_thorax

__all__ = ["ThoraxParameters", "draw_thorax", "make_thorax"]

LATTICE_MM = 10.0
"""Spacing of the lattice of the smooth deformation."""


def make_thorax(parameters: ThoraxParameters, *, spacing_zyx_mm: Vector3) -> tuple[Volume, LabelVolume]:
    """Make one chest, int16 Hounsfield units and exact labels, on an axial grid of the spacing given."""
    z, y, x = (max(8, round(n / s)) for n, s in zip(parameters.field_zyx_mm, spacing_zyx_mm, strict=True))
    origin = (-(x - 1) / 2 * spacing_zyx_mm[2], -(y - 1) / 2 * spacing_zyx_mm[1], 0.0)
    grid = Geometry.axial((z, y, x), spacing_zyx_mm, origin_xyz_mm=origin)
    points = _patient_points(grid, parameters)
    canvas = Canvas.blank((z, y, x), hu=AIR_HU, edge_mm=float(np.mean(spacing_zyx_mm)))
    shares = paint_chest(canvas, points, parameters)
    hu = breathe(
        torch.from_numpy(canvas.hu),
        torch.from_numpy(shares.lung),
        parameters.lungs,
        spacing_zyx_mm=spacing_zyx_mm,
    )
    hu = scanned(hu, torch.from_numpy(shares.body), parameters.scanner, spacing_zyx_mm=spacing_zyx_mm)
    return (
        Volume(voxels=hu.round().to(torch.int16).numpy(), geometry=grid),
        LabelVolume(voxels=canvas.label, geometry=grid, label_set=SEGTHOR),
    )


def _patient_points(grid: Geometry, parameters: ThoraxParameters) -> Points:
    """Return where in the patient's frame each voxel lies."""
    body = parameters.body
    dz, dy, dx = grid.spacing_zyx_mm
    nz, ny, nx = grid.shape_zyx
    axes = (np.arange(nz) * dz, (np.arange(ny) - (ny - 1) / 2) * dy, (np.arange(nx) - (nx - 1) / 2) * dx)
    z, y, x = np.meshgrid(*(a.astype(np.float32) for a in axes), indexing="ij")
    middle = np.array([0.0, 0.0, 150.0])
    forward = rotation(body.rotation_xyz_deg) @ np.diag(body.scale_xyz)
    back = np.linalg.inv(forward).astype(np.float32)
    start = (middle - back @ (middle + body.shift_xyz_mm)).astype(np.float32)
    points = np.einsum("ij,jzyx->izyx", back, np.stack([x, y, z])) + start[:, None, None, None]
    return points + _unevenness(grid, parameters)


def _unevenness(grid: Geometry, parameters: ThoraxParameters) -> Float32[np.ndarray, "xyz z y x"]:
    rng = rng_for(parameters.seed, "unevenness")
    shape = [
        max(4, round(n * s / LATTICE_MM)) for n, s in zip(grid.shape_zyx, grid.spacing_zyx_mm, strict=True)
    ]
    rms = parameters.body.unevenness_mm
    fields = [rms * unit_noise(rng, tuple(shape), sigma=3.5) for _ in range(3)]
    wide = interpolate(torch.from_numpy(np.stack(fields))[None], size=grid.shape_zyx, mode="trilinear")
    return wide[0].numpy()
