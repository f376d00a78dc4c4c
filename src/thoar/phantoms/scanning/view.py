"""A patient, posed and deformed, under a scanner: the picture and its exact labels."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from thoar.core.geometry import Geometry, Vector3
from thoar.core.labels import LabelSet
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.deform import Deformation, points_in_patient
from thoar.phantoms.patient import AIR_HU, Patient
from thoar.phantoms.posture import Posture
from thoar.phantoms.scanning.field import Extent, Field, extent_of, in_circle, outside_circle
from thoar.phantoms.scanning.scanner import Scanner, scanned

HALF = 0.5
FEWEST = 4
"""No picture has fewer voxels along an axis."""


def scan_patient(
    patient: Patient,
    *,
    deformation: Deformation,
    field: Field,
    scanner: Scanner,
    posture: Posture,
    spacing_zyx_mm: Vector3,
    label_set: LabelSet | None = None,
) -> tuple[Volume, LabelVolume]:
    """Return one scan, int16 Hounsfield units and labels, on an axial grid of the spacing given.

    A voxel belongs to an organ where the organ fills at least half of it, whatever the scanner makes of it;
    but none does outside the reconstructed circle. Labels are of ``label_set``, some of the patient's organs,
    or of all of these.
    """
    extent = extent_of(patient, deformation, field)
    x, y, z, where = _look(patient, deformation, extent, spacing_zyx_mm)
    hu, body = (_seen(part[None], where)[0] for part in (patient.hu - AIR_HU, patient.body))
    organs = _seen(patient.organs, where)
    heart = organs[patient.label_set.names.index("heart")]
    hu = scanned(hu + AIR_HU, body, heart, scanner, posture=posture, spacing_zyx_mm=spacing_zyx_mm)
    from_middle = (x - extent.middle_xy_mm[0], y - extent.middle_xy_mm[1])
    hu = in_circle(hu, body, field, from_middle_xy_mm=from_middle)
    wanted = label_set or patient.label_set
    unseen = outside_circle(field, from_middle_xy_mm=from_middle)
    labels = _labels(organs, patient.label_set, wanted).masked_fill(unseen, 0)
    grid = Geometry.axial(
        (len(z), len(y), len(x)), spacing_zyx_mm, origin_xyz_mm=(float(x[0]), float(y[0]), float(z[0]))
    )
    return (
        Volume(voxels=hu.to(torch.int16).cpu().numpy(), geometry=grid),
        LabelVolume(voxels=labels.cpu().numpy(), geometry=grid, label_set=wanted),
    )


def _look(
    patient: Patient, deformation: Deformation, extent: Extent, spacing_zyx_mm: Vector3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the picture's x, y and z in millimetres, and where in the patient each voxel is seen.

    Slices that would look far beyond the patient's ends are left out.
    """
    x, y, z = (
        torch.arange(max(FEWEST, int((b - a) / s) + 1), dtype=torch.float32, device=patient.device) * s + a
        for a, b, s in zip(extent.low_xyz_mm, extent.high_xyz_mm, spacing_zyx_mm[::-1], strict=True)
    )
    points = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)[None]
    where = points_in_patient(patient, deformation, points)
    beyond = (where[0, :, ::4, ::4, 2].abs() > 1).float().mean(dim=(1, 2))
    kept = (beyond < 0.2).nonzero()[:, 0]  # noqa: PLR2004 (a tilted end slice may lack a corner)
    held = slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) >= FEWEST else slice(None)
    where = where[:, held].contiguous()
    last = 1 - 1 / patient.hu.shape[0]
    where[..., 2].clamp_(-last, last)
    return x, y, z[held], where


def _seen(
    parts: Float[Tensor, "part depth height width"], where: Float[Tensor, "1 z y x 3"]
) -> Float[Tensor, "part z y x"]:
    return grid_sample(parts[None], where, align_corners=False)[0]


def _labels(
    organs: Float[Tensor, "organ z y x"], present: LabelSet, wanted: LabelSet
) -> UInt8[Tensor, "z y x"]:
    share, which = organs.max(dim=0)
    ids = [organ.id if organ.name in wanted.names else 0 for organ in present.organs]
    return torch.tensor([0, *ids], dtype=torch.uint8).to(organs.device)[(which + 1) * (share >= HALF)]
