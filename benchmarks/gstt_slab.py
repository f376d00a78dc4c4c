"""The slab ``gstt_slab``: 16 mm of a chest, one slice missing, and masks whose header says a wrong z.

    .venv/bin/python benchmarks/gstt_slab.py FOLDER -o OUT      writes slab.nii.gz and GT.nii.gz

``thoar`` refuses such a series, rightly, unless whoever feeds it in says that the gap may be filled. Here the
volume is built from every slice's own position (ImagePositionPatient), and the gap in it by the mean of its
neighbours, weighted by distance. The masks lie 1.6 mm apart by their header, which is twice the truth; they
are paired with the slices by index instead, in the order of z, and the header's z is not read. Scores are
taken over the slices that exist.

FOLDER holds ``dicom.zip`` (or the slices themselves) and ``nii_seg/<structure>.nii.gz``.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num

from thoar.core.errors import InputError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.slices import SliceStack
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series
from thoar.io.formats import read_integers, write_labels, write_volume

STRUCTURES: Mapping[str, tuple[str, ...]] = {
    "esophagus": ("esophagus",),
    "aorta": ("aorta",),
    "heart": (
        "heart_myocardium",
        "heart_atrium_left",
        "heart_atrium_right",
        "heart_ventricle_left",
        "heart_ventricle_right",
    ),
}
"""Our organs and what they are called there; the heart is the union of its chambers and its muscle, without
the fat and the pericardium between and around them, which TotalSegmentator's later ``heart`` takes in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slab:
    """The scan, made whole, and its reference.

    Attributes:
        volume: on a regular grid, z to the head.
        slices: the grid's slices that were scanned; the others are interpolated.
        masks: per organ on the scanned slices alone, in their order.
    """

    volume: Volume
    slices: tuple[int, ...]
    masks: Mapping[str, Bool[np.ndarray, "z y x"]]

    @property
    def interpolated(self) -> tuple[int, ...]:
        """The grid's slices that nobody scanned."""
        return tuple(sorted(set(range(len(self.volume.voxels))) - set(self.slices)))

    def scanned(self, mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z2 y x"]:
        """Return a mask of the whole grid on the scanned slices alone."""
        return mask[list(self.slices)]


def read_slab(folder: Path) -> Slab:
    """Read the slab from its folder.

    Raises:
        InputError: if a file is missing or cannot be used, or the slices lie on no regular grid.
    """
    packed = folder / "dicom.zip"
    stack = read_series(packed if packed.is_file() else folder, ReadOptions(fill_gaps=1)).stack
    slices = places(stack.planes.depths_mm.tolist())
    volume = whole_volume(stack, slices)
    masks = {
        organ: np.logical_or.reduce([mask_of(folder / "nii_seg", name, volume) for name in names])
        for organ, names in STRUCTURES.items()
    }
    for organ, mask in masks.items():
        if len(mask) != len(slices):
            raise InputError(f"{folder}: {len(mask)} slices of the mask of {organ} for {len(slices)} images")
    return Slab(volume=volume, slices=slices, masks=masks)


def places(positions_mm: Sequence[float]) -> tuple[int, ...]:
    """Return each slice's index in the regular grid that the commonest step makes, gaps left out.

    >>> places([0.0, 1.6, 2.4, 3.2])
    (0, 2, 3, 4)

    Raises:
        InputError: if a slice lies between the grid's.
    """
    steps = np.diff(positions_mm)
    indices = (np.array(positions_mm) - positions_mm[0]) / np.median(steps)
    if (steps <= 0).any() or np.abs(indices - np.rint(indices)).max() > 0.1:  # noqa: PLR2004 (of a step)
        raise InputError(f"slices at {list(positions_mm)} mm lie on no regular grid, gaps or not")
    return tuple(int(index) for index in np.rint(indices))


def filled(voxels_hu: Num[np.ndarray, "scanned y x"], slices: Sequence[int]) -> Num[np.ndarray, "z y x"]:
    """Return the slices on the whole grid; what is missing is interpolated between its neighbours."""
    whole = np.empty((slices[-1] + 1, *voxels_hu.shape[1:]), dtype=np.float32)
    for index in range(len(whole)):
        position = np.interp(index, slices, range(len(slices)))
        below, above, share = int(np.floor(position)), int(np.ceil(position)), position % 1
        whole[index] = (1 - share) * voxels_hu[below] + share * voxels_hu[above]
    return np.rint(whole).astype(np.int16)


def whole_volume(stack: SliceStack, slices: Sequence[int]) -> Volume:
    """Return the scan on its regular grid."""
    whole, planes = filled(stack.voxels, slices), stack.planes
    spacing = (float(planes.depths_mm[-1]) / slices[-1], *planes.spacing_yx_mm)
    x, y, z = (float(c) for c in planes.origins_xyz_mm[0])
    return Volume(voxels=whole, geometry=Geometry.axial(whole.shape, spacing, origin_xyz_mm=(x, y, z)))


def mask_of(folder: Path, structure: str, scan: Volume) -> Bool[np.ndarray, "scanned y x"]:
    """Return a structure's mask, its slices in the order of z; the header's z is not used.

    Raises:
        InputError: if its slices do not lie over the scan's.
    """
    path = folder / f"{structure}.nii.gz"
    mask = to_canonical(read_integers(path))
    (_, y, x), (_, *size) = mask.geometry.spacing_zyx_mm, mask.geometry.shape_zyx
    theirs, ours = np.array([*mask.geometry.origin_xyz_mm[:2], x, y]), scan.geometry
    expected = np.array([*ours.origin_xyz_mm[:2], *ours.spacing_zyx_mm[:0:-1]])
    if tuple(size) != ours.shape_zyx[1:] or np.abs(theirs - expected).max() > 1:
        raise InputError(f"{path}: lies elsewhere in the plane than the slices: {theirs} and {expected}")
    return mask.voxels != 0


def main() -> None:
    """Write the slab as a scan and a label map that any program can read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    slab = read_slab(arguments.folder)
    labels = np.zeros(slab.volume.voxels.shape, dtype=np.uint8)
    for organ, mask in slab.masks.items():
        labels[list(slab.slices)] = np.where(mask, SEGTHOR.organ(organ).id, labels[list(slab.slices)])
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_volume(arguments.output / "slab.nii.gz", slab.volume)
    reference = LabelVolume(voxels=labels, geometry=slab.volume.geometry, label_set=SEGTHOR)
    write_labels(arguments.output / "GT.nii.gz", reference)
    print(f"slices {list(slab.interpolated)} of {len(labels)} are interpolated and bear no label")


if __name__ == "__main__":
    main()
