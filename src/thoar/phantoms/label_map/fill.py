"""Unlabelled tissue told from the real intensities, where a label map's own CT is given."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from thoar.core.geometry import Geometry, Vector3
from thoar.core.volume import Volume
from thoar.imaging.body import find_body
from thoar.phantoms.structures import IDS, LOBES

START_HU = (-900.0, -100.0, 45.0, 180.0, 550.0)
"""Where the clusters begin: air, fat, soft tissue, enhanced vessel or marrow, bone."""
ROUNDS = 12
VESSEL_IN_LUNG_HU = -480.0
HEART_FAT_HU = -15.0
GARMENT_MM = 14.0
"""Air this near to the skin lies outside it, under a blanket or a breast."""
BONE_NEAR_VOXELS = 5
THICK_VOXELS = 5
SKIN_MM = 2.0

FILLING: Mapping[int, tuple[str, str, str, str, str]] = MappingProxyType(
    {
        1: ("lung_airway", "mediastinal_fat", "lymph_node", "lung_artery", "artery"),
        2: ("lung_lower_lobe_right", "mediastinal_fat", "effusion", "atelectasis", "cortical_bone"),
        3: ("bowel_gas", "abdominal_fat", "muscle", "artery", "artery"),
        4: ("lung_lower_lobe_right", "abdominal_fat", "diaphragm", "diaphragm", "cortical_bone"),
        5: ("disc", "intermuscular_fat", "disc", "marrow", "cortical_bone"),
        6: ("bowel_gas", "subcutaneous_fat", "muscle", "artery", "cortical_bone"),
    }
)  # fmt: skip
"""What air, fat, soft tissue, bright and hard tissue are in each ``ready.Space``."""


def skin_depth_mm(
    hu: Float[np.ndarray, "z y x"], labelled: Bool[np.ndarray, "z y x"], *, spacing_zyx_mm: Vector3
) -> Float[np.ndarray, "z y x"]:
    """Return how deep each voxel lies in the patient, 0 outside.

    Raises:
        InputError: if there is no patient in the scan.
    """
    z, y, x = hu.shape
    scan = Volume(voxels=hu, geometry=Geometry.axial((z, y, x), spacing_zyx_mm))
    body = find_body(scan, clip_hu=(-1000.0, 1000.0)).mask | labelled
    return np.asarray(ndimage.distance_transform_edt(body, sampling=spacing_zyx_mm), dtype=np.float32)


def filled_from_ct(
    hu: Float[np.ndarray, "z y x"],
    structure: UInt8[np.ndarray, "z y x"],
    space: UInt8[np.ndarray, "z y x"],
    *,
    depth_mm: Float[np.ndarray, "z y x"],
) -> UInt8[np.ndarray, "z y x"]:
    """Return structures for unlabelled voxels, vessels in the lobes and fat of the heart, else 0.

    Args:
        hu: the scan.
        structure: our structures where labels name them.
        space: ``ready.Space`` of the others.
        depth_mm: below the skin.
    """
    free = (structure == 0) & (depth_mm > 0)
    edges = cluster_edges_hu(hu[free])
    smooth = ndimage.gaussian_filter(hu, 0.5)
    kind = np.searchsorted(edges, smooth)
    bone = np.asarray(ndimage.binary_dilation(structure == IDS["cortical_bone"], iterations=BONE_NEAR_VOXELS))
    kind[(kind == 3) & bone] = 4  # noqa: PLR2004 (bright beside bone is bone that no label holds)
    out = np.zeros(hu.shape, dtype=np.uint8)
    for place, names in FILLING.items():
        table = np.array([IDS[name] for name in names], dtype=np.uint8)
        here = free & (space == place)
        out[here] = table[kind[here]]
    _name_thick_vessels(out, free & (space == 1))
    out[free & (depth_mm <= SKIN_MM) & (kind > 0)] = IDS["skin"]
    out[free & (depth_mm <= GARMENT_MM) & (kind == 0)] = IDS["outside"]
    out[(structure == IDS["left_ventricle"]) & (smooth < HEART_FAT_HU)] = IDS["heart_fat"]
    lobes = np.isin(structure, [IDS[name] for name in LOBES])
    out[lobes & (hu > VESSEL_IN_LUNG_HU)] = IDS["lung_artery"]
    return out


def cluster_edges_hu(values_hu: Float[np.ndarray, " n"]) -> Float[np.ndarray, " edge"]:
    """Return the values between clusters (Lloyd's k-means in one dimension, IEEE Trans. IT 28, 1982)."""
    sample = values_hu[:: max(1, values_hu.size // 200_000)]
    middle = np.array(START_HU)
    for _ in range(ROUNDS):
        edges = (middle[1:] + middle[:-1]) / 2
        nearest = np.searchsorted(edges, sample)
        counts = np.bincount(nearest, minlength=middle.size)
        sums = np.bincount(nearest, weights=sample, minlength=middle.size)
        middle = np.where(counts > 0, sums / np.maximum(counts, 1), middle)
    edges = (middle[1:] + middle[:-1]) / 2
    return edges.clip((-700, -50, 90, 220), (-250, -5, 180, 420))


def _name_thick_vessels(out: UInt8[np.ndarray, "z y x"], between: Bool[np.ndarray, "z y x"]) -> None:
    """Call soft tissue between the lungs a pulmonary artery where it is as thick as one."""
    soft = between & (out == IDS["lymph_node"])
    ball = np.ones((THICK_VOXELS,) * 3, dtype=bool)
    thick = np.asarray(ndimage.binary_dilation(ndimage.binary_erosion(soft, ball), ball)) & soft
    out[thick] = IDS["lung_artery"]
