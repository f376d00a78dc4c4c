"""Patients made from one labelled real CT: another contrast phase, other esophageal content, chalk, lungs.

Deformed and scanned anew, one patient becomes many, so that a network trained on them has to learn the organs
and not the scan.
"""

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thoar.phantoms.contrast import GROUPS, Contrast, draw_contrast
from thoar.phantoms.copies.labelled_scan import LabelledScan
from thoar.phantoms.copies.lungs import Lungs, breathe, draw_lungs
from thoar.phantoms.esophagus import Esophagus, draw_esophagus, openness
from thoar.phantoms.patient import AIR_HU, Patient
from thoar.phantoms.smooth import blurred


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


class CopyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes another patient of a scan.

    Attributes:
        contrast: phase, and the tissues' values under it.
        esophagus: what it holds.
        calcium: in the aorta's wall.
        lungs: their state.
        keep_couch: whether the scan's own couch stays.
        seed: of the chance that replaces noise which squeezing took away.
    """

    contrast: Contrast
    esophagus: Esophagus
    calcium: Calcium
    lungs: Lungs
    keep_couch: bool
    seed: int


def draw_copy(rng: np.random.Generator) -> CopyParameters:
    """Draw the parameters of one copy."""
    return CopyParameters(
        contrast=draw_contrast(rng),
        esophagus=draw_esophagus(rng),
        calcium=_draw_calcium(rng),
        lungs=draw_lungs(rng),
        keep_couch=bool(rng.random() < 0.2),  # noqa: PLR2004 (a share)
        seed=int(rng.integers(2**31)),
    )


def copied(scan: LabelledScan, parameters: CopyParameters) -> Patient:
    """Return the patient that parameters make of a scan, with the scan's own pose, shape and labels."""
    hu = _recontrasted(scan, parameters)
    hu = _with_calcium(hu, scan.organs[scan.label_set.names.index("aorta")], parameters.calcium)
    hu = breathe(hu, scan.lung, parameters.lungs, spacing_zyx_mm=scan.spacing_zyx_mm)
    return Patient(
        hu=hu,
        organs=scan.organs,
        body=scan.body,
        lattice=scan.lattice,
        spacing_zyx_mm=scan.spacing_zyx_mm,
        label_set=scan.label_set,
    )


def _draw_calcium(rng: np.random.Generator) -> Calcium:
    old = bool(rng.random() < 0.4)  # noqa: PLR2004 (a share)
    return Calcium(
        share=float(rng.uniform(0.005, 0.08)) if old else 0.0,
        hu=float(rng.uniform(150, 1000)),
        seed=int(rng.integers(2**31)),
    )


def _recontrasted(scan: LabelledScan, parameters: CopyParameters) -> Float[Tensor, "z y x"]:
    """Return the scan's values under another contrast phase and esophageal content, couch gone or not."""
    contrast = parameters.contrast
    hu = scan.hu if parameters.keep_couch else AIR_HU + (scan.hu - AIR_HU) * scan.body
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
    base, span, slope = torch.tensor([base, span, slope], device=scan.hu.device)
    return base, span, slope


def _right_heart(scan: LabelledScan, contrast: Contrast) -> Tensor:
    """Return what to add to the heart's slope towards its right and front."""
    index = list(GROUPS).index("heart")
    heart = scan.group == index + 1
    middle = [float(axis.float().mean()) for axis in heart.nonzero(as_tuple=True)]
    _, dy, dx = scan.spacing_zyx_mm
    y = (torch.arange(heart.shape[1], device=heart.device) - middle[1])[:, None] * dy
    x = (torch.arange(heart.shape[2], device=heart.device) - middle[2])[None, :] * dx
    right = torch.sigmoid((-0.5 * x - 0.85 * y) / 8) - 0.5
    span = scan.full_hu["heart"] - GROUPS["heart"].base_hu
    return heart * (right * contrast.right_heart_hu / span)


def _lost_noise(scan: LabelledScan, parameters: CopyParameters) -> Tensor:
    """Return noise like the scan's own, for where squeezing took it away."""
    return _chance(scan.hu, parameters.seed) * scan.noise_hu


def _chance(like: Tensor, seed: int) -> Tensor:
    """Return white noise of unit strength on the device, the same for the same seed."""
    generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device)


def _with_content(hu: Tensor, scan: LabelledScan, esophagus: Esophagus) -> Tensor:
    """Fill the esophagus with wall, and with content where it is open."""
    inside = blurred(scan.organs[0], (0.3, 0.5, 0.5))
    opened = torch.from_numpy(openness(esophagus, hu.shape[0], step_mm=scan.spacing_zyx_mm[0]))
    opened = opened.to(hu.device)[:, None, None]
    lumen = ((scan.depth_mm - esophagus.wall_mm) / 1.5 + 0.5).clamp(0, 1) * opened
    solid = torch.where(hu < -20, esophagus.wall_hu + 0.1 * (hu + 20).clamp(min=-200), hu)  # noqa: PLR2004
    deep = (scan.depth_mm / 4).clamp(0, 1)
    hu = hu + inside * deep * (solid - hu)
    return hu + lumen * (esophagus.content_hu - hu)


def _with_calcium(hu: Tensor, aorta: Tensor, calcium: Calcium) -> Tensor:
    """Put lumps of chalk where the aorta's share says that its wall is."""
    if calcium.share == 0:
        return hu
    noise = blurred(_chance(hu, calcium.seed), (1.0, 1.0, 1.0))
    soft = blurred(aorta, (0.4, 0.6, 0.6))
    wall = 4 * soft * (1 - soft)
    inside = noise[wall > 0.3]  # noqa: PLR2004 (about a voxel's depth)
    if inside.numel() == 0:
        return hu
    edge = float(torch.quantile(inside[:: 1 + inside.numel() // 10**6], 1 - calcium.share))
    return hu + calcium.hu * wall * ((noise - edge) / noise.std() * 2 + 0.5).clamp(0, 1)
