"""Deformations of a labelled scan: a pose, one organ's own shape, and a smooth rest, without folds.

Everything maps backwards: from a point of the copy to the point of the scan that is seen there. First the
pose (affine), then a displacement that lives on a coarse lattice over the scan.
"""

import msgspec
import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

from thoar.core.geometry import Vector3
from thoar.phantoms.labelled_scan import LATTICE_MM, LabelledScan
from thoar.phantoms.smooth import unit_noise

LEAST_JACOBIAN = 0.25
"""Nowhere may the displacement shrink a volume further than to this part: it would near a fold."""


class OrganShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one organ differs from the scan's.

    Attributes:
        girth_mm: the surface moves outwards so far, on average.
        girth_spread_mm: and so much more or less from level to level.
        shift_spread_mm: the organ wanders sideways so far from level to level.
    """

    girth_mm: float
    girth_spread_mm: float
    shift_spread_mm: float


class Deformation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole deformation of a copy.

    Attributes:
        scale_xyz: size of the copy relative to the scan.
        rotation_xyz_deg: turn about each axis.
        shear: of x by z, of y by z, of x by y.
        heart_scale: size of the heart alone, about its centre.
        heart_rotation_xyz_deg: turn of the heart alone.
        heart_shift_xyz_mm: move of the heart alone.
        organs: shapes of esophagus, heart, trachea, aorta; ``body`` is the fat under the skin.
        elastic: (wavelength, root mean square) in millimetres of each smooth random displacement.
        seed: of the smooth fields.
    """

    scale_xyz: Vector3
    rotation_xyz_deg: Vector3
    shear: Vector3
    heart_scale: float
    heart_rotation_xyz_deg: Vector3
    heart_shift_xyz_mm: Vector3
    organs: dict[str, OrganShape]
    elastic: tuple[tuple[float, float], ...]
    seed: int


def draw_deformation(rng: np.random.Generator) -> Deformation:
    """Draw a deformation within what adults differ by."""
    size = rng.uniform(0.9, 1.1)
    return Deformation(
        scale_xyz=_vector(np.clip(size * rng.uniform(0.9, 1.1, 3), 0.8, 1.2)),
        rotation_xyz_deg=_vector(np.clip(rng.normal(0, (3.5, 3.5, 4.5)), -10, 10)),
        shear=_vector(np.clip(rng.normal(0, 0.035, 3), -0.1, 0.1)),
        heart_scale=float(rng.uniform(0.88, 1.25)),
        heart_rotation_xyz_deg=_vector(rng.normal(0, 7, 3)),
        heart_shift_xyz_mm=_vector(rng.normal(0, 4, 3)),
        organs={
            "esophagus": _organ_shape(rng, girth=(-1.5, 2.5), spread=1.2, shift=4.5),
            "heart": _organ_shape(rng, girth=(-3.0, 3.0), spread=1.5, shift=0.0),
            "trachea": _organ_shape(rng, girth=(-1.5, 2.0), spread=0.8, shift=3.0),
            "aorta": _organ_shape(rng, girth=(-2.5, 4.0), spread=1.5, shift=3.5),
            "body": _organ_shape(rng, girth=(-8.0, 14.0), spread=2.5, shift=0.0),
        },
        elastic=(
            (120.0, float(rng.uniform(0, 6.0))),
            (60.0, float(rng.uniform(0, 2.8))),
            (32.0, float(rng.uniform(0, 1.1))),
        ),
        seed=int(rng.integers(2**31)),
    )


def pose_matrix(deformation: Deformation) -> Float64[np.ndarray, "3 3"]:
    """Return the matrix from the copy's points to the scan's, (x, y, z), both from the middle."""
    xz, yz, xy = deformation.shear
    shear = np.array([[1.0, xy, xz], [0.0, 1.0, yz], [0.0, 0.0, 1.0]])
    forward = rotation(deformation.rotation_xyz_deg) @ shear @ np.diag(deformation.scale_xyz)
    return np.linalg.inv(forward)


def displacement_on_lattice(
    scan: LabelledScan, deformation: Deformation
) -> Float32[np.ndarray, "xyz depth height width"]:
    """Return the displacement in millimetres at the lattice points of the scan.

    It is shrunk as a whole, where need be, until no volume falls below :data:`LEAST_JACOBIAN` of its own.
    """
    rng = np.random.default_rng(deformation.seed)
    points = _lattice_points(scan)
    total = _elastic(rng, points.shape[1:], deformation.elastic)
    total += _heart_move(scan, points, deformation)
    names = (*scan.label_set.names, "body")
    for name, share in zip(names, scan.lattice_organs, strict=True):
        total += _organ_move(rng, share, deformation.organs[name])
    while _least_jacobian(total) < LEAST_JACOBIAN:
        total *= 0.85
    return total


def points_in_scan(
    scan: LabelledScan, deformation: Deformation, points_xyz_mm: Float32[Tensor, "1 z y x 3"]
) -> Float32[Tensor, "1 z y x 3"]:
    """Return where in the scan the copy's points are seen, as shares of the way to the scan's faces."""
    half = torch.tensor(scan.half_xyz_mm)
    posed = points_xyz_mm @ torch.from_numpy(pose_matrix(deformation).T.astype(np.float32))
    lattice = torch.from_numpy(displacement_on_lattice(scan, deformation))[None]
    moved = grid_sample(lattice, posed / half, padding_mode="border", align_corners=False)
    return (posed + moved.permute(0, 2, 3, 4, 1)) / half


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in values)
    return (x, y, z)


def _organ_shape(
    rng: np.random.Generator, *, girth: tuple[float, float], spread: float, shift: float
) -> OrganShape:
    return OrganShape(
        girth_mm=float(rng.uniform(*girth)),
        girth_spread_mm=float(rng.uniform(0, spread)),
        shift_spread_mm=float(rng.uniform(0, shift)),
    )


def rotation(angles_xyz_deg: Vector3) -> Float64[np.ndarray, "3 3"]:
    """Return the turn about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_xyz_deg)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[j, i], one[i, j] = np.sin(angle), -np.sin(angle)
        turn = one @ turn
    return turn


def _lattice_points(scan: LabelledScan) -> np.ndarray:
    """Return (x, y, z) in millimetres of the lattice's cells, shape (3, z, y, x)."""
    shape, half_zyx = scan.lattice_organs.shape[1:], scan.half_xyz_mm[::-1]
    axes = [((np.arange(n) + 0.5) / n * 2 - 1) * h for n, h in zip(shape, half_zyx, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y, z]).astype(np.float32)


def _elastic(
    rng: np.random.Generator, shape: tuple[int, ...], scales: tuple[tuple[float, float], ...]
) -> np.ndarray:
    total = np.zeros((3, *shape), dtype=np.float32)
    for wavelength_mm, rms_mm in scales:
        for axis in range(3):
            total[axis] += rms_mm * unit_noise(rng, shape, sigma=wavelength_mm / 3 / LATTICE_MM)
    return total


def _heart_move(scan: LabelledScan, points: np.ndarray, deformation: Deformation) -> np.ndarray:
    """Scale, turn and move the heart about its centre, fading out beyond it."""
    share = scan.lattice_organs[scan.label_set.names.index("heart")]
    centre = (points * share).sum((1, 2, 3)) / max(float(share.sum()), 1e-6)
    offset = points - centre[:, None, None, None]
    radius_mm = (share.sum() * LATTICE_MM**3 * 3 / (4 * np.pi)) ** (1 / 3) * 1.15
    fade = np.exp(-0.5 * ((offset**2).sum(0) / radius_mm**2) ** 1.5)
    turn = rotation(deformation.heart_rotation_xyz_deg).T / deformation.heart_scale - np.eye(3)
    move = np.einsum("ij,jzyx->izyx", turn, offset) - np.reshape(deformation.heart_shift_xyz_mm, (3, 1, 1, 1))
    return (move * fade).astype(np.float32)


def _organ_move(rng: np.random.Generator, share: np.ndarray, shape: OrganShape) -> np.ndarray:
    """Widen the organ along the slope of its blurred share, and let it wander sideways."""
    soft = ndimage.gaussian_filter(share, 1.2)
    dz, dy, dx = np.gradient(soft)
    inward = np.stack([dx, dy, dz])
    inward /= max(float(np.percentile(np.linalg.norm(inward, axis=0), 99.9)), 1e-6)
    levels = share.shape[0]
    wide = unit_noise(rng, (3, levels), sigma=(0.0, 40.0 / LATTICE_MM))
    girth = shape.girth_mm + shape.girth_spread_mm * wide[0]
    move = inward * girth[:, None, None]
    near = ndimage.gaussian_filter(share, 2.0)
    near /= max(float(near.max()), 1e-6)
    for axis in (0, 1):
        move[axis] += shape.shift_spread_mm * wide[1 + axis][:, None, None] * near
    return move.astype(np.float32)


def _least_jacobian(displacement: np.ndarray) -> float:
    """Return the least determinant of one plus the displacement's gradient."""
    rows = [np.gradient(component, LATTICE_MM) for component in displacement]
    matrix = np.stack([np.stack(row[::-1], axis=-1) for row in rows], axis=-2) + np.eye(3, dtype=np.float32)
    return float(np.linalg.det(matrix).min())
