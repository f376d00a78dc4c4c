"""Thin things along lines: tubes, leads, wires."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from thoar.phantoms.pathology.subject import Subject
from thoar.phantoms.structures import IDS, chosen


def smooth_line(points_zyx_mm: Sequence[Sequence[float]], *, step_mm: float) -> np.ndarray:
    """Return points close together on a natural cubic spline through a few."""
    knots = np.asarray(points_zyx_mm, dtype=np.float64)
    steps = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    knots = knots[np.concatenate([[True], steps > 1e-6])]  # noqa: PLR2004 (the same point twice)
    if len(knots) < 2:  # noqa: PLR2004
        return knots
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step_mm)))
    return np.asarray(CubicSpline(length, knots, bc_type="natural")(at))


def ball_line(
    subject: Subject,
    points_zyx_mm: Sequence[Sequence[float]],
    radius_mm: float,
    *,
    name: str,
    only: Sequence[str],
) -> None:
    """Draw a line of a radius, at least one voxel thin, in what may be replaced."""
    index = _voxels(subject, smooth_line(points_zyx_mm, step_mm=0.7), radius_mm)
    flat = subject.structure.view(-1)
    held = chosen(flat[index], *only)
    flat[index[held]] = IDS[name]


def _voxels(subject: Subject, line: np.ndarray, radius_mm: float) -> torch.Tensor:
    spacing = torch.tensor(subject.spacing_zyx_mm, dtype=torch.float32, device=subject.device)
    centres = torch.as_tensor(line, dtype=torch.float32, device=subject.device)
    reach = [int(radius_mm / s) + 1 for s in subject.spacing_zyx_mm]
    spans = [torch.arange(-r, r + 1, device=subject.device) for r in reach]
    offsets = torch.stack([o.flatten() for o in torch.meshgrid(*spans, indexing="ij")], dim=1)
    nearest = (centres / spacing).round()
    voxels = nearest[:, None] + offsets
    away = (voxels * spacing - centres[:, None]).norm(dim=2)
    inside = (away < radius_mm) | (offsets == 0).all(dim=1)
    size = torch.tensor(subject.structure.shape, device=subject.device)
    found = voxels[inside].long()
    found = found[((found >= 0) & (found < size)).all(dim=1)]
    return (found[:, 0] * size[1] + found[:, 1]) * size[2] + found[:, 2]
