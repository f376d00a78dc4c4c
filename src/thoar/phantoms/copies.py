"""Deformed and re-contrasted copies of one labelled real CT: one patient becomes many.

A copy has another pose, build, organ shapes, contrast phase, esophageal content, lungs and scanner than the
scan it is made from, so that a network trained on copies has to learn the organs and not the scan.
"""

import msgspec
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import grid_sample

from thoar.core.geometry import Geometry, Vector3
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.contrast import GROUPS, Contrast, draw_contrast
from thoar.phantoms.deform import Deformation, draw_deformation, points_in_scan, pose_matrix
from thoar.phantoms.esophagus import Esophagus, draw_esophagus, openness
from thoar.phantoms.labelled_scan import LabelledScan
from thoar.phantoms.lungs import Lungs, breathe, draw_lungs
from thoar.phantoms.scanner import AIR_HU, Scanner, draw_scanner, scanned
from thoar.phantoms.smooth import blurred

MARGIN_MM = 18.0
"""Air kept around the patient in front, behind and at the sides, unless the field is cut."""


class Calcium(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Chalk in the aorta's wall.

    Attributes:
        share: share of the wall that holds it.
        hu: what the densest spots have above blood.
        seed: of where.
    """

    share: float
    hu: float
    seed: int


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the patient is in view.

    Attributes:
        cut_below_mm: taken from the scan's lower end.
        cut_above_mm: taken from its upper end.
        width_mm: of the reconstructed circle; what lies outside is padding.
        padding_hu: the value there.
        keep_couch: whether the scan's own couch stays.
    """

    cut_below_mm: float
    cut_above_mm: float
    width_mm: float
    padding_hu: float
    keep_couch: bool


class CopyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes one copy; the same parameters give the same copy."""

    deformation: Deformation
    contrast: Contrast
    esophagus: Esophagus
    calcium: Calcium
    lungs: Lungs
    scanner: Scanner
    field: Field


def draw_copy(rng: np.random.Generator) -> CopyParameters:
    """Draw the parameters of one copy."""
    return CopyParameters(
        deformation=draw_deformation(rng),
        contrast=draw_contrast(rng),
        esophagus=draw_esophagus(rng),
        calcium=_draw_calcium(rng),
        lungs=draw_lungs(rng),
        scanner=draw_scanner(rng),
        field=_draw_field(rng),
    )


def make_copy(
    scan: LabelledScan, parameters: CopyParameters, *, spacing_zyx_mm: Vector3
) -> tuple[Volume, LabelVolume]:
    """Make one copy, int16 Hounsfield units and exact labels, on an axial grid of the spacing given.

    A voxel belongs to an organ where the organ fills at least half of it.
    """
    seen = _recontrasted(scan, parameters)
    channels = torch.cat([seen[None] - AIR_HU, scan.lung[None], scan.body[None], scan.organs])
    points, where = _view(scan, parameters, spacing_zyx_mm)
    sampled = grid_sample(channels[None], where, align_corners=False)[0]
    hu, lung, body, organs = sampled[0] + AIR_HU, sampled[1], sampled[2], sampled[3:]
    hu = _with_calcium(hu, organs[scan.label_set.names.index("aorta")], parameters.calcium)
    hu = breathe(hu, lung, parameters.lungs, spacing_zyx_mm=spacing_zyx_mm)
    hu = scanned(hu, body, parameters.scanner, spacing_zyx_mm=spacing_zyx_mm)
    hu = _in_circle(hu, points, parameters.field)
    z, y, x = hu.shape
    first = points[0, 0, 0, 0].tolist()
    grid = Geometry.axial((z, y, x), spacing_zyx_mm, origin_xyz_mm=(first[0], first[1], first[2]))
    labels = _labels(organs, scan)
    return (
        Volume(voxels=hu.round().to(torch.int16).numpy(), geometry=grid),
        LabelVolume(voxels=labels, geometry=grid, label_set=scan.label_set),
    )


def _draw_calcium(rng: np.random.Generator) -> Calcium:
    old = bool(rng.random() < 0.4)  # noqa: PLR2004 (a share)
    return Calcium(
        share=float(rng.uniform(0.005, 0.08)) if old else 0.0,
        hu=float(rng.uniform(150, 1000)),
        seed=int(rng.integers(2**31)),
    )


def _draw_field(rng: np.random.Generator) -> Field:
    cut = rng.random(3) < (0.6, 0.4, 0.2)
    return Field(
        cut_below_mm=float(rng.uniform(0, 130)) * bool(cut[0]),
        cut_above_mm=float(rng.uniform(0, 40)) * bool(cut[1]),
        width_mm=float(rng.uniform(280, 380)) if cut[2] else 600.0,
        padding_hu=float(rng.choice((-1024, -1000, -2000, -3024))),
        keep_couch=bool(rng.random() < 0.2),  # noqa: PLR2004 (a share)
    )


def _recontrasted(scan: LabelledScan, parameters: CopyParameters) -> Float32[Tensor, "z y x"]:
    """Return the scan's values under another contrast phase and esophageal content, couch gone or not."""
    contrast = parameters.contrast
    hu = scan.hu if parameters.field.keep_couch else AIR_HU + (scan.hu - AIR_HU) * scan.body
    base, span, slope = _per_group(scan, contrast)
    group = scan.group.long()
    above = (hu - base[group]).clamp(min=0)
    span_here = span[group]
    slope_here = blurred(slope[group] + _right_heart(scan, contrast), (0.4, 0.8, 0.8))
    within = torch.minimum(above, span_here)
    rest = above - within
    kept = slope_here.clamp(0.03, 1)
    noise = _lost_noise(scan, parameters) * (1 - kept) * within / span_here.clamp(min=1)
    out = hu - above + slope_here * within + kept * rest + noise
    return _with_content(out, scan, parameters.esophagus)


def _per_group(scan: LabelledScan, contrast: Contrast) -> tuple[Tensor, Tensor, Tensor]:
    """Return each group's base, enhancement in the scan, and the slope that turns it into the copy's."""
    base, span, slope = [0.0], [1.0], [1.0]
    for name, tissue in GROUPS.items():
        full = scan.full_hu[name]
        base.append(tissue.base_hu)
        span.append(full - tissue.base_hu)
        target = contrast.target_hu.get(name)
        slope.append(contrast.bone_gain if target is None else (target - tissue.base_hu) / span[-1])
    return torch.tensor(base), torch.tensor(span), torch.tensor(slope)


def _right_heart(scan: LabelledScan, contrast: Contrast) -> Tensor:
    """Return what to add to the heart's slope towards its right and front."""
    index = list(GROUPS).index("heart")
    heart = scan.group == index + 1
    middle = [float(axis.float().mean()) for axis in heart.nonzero(as_tuple=True)]
    _, dy, dx = scan.spacing_zyx_mm
    y = (torch.arange(heart.shape[1]) - middle[1])[:, None] * dy
    x = (torch.arange(heart.shape[2]) - middle[2])[None, :] * dx
    right = torch.sigmoid((-0.5 * x - 0.85 * y) / 8) - 0.5
    span = scan.full_hu["heart"] - GROUPS["heart"].base_hu
    return heart * (right * contrast.right_heart_hu / span)


def _lost_noise(scan: LabelledScan, parameters: CopyParameters) -> Tensor:
    """Return noise like the scan's own, for where squeezing took it away."""
    rng = np.random.default_rng((parameters.scanner.seed, 1))
    return torch.from_numpy(rng.standard_normal(tuple(scan.hu.shape), dtype=np.float32)) * scan.noise_hu


def _with_content(hu: Tensor, scan: LabelledScan, esophagus: Esophagus) -> Tensor:
    """Fill the esophagus with wall, and with content where it is open."""
    inside = blurred(scan.organs[0], (0.3, 0.5, 0.5))
    opened = torch.from_numpy(openness(esophagus, hu.shape[0], step_mm=scan.spacing_zyx_mm[0]))[:, None, None]
    lumen = ((scan.depth_mm - esophagus.wall_mm) / 1.5 + 0.5).clamp(0, 1) * opened
    solid = torch.where(hu < -20, esophagus.wall_hu + 0.1 * (hu + 20).clamp(min=-200), hu)  # noqa: PLR2004
    deep = (scan.depth_mm / 4).clamp(0, 1)
    hu = hu + inside * deep * (solid - hu)
    return hu + lumen * (esophagus.content_hu - hu)


def _with_calcium(hu: Tensor, aorta: Tensor, calcium: Calcium) -> Tensor:
    """Put lumps of chalk where the aorta's share says that its wall is."""
    if calcium.share == 0:
        return hu
    rng = np.random.default_rng(calcium.seed)
    noise = blurred(torch.from_numpy(rng.standard_normal(tuple(hu.shape), dtype=np.float32)), (1.0, 1.0, 1.0))
    wall = 4 * aorta * (1 - aorta)
    inside = noise[wall > 0.3]  # noqa: PLR2004 (about a voxel's depth)
    if inside.numel() == 0:
        return hu
    edge = float(torch.quantile(inside[:: 1 + inside.numel() // 10**6], 1 - calcium.share))
    return hu + calcium.hu * wall * ((noise - edge) / noise.std() * 2 + 0.5).clamp(0, 1)


def _view(scan: LabelledScan, parameters: CopyParameters, spacing_zyx_mm: Vector3) -> tuple[Tensor, Tensor]:
    """Return the copy's grid points in millimetres, and where in the scan each is seen.

    The grid holds the patient plus a margin; slices that would look far beyond the scan's ends are left out.
    """
    low, high = _extent_xyz_mm(scan, parameters)
    axes = [
        torch.arange(int((b - a) / s) + 1, dtype=torch.float32) * s + a
        for a, b, s in zip(low[::-1], high[::-1], spacing_zyx_mm, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([x, y, z], dim=-1)[None]
    where = points_in_scan(scan, parameters.deformation, points)
    beyond = (where[0, :, ::4, ::4, 2].abs() > 1).float().mean(dim=(1, 2))
    kept = (beyond < 0.2).nonzero()[:, 0]  # noqa: PLR2004 (a tilted end slice may lack a corner)
    kept = slice(int(kept[0]), int(kept[-1]) + 1)
    where = where[:, kept].contiguous()
    last = 1 - 1 / scan.hu.shape[0]
    where[..., 2].clamp_(-last, last)
    return points[:, kept], where


def _extent_xyz_mm(scan: LabelledScan, parameters: CopyParameters) -> tuple[list[float], list[float]]:
    """Return the corners of the patient's box in the copy, cut to the field."""
    field = parameters.field
    inside = torch.from_numpy(scan.lattice_organs[-1]) > 0.3  # noqa: PLR2004 (a cell at the skin)
    forward = np.linalg.inv(pose_matrix(parameters.deformation))
    index = inside.nonzero().double().numpy()[:, ::-1]
    cells = np.array(inside.shape[::-1])
    points = ((index + 0.5) / cells * 2 - 1) * np.array(scan.half_xyz_mm)
    placed = points @ forward.T
    low, high = placed.min(axis=0) - MARGIN_MM, placed.max(axis=0) + MARGIN_MM
    half_z = scan.half_xyz_mm[2] * forward[2, 2]
    low[2], high[2] = -half_z + field.cut_below_mm, half_z - field.cut_above_mm
    middle = (low + high) / 2
    for axis in (0, 1):
        low[axis] = max(low[axis], middle[axis] - field.width_mm / 2)
        high[axis] = min(high[axis], middle[axis] + field.width_mm / 2)
    return low.tolist(), high.tolist()


def _in_circle(hu: Tensor, points: Tensor, field: Field) -> Tensor:
    """Return the values with padding outside the reconstructed circle."""
    flat = points[0, 0, :, :, :2]
    middle = (flat[0, 0] + flat[-1, -1]) / 2
    outside = ((flat - middle) ** 2).sum(-1) > (field.width_mm / 2) ** 2
    return torch.where(outside, torch.tensor(field.padding_hu), hu)


def _labels(organs: Tensor, scan: LabelledScan) -> np.ndarray:
    share, which = organs.max(dim=0)
    ids = torch.tensor([0, *(organ.id for organ in scan.label_set.organs)], dtype=torch.uint8)
    return ids[(which + 1) * (share >= 0.5)].numpy()  # noqa: PLR2004 (half a voxel)
