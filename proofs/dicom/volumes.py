"""Organs at clinical pixel sizes to RTSTRUCT and DICOM-SEG and back, by readers of other hands too."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from jaxtyping import Bool, Float, Float32
from proofs.dicom.independent import contour_masks, nifti
from proofs.dicom.phantom import AXIAL, ORGANS, Orientation, Sampling, hounsfield, sampled, truth
from proofs.dicom.round_trips import LABELS, MAKER, organ_mask
from proofs.dicom.written import save, slice_files

from thoar.io.dicom.process import read_series
from thoar.io.dicom.records import PLAIN, Series
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.rtstruct_writer import write_rtstruct
from thoar.io.structures.seg_writer import write_segmentation

LEAST_DICE = 0.999
LEAST_DICE_BY_AREA = 0.995
"""For the sliver, of probabilities: a contour between pixels may cut a sharp corner, and leave a pixel's
centre inside with less than half of its area. By area, a leaf one voxel thin comes back without corners."""
FRACTION_STEPS = 5
BY_AREA = "RTSTRUCT by thoar"
MOST_VOLUME_PERCENT = 1.0
SMALL_ML = 1.0
"""Below this, a volume may be off by 0.02 mL."""
MOST_VOLUME_ML = 0.02

PRONE = "1.4 mm, prone"
SOFT = ", probabilities"
GRIDS: Mapping[str, Sampling] = {
    "0.7 mm": sampled(AXIAL, (3.0, 0.7, 0.7)),
    "0.9 × 1.1 mm": sampled(AXIAL, (2.5, 0.9, 1.1)),
    PRONE: sampled(
        Orientation(
            name="HFP", along_row_xyz=(-1, 0, 0), along_column_xyz=(0, -1, 0), patient_position="HFP"
        ),
        (2.0, 1.4, 1.4),
    ),
}

Mask = Bool[np.ndarray, "slice row column"]
Probability = Float32[np.ndarray, "slice row column"]
Masks = Mapping[str, tuple[Bool[np.ndarray, "*grid"], Float[np.ndarray, "*grid 3"]]]
"""Per organ, what a reader found, and where its voxels lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One organ by one reader against the formula.

    Attributes:
        grid: pixel size.
        reader: who read it.
        organ: which.
        volume_ml: by the formula's voxels.
        dice: overlap with them.
        volume_off_ml: found minus true.
        centroid_off_mm: distance between the centroids.
    """

    grid: str
    reader: str
    organ: str
    volume_ml: float
    dice: float
    volume_off_ml: float
    centroid_off_mm: float

    @property
    def good(self) -> bool:
        """Whether it is as near as promised."""
        cut = (self.organ, self.reader, self.grid) == ("sliver", BY_AREA, PRONE + SOFT)
        least = LEAST_DICE_BY_AREA if cut else LEAST_DICE
        allowed = MOST_VOLUME_ML if self.volume_ml < SMALL_ML else MOST_VOLUME_PERCENT / 100 * self.volume_ml
        return self.dice >= least and abs(self.volume_off_ml) <= allowed and self.centroid_off_mm <= 0.05  # noqa: PLR2004


def agreements(folder: Path) -> Iterator[Agreement]:
    """Write the true organs as masks and as probabilities, and compare what each reader finds."""
    for number, (grid, sampling) in enumerate(GRIDS.items()):
        place = folder / str(number)
        series_folder = save(slice_files(sampling, hounsfield(sampling.points_xyz_mm)), place / "series")
        series = read_series(series_folder, PLAIN)
        masks = {name: truth(name, sampling.points_xyz_mm).astype(np.float32) for name in ORGANS}
        yield from _read_back(grid, series, masks, sampling=sampling, place=place)
        if grid == PRONE:
            shares = {name: inside_share(name, sampling) for name in ORGANS}
            yield from _read_back(grid + SOFT, series, shares, sampling=sampling, place=place)


def inside_share(organ: str, sampling: Sampling) -> Probability:
    """Return what part of each pixel's area on its slice lies in an organ: the best of all probabilities."""
    steps = (np.arange(FRACTION_STEPS) + 0.5) / FRACTION_STEPS - 0.5
    share = np.zeros((len(sampling.origins_xyz_mm), *sampling.shape_yx), dtype=np.float32)
    for down, across in itertools.product(steps, steps):
        aside = down * sampling.spacing_yx_mm[0] * sampling.along_column_xyz
        aside = aside + across * sampling.spacing_yx_mm[1] * sampling.along_row_xyz
        share += truth(organ, sampling.points_xyz_mm + aside)
    return share / np.float32(FRACTION_STEPS**2)


def _read_back(
    grid: str, series: Series, organs: Mapping[str, Probability], *, sampling: Sampling, place: Path
) -> Iterator[Agreement]:
    drawn = [organ_mask(organ, organs[organ.name]) for organ in LABELS.organs]
    write_rtstruct(place / "rt.dcm", series, drawn, maker=MAKER)
    write_segmentation(place / "seg.dcm", series, drawn, maker=MAKER)
    for reader, read in READERS.items():
        if reader not in PROGRAMS or shutil.which(PROGRAMS[reader]):
            found = read(place, series, sampling)
            for name, probability in organs.items():
                off = _compared(probability >= 0.5, *found[name], sampling=sampling)  # noqa: PLR2004
                yield Agreement(grid=grid, reader=reader, organ=name, **off)


def _compared(
    true: Mask, found: Bool[np.ndarray, "*grid"], places: Float[np.ndarray, "*grid 3"], *, sampling: Sampling
) -> dict[str, float]:
    step_mm = float(np.linalg.norm(sampling.origins_xyz_mm[1] - sampling.origins_xyz_mm[0]))
    voxel_ml = step_mm * sampling.spacing_yx_mm[0] * sampling.spacing_yx_mm[1] / 1000
    count, there = int(true.sum()), places[found]
    common = int(_at(there, true, sampling).sum())
    off_mm = (
        np.linalg.norm(there.mean(axis=0) - sampling.points_xyz_mm[true].mean(axis=0))
        if len(there)
        else np.inf
    )
    return {
        "volume_ml": count * voxel_ml,
        "dice": 2 * common / (count + len(there)),
        "volume_off_ml": (len(there) - count) * voxel_ml,
        "centroid_off_mm": float(off_mm),
    }


def _at(
    points_xyz_mm: Float[np.ndarray, "point 3"], mask: Mask, sampling: Sampling
) -> Bool[np.ndarray, "point"]:
    """Return the mask's value in the voxel nearest to each point."""
    off = points_xyz_mm - sampling.origins_xyz_mm[0]
    step_mm = (sampling.origins_xyz_mm[1] - sampling.origins_xyz_mm[0]) @ sampling.normal_xyz
    directions = (sampling.normal_xyz, sampling.along_column_xyz, sampling.along_row_xyz)
    spacing = (step_mm, *sampling.spacing_yx_mm)
    index = [np.rint(off @ d / mm).astype(int) for d, mm in zip(directions, spacing, strict=True)]
    inside = np.all([(i >= 0) & (i < n) for i, n in zip(index, mask.shape, strict=True)], axis=0)
    z, y, x = (np.where(inside, i, 0) for i in index)
    return mask[z, y, x] & inside


def _by_thoar(place: Path, series: Series, sampling: Sampling) -> Masks:
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for mask in rtstruct_masks(read_rtstruct(place / "rt.dcm"), series):
        whole = np.zeros(series.stack.voxels.shape, dtype=bool)
        if mask.box_zyx is not None:
            whole[mask.box_zyx.slices] = mask.mask
        masks[mask.name.lower()] = (whole, sampling.points_xyz_mm)
    return masks


def _by_polygons(place: Path, series: Series, sampling: Sampling) -> Masks:
    found = contour_masks(place / "rt.dcm", sampling)
    return {name.lower(): (mask, sampling.points_xyz_mm) for name, mask in found.items()}


def _by_plastimatch(place: Path, series: Series, sampling: Sampling) -> Masks:
    command = ["plastimatch", "convert", "--input", "rt.dcm", "--referenced-ct", "series"]
    command += ["--output-prefix", "masks", "--prefix-format", "nii.gz"]
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=300)  # noqa: S603 (no shell)
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path in (place / "masks").iterdir():
        values, places = nifti(path)
        masks[path.name.split(".")[0].lower()] = (values > 0, places)
    return masks


def _by_highdicom(place: Path, series: Series, sampling: Sampling) -> Masks:
    segmentation = highdicom.seg.segread(place / "seg.dcm")
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for number in segmentation.segment_numbers:
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=True)
        indices = np.stack(np.meshgrid(*(np.arange(n) for n in volume.array.shape), indexing="ij"), axis=-1)
        places = indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        label = str(segmentation.get_segment_description(number).SegmentLabel)
        masks[label.lower()] = (volume.array > 0, places)
    return masks


READERS: Mapping[str, Callable[[Path, Series, Sampling], Masks]] = {
    BY_AREA: _by_thoar,
    "RTSTRUCT by pixel centres": _by_polygons,
    "RTSTRUCT by plastimatch": _by_plastimatch,
    "DICOM-SEG by highdicom": _by_highdicom,
}
PROGRAMS: Mapping[str, str] = {"RTSTRUCT by plastimatch": "plastimatch"}
"""Readers that are programs of other hands; what is not installed is left out."""
