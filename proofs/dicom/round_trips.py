"""One arrangement through the readers and writers of ``thoar segment``, held against the formula."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Num
from proofs.dicom.cases import Taken
from proofs.dicom.independent import MisplacedError, contour_masks, nifti, segment_frames
from proofs.dicom.orientations import Arrangement
from proofs.dicom.phantom import ORGANS, Sampling, hounsfield, truth
from proofs.dicom.readable import FARTHEST_MM, difference
from scipy.ndimage import binary_erosion

from thoar.core.box import Box
from thoar.core.errors import ThoarError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.slices import SliceStack
from thoar.core.volume import LabelVolume
from thoar.imaging.rectify import onto_slices, rectify
from thoar.io.dicom.records import Series
from thoar.io.formats import write_labels
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.rtstruct_writer import write_rtstruct
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.seg_writer import write_segmentation
from thoar.io.structures.structure_mask import StructureMask

Read = Callable[[Path, object], Series]
Mask = Bool[np.ndarray, "slice row column"]

LABELS = LabelSet(
    organs=tuple(Organ(name=name, id=k + 1, tg263=name.capitalize()) for k, name in enumerate(ORGANS))
)
MAKER = Maker(software_version="proof", uid_seed="proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How one result compares with the formula.

    Attributes:
        farthest_mm: the largest distance of a centroid, or of a corner, from its true place.
        voxels: how many voxels differ.
        fault: what else is wrong; empty for nothing.
        refused: an error said so.
    """

    farthest_mm: float = 0.0
    voxels: int = 0
    fault: str = ""
    refused: bool = False

    @property
    def right(self) -> bool:
        """Whether it lies where it should, voxel by voxel."""
        return not self.fault and self.voxels == 0 and self.farthest_mm <= FARTHEST_MM

    @property
    def silent(self) -> bool:
        """Whether it is wrong and nobody said so."""
        return not self.right and not self.refused


STEPS = ("input", "NIfTI", "RTSTRUCT", "DICOM-SEG")


def round_trips(arrangement: Arrangement, folder: Path, reader: Read) -> Mapping[str, Found]:
    """Read one arrangement, and write its true organs in every format."""
    path = arrangement.write(folder)
    sampling = in_order(arrangement.sampling)
    try:
        series = reader(path, arrangement.options)
    except Exception as error:  # noqa: BLE001 (an untyped one is a finding as well)
        return dict.fromkeys(STEPS, _failed(error))
    found = {"input": _guarded(lambda: input_as_taken(series, sampling))}
    masks = {name: truth(name, sampling.points_xyz_mm) for name in ORGANS}
    organs = [organ_mask(organ, masks[organ.name].astype(np.float32)) for organ in LABELS.organs]
    found["NIfTI"] = _guarded(lambda: through_nifti(series, sampling, folder / "labels.nii.gz"))
    found["RTSTRUCT"] = _guarded(lambda: through_rtstruct(series, sampling, organs, path=folder / "rt.dcm"))
    found["DICOM-SEG"] = _guarded(
        lambda: through_segmentation(series, sampling, organs, path=folder / "seg.dcm")
    )
    return found


def organ_mask(organ: Organ, probability: Num[np.ndarray, "slice row column"]) -> OrganMask:
    """Return a mask or a probability as the writers take it."""
    box = Box.of_mask(probability > 0) or Box.of_shape((1, 1, 1))
    return OrganMask(organ=organ, box_zyx=box, probability=probability[box.slices].astype(np.float32))


def input_as_taken(series: Series, sampling: Sampling) -> Found:
    """Compare a series with what it was made of; of slices that make no grid, the resampled ones too."""
    hu = hounsfield(sampling.points_xyz_mm)
    fault = difference(series, Taken(path=Path(), sampling=sampling, hu=hu))
    corners = sampling.points_xyz_mm[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    rows, columns = sampling.shape_yx
    ends_yx = np.array([(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)], dtype=np.float64)
    planes = series.stack.planes
    off = max(float(np.abs(planes.position_xyz_mm(k, ends_yx) - c).max()) for k, c in enumerate(corners))
    if series.volume is None:
        off = max(off, _rectified_off_mm(series, sampling))
    return Found(fault=fault, farthest_mm=off)


def _rectified_off_mm(series: Series, sampling: Sampling) -> float:
    """Return how far rectifying moves anything, there and back: images of their own coordinates tell."""
    off = 0.0
    planes = series.stack.planes
    for axis in range(3):
        coordinate = sampling.points_xyz_mm[..., axis]
        volume = rectify(SliceStack(voxels=coordinate.astype(np.float32), planes=planes), outside=np.nan)
        inside = binary_erosion(
            np.isfinite(volume.voxels), np.ones((1, 3, 3))
        )  # half a pixel of edge is flat
        expected = positions_xyz_mm(volume.geometry)[..., axis]
        off = max(off, float(np.abs(volume.voxels - expected)[inside].max()))
        back = onto_slices(
            expected.astype(np.float32), Box.of_shape(expected.shape), grid=volume.geometry, planes=planes
        )
        box, values = back or (None, None)
        if box is None or values is None:
            return float("inf")
        core = tuple(slice(3, -3) for _ in range(3))
        off = max(off, float(np.abs(values - coordinate[box.slices])[core].max()))
    return off


def positions_xyz_mm(geometry: Geometry) -> Float[np.ndarray, "z y x 3"]:
    """Return where the voxels of a grid lie."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    return indices @ geometry.lps_from_index[:3, :3].T + geometry.lps_from_index[:3, 3]


def through_nifti(series: Series, sampling: Sampling, path: Path) -> Found:
    """Write the organs as a label map on the series' grid, and look where another reader finds them."""
    volume = series.volume or rectify(series.stack)
    # on the series' own grid the formula is asked at its own places, so that a wrong grid shows
    points = sampling.points_xyz_mm if series.volume is not None else positions_xyz_mm(volume.geometry)
    write_labels(path, LabelVolume(voxels=_label_map(points), geometry=volume.geometry, label_set=LABELS))
    values, places = nifti(path)
    expected = _label_map(places)
    off = [
        _apart_mm(places[values == organ.id], points[_label_map(points) == organ.id])
        for organ in LABELS.organs
    ]
    return Found(voxels=int((values != expected).sum()), farthest_mm=max(off))


def through_rtstruct(series: Series, sampling: Sampling, organs: Iterable[OrganMask], *, path: Path) -> Found:
    """Write the organs as contours, and rasterise them again by thoar's reader and by one of our own."""
    report = write_rtstruct(path, series, list(organs), maker=MAKER)
    ours = rtstruct_masks(read_rtstruct(path), series)
    found = compared({mask.name: _whole(mask, series) for mask in ours}, sampling)
    other = compared(contour_masks(path, sampling), sampling)
    return worse(found, other, fault=f"left out {report.empty}" if report.empty else "")


def through_segmentation(
    series: Series, sampling: Sampling, organs: Iterable[OrganMask], *, path: Path
) -> Found:
    """Write the organs as a DICOM-SEG, and read it again by thoar's reader and frame by frame."""
    report = write_segmentation(path, series, list(organs), maker=MAKER)
    ours = segment_masks(read_segmentation(path), series)
    found = compared({mask.name: _whole(mask, series) for mask in ours}, sampling)
    other = _frames_compared(path, sampling)
    return worse(found, other, fault=f"left out {report.empty}" if report.empty else "")


def _frames_compared(path: Path, sampling: Sampling) -> Found:
    """Ask the formula at every pixel of every frame; what no frame holds must not be there."""
    inside: dict[str, list[np.ndarray]] = {name: [] for name in ORGANS}
    voxels = 0
    for label, pixels, points in segment_frames(path):
        name = label.lower()
        voxels += int((pixels != truth(name, points)).sum())
        inside[name].append(points[pixels])
    off = [0.0]
    for name, parts in inside.items():
        true = sampling.points_xyz_mm[truth(name, sampling.points_xyz_mm)]
        there = np.concatenate(parts) if parts else np.empty((0, 3))
        voxels += abs(len(there) - len(true))
        off.append(_apart_mm(there, true))
    return Found(voxels=voxels, farthest_mm=max(off))


def compared(masks: Mapping[str, Mask], sampling: Sampling) -> Found:
    """Compare masks on the slices of a sampling with the formula."""
    found = {name.lower(): mask for name, mask in masks.items()}
    if set(found) != set(ORGANS):
        return Found(fault=f"holds {sorted(found)}")
    points, voxels, off = sampling.points_xyz_mm, 0, [0.0]
    for name, mask in found.items():
        true = truth(name, points)
        voxels += int((mask != true).sum())
        off.append(_apart_mm(points[mask], points[true]))
    return Found(voxels=voxels, farthest_mm=max(off))


def worse(*several: Found, fault: str = "") -> Found:
    """Return what is wrong with any of them."""
    return Found(
        farthest_mm=max(found.farthest_mm for found in several),
        voxels=max(found.voxels for found in several),
        fault="; ".join(f for f in (*(found.fault for found in several), fault) if f),
    )


def _whole(mask: StructureMask, series: Series) -> Mask:
    whole = np.zeros(series.stack.voxels.shape, dtype=bool)
    if mask.box_zyx is not None and mask.mask is not None:
        whole[mask.box_zyx.slices] = mask.mask
    return whole


def _label_map(points_xyz_mm: Float[np.ndarray, "*grid 3"]) -> np.ndarray:
    labels = np.zeros(points_xyz_mm.shape[:-1], dtype=np.uint8)
    for organ in LABELS.organs:
        labels[truth(organ.name, points_xyz_mm)] = organ.id
    return labels


def _apart_mm(found: Float[np.ndarray, "point 3"], true: Float[np.ndarray, "point 3"]) -> float:
    if not len(found) or not len(true):
        return float("inf")
    return float(np.linalg.norm(found.mean(axis=0) - true.mean(axis=0)))


def in_order(sampling: Sampling) -> Sampling:
    """Return the slices sorted along their normal, as a reader gives them."""
    return sampling.taking(list(np.argsort(sampling.origins_xyz_mm @ sampling.normal_xyz)))


def _guarded(compare: Callable[[], Found]) -> Found:
    try:
        return compare()
    except MisplacedError as error:
        return Found(fault=str(error))
    except Exception as error:  # noqa: BLE001 (an untyped one is a finding as well)
        return _failed(error)


def _failed(error: Exception) -> Found:
    typed = "" if isinstance(error, ThoarError) else f"untyped {type(error).__name__}: "
    return Found(fault=f"{typed}{error}", refused=True)
