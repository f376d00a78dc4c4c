"""A labelled real CT, readied once so that many copies of it can be made quickly."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from scipy import ndimage
from skimage.measure import label
from torch import Tensor
from torch.nn.functional import avg_pool3d

from thoar.core.errors import LabelError
from thoar.core.geometry import Geometry, Vector3
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.core.volume import Volume, to_canonical
from thoar.phantoms.contrast import GROUPS
from thoar.phantoms.label_map.names import mask_of
from thoar.phantoms.patient import AIR_HU, on_lattice
from thoar.phantoms.smooth import blurred

ORGAN_STRUCTURES: Mapping[str, tuple[str, ...]] = {
    "esophagus": ("esophagus",),
    "heart": ("heart", "atrial_appendage_left"),
    "trachea": ("trachea",),
    "aorta": ("aorta",),
}
"""Which structures of a TotalSegmentator-like label map make each organ of SegTHOR's label set."""

GRID_MM = 1.5
"""Voxels in a slice are averaged to at most this size: finer detail does not survive a copy's grid."""
REACH_MM = 6.0
"""A group's change reaches so far beyond its label, for labels are never exact."""
SKIN_HU = -350.0
"""What is denser counts as body."""
VESSEL_HU = 110.0
"""What is brighter, though no bone, counts as an enhanced vessel."""
BRIGHTEST_HU = 3071.0
HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledScan:
    """A scan on a moderately fine axial grid with what copies need of it.

    Attributes:
        hu: values, air at least.
        organs: share of each voxel that each organ of the label set takes.
        group: index of each voxel's tissue group in ``contrast.GROUPS`` plus one, or 0.
        full_hu: per group, the value of full enhancement in this scan.
        lung: share of lung.
        body: share of body, lungs and all.
        depth_mm: how deep a voxel lies inside the esophagus.
        noise_hu: standard deviation of this scan's noise.
        lattice: the organs and, last, the body on the lattice of deformations.
    """

    hu: Float[Tensor, "z y x"]
    organs: Float[Tensor, "organ z y x"]
    group: UInt8[Tensor, "z y x"]
    full_hu: dict[str, float]
    lung: Float[Tensor, "z y x"]
    body: Float[Tensor, "z y x"]
    depth_mm: Float[Tensor, "z y x"]
    noise_hu: float
    lattice: Float[Tensor, "part depth height width"]
    spacing_zyx_mm: Vector3
    label_set: LabelSet


def ready_scan(
    ct: Volume, structures: Integer[np.ndarray, "z y x"], *, ids: Mapping[str, int]
) -> LabelledScan:
    """Ready a labelled CT for copying.

    Args:
        ct: the scan, in Hounsfield units.
        structures: its label map of many structures, on the same grid.
        ids: the label map's id of each structure's name, in TotalSegmentator's vocabulary.

    Raises:
        LabelError: if the label map lacks one of the four organs.
    """
    scan = to_canonical(ct)
    named = to_canonical(Volume(voxels=structures, geometry=ct.geometry)).voxels
    _refuse_missing(named, ids)
    factor = _factors(scan.geometry)
    dz, dy, dx = scan.geometry.spacing_zyx_mm
    spacing = (dz, dy * factor[1], dx * factor[2])
    hu = _averaged(scan.voxels.clip(AIR_HU, BRIGHTEST_HU), factor)
    coarse = named[:, factor[1] // 2 :: factor[1], factor[2] // 2 :: factor[2]]
    coarse = np.ascontiguousarray(coarse[:, : hu.shape[1], : hu.shape[2]])
    organs = torch.stack(
        [_averaged(mask_of(named, ORGAN_STRUCTURES[name], ids=ids), factor) for name in SEGTHOR.names]
    )
    body = _soft(_body(hu))
    group = _groups(coarse, hu.numpy(), ids, spacing)
    return LabelledScan(
        hu=hu,
        organs=organs,
        group=torch.from_numpy(group),
        full_hu=_full_enhancement(coarse, hu.numpy(), group, ids),
        lung=_soft(mask_of(coarse, ("lung_",), ids=ids)),
        body=body,
        depth_mm=_depth(organs[SEGTHOR.names.index("esophagus")], spacing),
        noise_hu=_noise(hu.numpy(), mask_of(coarse, ("autochthon", "iliopsoas"), ids=ids)),
        lattice=on_lattice(organs, body, spacing_zyx_mm=spacing),
        spacing_zyx_mm=spacing,
        label_set=SEGTHOR,
    )


def moved(scan: LabelledScan, device: torch.device) -> LabelledScan:
    """Return the scan on a device."""
    tensors = {f.name: getattr(scan, f.name) for f in fields(scan)}
    return replace(scan, **{k: v.to(device) for k, v in tensors.items() if isinstance(v, Tensor)})


def _refuse_missing(named: np.ndarray, ids: Mapping[str, int]) -> None:
    for organ, (name, *_) in ORGAN_STRUCTURES.items():
        if name not in ids or not (named == ids[name]).any():
            raise LabelError(f"the label map has no {name}, so no copy of it can have a labelled {organ}")


def _factors(geometry: Geometry) -> tuple[int, int, int]:
    _, y, x = geometry.spacing_zyx_mm
    return (1, max(1, int(GRID_MM / y)), max(1, int(GRID_MM / x)))


def _averaged(voxels: np.ndarray, factor: tuple[int, int, int]) -> Tensor:
    voxels = np.ascontiguousarray(voxels, dtype=np.float32)
    return avg_pool3d(torch.from_numpy(voxels)[None, None], factor)[0, 0]


def _soft(mask: np.ndarray) -> Tensor:
    return blurred(torch.from_numpy(mask.astype(np.float32)), (0.5, 0.8, 0.8))


def _depth(share: Tensor, spacing: Vector3) -> Tensor:
    depth = np.asarray(ndimage.distance_transform_edt(share.numpy() >= HALF, sampling=spacing))
    return torch.from_numpy(depth.astype(np.float32))


def _body(hu: Tensor) -> np.ndarray:
    """Return the largest dense part with its holes filled, slice by slice."""
    dense = blurred(hu, (0.5, 1.0, 1.0)).numpy() > SKIN_HU
    parts = np.asarray(label(ndimage.binary_opening(dense, np.ones((1, 5, 5)))))
    if not parts.any():
        return np.zeros(dense.shape, dtype=bool)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    largest = np.asarray(ndimage.binary_dilation(largest, np.ones((1, 3, 3))))
    return np.stack([np.asarray(ndimage.binary_fill_holes(part)) for part in largest])


def _groups(named: np.ndarray, hu: np.ndarray, ids: Mapping[str, int], spacing: Vector3) -> np.ndarray:
    """Return each voxel's group: its label's, else that of a label within reach, else of loose vessels."""
    group = np.zeros(named.shape, dtype=np.uint8)
    for index, tissue in enumerate(GROUPS.values(), start=1):
        if tissue.prefixes:
            group[mask_of(named, tissue.prefixes, ids=ids)] = index
    nearest = np.indices(group.shape, dtype=np.int32)
    distance = np.asarray(
        ndimage.distance_transform_edt(group == 0, sampling=spacing, return_indices=True, indices=nearest)
    )
    spread = np.where(distance <= REACH_MM, group[tuple(nearest)], 0).astype(np.uint8)
    bright = (spread == 0) & (ndimage.gaussian_filter(hu, (0.4, 0.7, 0.7)) > VESSEL_HU)
    loose = ndimage.binary_dilation(bright, np.ones((3, 5, 5))) | mask_of(named, ("lung_",), ids=ids)
    loose &= spread == 0
    spread[loose] = list(GROUPS).index("pulmonary") + 1
    return spread


def _full_enhancement(
    named: np.ndarray, hu: np.ndarray, group: np.ndarray, ids: Mapping[str, int]
) -> dict[str, float]:
    full: dict[str, float] = {}
    for index, (name, tissue) in enumerate(GROUPS.items(), start=1):
        where = mask_of(named, tissue.prefixes, ids=ids)
        if not tissue.prefixes:
            where = (group == index) & (hu > 1.4 * VESSEL_HU)
        level = float(np.percentile(hu[where], 65)) if where.any() else 0.0
        full[name] = max(level, tissue.base_hu + 20.0)
    return full


def _noise(hu: np.ndarray, soft: np.ndarray) -> float:
    """Return the noise from differences of neighbours in muscle (their median is 0.95 sigma of one)."""
    inside = soft[:, :, 1:] & soft[:, :, :-1]
    steps = np.abs(np.diff(hu, axis=2))[inside]
    return float(np.median(steps) / 0.95) if steps.size else 10.0
