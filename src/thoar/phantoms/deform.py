"""Deformations of a patient: a pose, one organ's own shape, and a smooth rest, without folds.

Everything maps backwards: from a point of the picture to the point of the patient that is seen there. First
the pose (affine), then a displacement that lives on a coarse lattice over the patient.
"""

import msgspec
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn.functional import grid_sample

from thoar.core.geometry import Vector3
from thoar.phantoms.patient import LATTICE_MM, Patient
from thoar.phantoms.smooth import soft_noise, widely_blurred

LEAST_JACOBIAN = 0.25
"""Nowhere may the displacement shrink a volume further than to this part: it would near a fold."""
OBLIQUE_SHARE, OBLIQUE_DEG = 0.05, 30.0
"""So many patients lie turned about their long axis, by at most so much."""


class OrganShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one organ differs from the source's.

    Attributes:
        girth_mm: the surface moves outwards so far, on average.
        girth_spread_mm: and so much more or less from level to level.
        shift_spread_mm: the organ wanders sideways so far from level to level.
    """

    girth_mm: float
    girth_spread_mm: float
    shift_spread_mm: float


class Deformation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole deformation of a patient.

    Attributes:
        scale_xyz: size relative to the source.
        rotation_xyz_deg: turn about each axis.
        shear: of x by z, of y by z, of x by y.
        heart_scale: size of the heart alone, about its centre.
        heart_rotation_xyz_deg: turn of the heart alone.
        heart_shift_xyz_mm: move of the heart alone.
        organs: shapes of esophagus, heart, trachea, aorta; ``body`` is the fat under the skin. Other organs
            move with what is around them.
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


def draw_deformation(rng: np.random.Generator, *, strength: float = 1.0) -> Deformation:
    """Draw a deformation within what adults differ by.

    Args:
        rng: chance.
        strength: 1 where one anatomy is to become many; less where the source's anatomies differ already.
    """
    size, k = rng.uniform(0.9, 1.1), strength
    return Deformation(
        scale_xyz=_vector(np.clip(size * rng.uniform(0.9, 1.1, 3), 0.8, 1.2)),
        rotation_xyz_deg=_draw_turn(rng),
        shear=_vector(np.clip(rng.normal(0, 0.035, 3), -0.1, 0.1)),
        heart_scale=float(1.05 + k * rng.uniform(-0.18, 0.2)),
        heart_rotation_xyz_deg=_vector(rng.normal(0, 7 * k, 3)),
        heart_shift_xyz_mm=_vector(rng.normal(0, 4 * k, 3)),
        organs={
            "esophagus": _organ_shape(rng, girth=(-1.5 * k, 2.5 * k), spread=1.2 * k, shift=4.5 * k),
            "heart": _organ_shape(rng, girth=(-3.0 * k, 3.0 * k), spread=1.5 * k, shift=0.0),
            "trachea": _organ_shape(rng, girth=(-1.5 * k, 2.0 * k), spread=0.8 * k, shift=3.0 * k),
            "aorta": _organ_shape(rng, girth=(-2.5 * k, 4.0 * k), spread=1.5 * k, shift=3.5 * k),
            "body": _organ_shape(rng, girth=(-8.0 * k, 14.0 * k), spread=2.5 * k, shift=0.0),
        },
        elastic=(
            (120.0, float(rng.uniform(0, 6.0 * k))),
            (60.0, float(rng.uniform(0, 2.8 * k))),
            (32.0, float(rng.uniform(0, 1.1 * k))),
        ),
        seed=int(rng.integers(2**31)),
    )


def pose_matrix(deformation: Deformation) -> Float64[np.ndarray, "3 3"]:
    """Return the matrix from the picture's points to the patient's, (x, y, z), both from the middle."""
    xz, yz, xy = deformation.shear
    shear = np.array([[1.0, xy, xz], [0.0, 1.0, yz], [0.0, 0.0, 1.0]])
    forward = rotation(deformation.rotation_xyz_deg) @ shear @ np.diag(deformation.scale_xyz)
    return np.linalg.inv(forward)


def displacement_on_lattice(
    patient: Patient, deformation: Deformation
) -> Float32[Tensor, "xyz depth height width"]:
    """Return the displacement in millimetres at the lattice points of the patient.

    It is shrunk as a whole, where need be, until no volume falls below :data:`LEAST_JACOBIAN` of its own.
    """
    rng = np.random.default_rng(deformation.seed)
    points = _lattice_points(patient)
    total = _elastic(rng, points, deformation.elastic)
    total += _heart_move(patient, points, deformation)
    names = (*patient.label_set.names, "body")
    for name, share in zip(names, patient.lattice, strict=True):
        if name in deformation.organs:
            total += _organ_move(rng, share, deformation.organs[name])
    slope, shrunk = _slope(total), 1.0
    while _least_jacobian(shrunk * slope) < LEAST_JACOBIAN:
        shrunk *= 0.85
    return shrunk * total


def points_in_patient(
    patient: Patient, deformation: Deformation, points_xyz_mm: Float32[Tensor, "1 z y x 3"]
) -> Float32[Tensor, "1 z y x 3"]:
    """Return where in the patient the picture's points are seen, as shares of the way to the grid's faces."""
    half = torch.tensor(patient.half_xyz_mm, device=patient.device)
    pose = torch.from_numpy(pose_matrix(deformation).T.astype(np.float32)).to(patient.device)
    posed = points_xyz_mm @ pose
    lattice = displacement_on_lattice(patient, deformation)[None]
    moved = grid_sample(lattice, posed / half, padding_mode="border", align_corners=False)
    return (posed + moved.permute(0, 2, 3, 4, 1)) / half


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


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in values)
    return (x, y, z)


def _draw_turn(rng: np.random.Generator) -> Vector3:
    turn = np.clip(rng.normal(0, (3.5, 3.5, 4.5)), -10, 10)
    if rng.random() < OBLIQUE_SHARE:
        turn[2] = rng.uniform(-OBLIQUE_DEG, OBLIQUE_DEG)
    return _vector(turn)


def _organ_shape(
    rng: np.random.Generator, *, girth: tuple[float, float], spread: float, shift: float
) -> OrganShape:
    return OrganShape(
        girth_mm=float(rng.uniform(*girth)),
        girth_spread_mm=float(rng.uniform(0, spread)),
        shift_spread_mm=float(rng.uniform(0, shift)),
    )


def _lattice_points(patient: Patient) -> Tensor:
    """Return (x, y, z) in millimetres of the lattice's cells, shape (3, z, y, x)."""
    shape, half_zyx = patient.lattice.shape[1:], patient.half_xyz_mm[::-1]
    axes = [
        ((torch.arange(n, device=patient.device) + 0.5) / n * 2 - 1) * h
        for n, h in zip(shape, half_zyx, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z])


def _elastic(
    rng: np.random.Generator, points: Tensor, scales: tuple[tuple[float, float], ...]
) -> Float[Tensor, "3 z y x"]:
    total, shape = torch.zeros_like(points), tuple(points.shape)
    for wavelength_mm, rms_mm in scales:
        sigma = (wavelength_mm / 3 / LATTICE_MM,) * 3
        total += rms_mm * soft_noise(rng, shape, sigma_zyx=sigma, device=points.device)
    return total


def _heart_move(patient: Patient, points: Tensor, deformation: Deformation) -> Tensor:
    """Scale, turn and move the heart about its centre, fading out beyond it."""
    share = patient.lattice[patient.label_set.names.index("heart")]
    volume = share.sum().clamp(min=1e-6)
    centre = (points * share).sum((1, 2, 3)) / volume
    offset = points - centre[:, None, None, None]
    radius_mm = (volume * LATTICE_MM**3 * 3 / (4 * torch.pi)) ** (1 / 3) * 1.15
    fade = torch.exp(-0.5 * (offset.square().sum(0) / radius_mm**2) ** 1.5)
    turn = rotation(deformation.heart_rotation_xyz_deg).T / deformation.heart_scale - np.eye(3)
    turn = torch.from_numpy(turn.astype(np.float32)).to(points.device)
    shift = torch.tensor(deformation.heart_shift_xyz_mm, device=points.device)
    move = torch.einsum("ij,jzyx->izyx", turn, offset) - shift[:, None, None, None]
    return move * fade


def _organ_move(rng: np.random.Generator, share: Tensor, shape: OrganShape) -> Tensor:
    """Widen the organ along the slope of its blurred share, and let it wander sideways."""
    levels = share.shape[0]
    wide = soft_noise(rng, (3, levels, 1, 1), sigma_zyx=(40.0 / LATTICE_MM, 0, 0), device=share.device)
    if share.max() <= 0:
        return torch.zeros((3, *share.shape), device=share.device)
    dz, dy, dx = torch.gradient(widely_blurred(share, (1.2, 1.2, 1.2)))
    inward = torch.stack([dx, dy, dz])
    steep = torch.topk(inward.norm(dim=0).flatten(), max(1, share.numel() // 1000)).values[-1]
    move = inward / steep.clamp(min=1e-6) * (shape.girth_mm + shape.girth_spread_mm * wide[0])
    near = widely_blurred(share, (2.0, 2.0, 2.0))
    move[:2] += shape.shift_spread_mm * wide[1:] * (near / near.max())
    return move


def _slope(displacement: Tensor) -> Tensor:
    """Return the displacement's gradient, (component, axis, z, y, x), both in the order x, y, z."""
    rows = [torch.stack(torch.gradient(part, spacing=LATTICE_MM)[::-1]) for part in displacement]
    return torch.stack(rows)


def _least_jacobian(slope: Tensor) -> float:
    """Return the least determinant of one plus the displacement's gradient."""
    a, b, c = slope + torch.eye(3, device=slope.device)[:, :, None, None, None]
    return float((torch.linalg.cross(a, b, dim=0) * c).sum(dim=0).min())
