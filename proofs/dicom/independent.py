"""Readers that share nothing with thoar's: pydicom, nibabel and plain geometry."""

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from jaxtyping import Bool, Float, Integer
from proofs.dicom.phantom import Sampling
from skimage.draw import polygon2mask

OFF_PLANE_MM = 0.01


class MisplacedError(Exception):
    """What a file says lies where nothing can be."""


Mask = Bool[np.ndarray, "slice row column"]


def nifti(path: Path) -> tuple[Integer[np.ndarray, "i j k"], Float[np.ndarray, "i j k 3"]]:
    """Return a NIfTI's values and where each lies in LPS."""
    image = nib.nifti1.Nifti1Image.from_filename(path)
    values = np.asarray(image.dataobj)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"), axis=-1)
    ras = indices @ image.affine[:3, :3].T + image.affine[:3, 3]
    return values, ras * (-1, -1, 1)


def contour_masks(path: Path, sampling: Sampling) -> dict[str, Mask]:
    """Rasterise an RTSTRUCT on slices: pixel centres inside an odd number of polygons.

    Raises:
        MisplacedError: if a contour lies on none of the slices.
    """
    ds = pydicom.dcmread(path)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in ds.StructureSetROISequence}
    masks: dict[str, Mask] = {}
    for drawn in ds.ROIContourSequence:
        mask = np.zeros((len(sampling.origins_xyz_mm), *sampling.shape_yx), dtype=bool)
        for contour in drawn.ContourSequence:
            k, points_yx = _on_slice(np.array(contour.ContourData, float).reshape(-1, 3), sampling)
            mask[k] ^= polygon2mask(sampling.shape_yx, points_yx)
        masks[names[int(drawn.ReferencedROINumber)]] = mask
    return masks


def _on_slice(points_xyz_mm: np.ndarray, sampling: Sampling) -> tuple[int, np.ndarray]:
    off = (points_xyz_mm[None] - sampling.origins_xyz_mm[:, None]) @ sampling.normal_xyz
    k = int(np.abs(off).max(axis=1).argmin())
    if np.abs(off[k]).max() > OFF_PLANE_MM:
        raise MisplacedError(f"a contour lies {np.abs(off[k]).max():.3f} mm off the nearest slice")
    within = points_xyz_mm - sampling.origins_xyz_mm[k]
    rows = within @ sampling.along_column_xyz / sampling.spacing_yx_mm[0]
    return k, np.stack([rows, within @ sampling.along_row_xyz / sampling.spacing_yx_mm[1]], axis=1)


def segment_frames(path: Path) -> Iterator[tuple[str, Mask, Float[np.ndarray, "1 row column 3"]]]:
    """Yield a DICOM-SEG's frames: the segment's label, its pixels, and where each lies."""
    ds = pydicom.dcmread(path)
    labels = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in ds.SegmentSequence}
    shared = ds.SharedFunctionalGroupsSequence[0]
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    for frame, pixels in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        directions = _group(frame, shared, "PlaneOrientationSequence").ImageOrientationPatient
        spacing = _group(frame, shared, "PixelMeasuresSequence").PixelSpacing
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        sampling = Sampling(
            origins_xyz_mm=np.array([place], float),
            along_row_xyz=np.array(directions[:3], float),
            along_column_xyz=np.array(directions[3:], float),
            spacing_yx_mm=(float(spacing[0]), float(spacing[1])),
            shape_yx=(ds.Rows, ds.Columns),
        )
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        yield labels[number], pixels[None] > 0, sampling.points_xyz_mm


def _group(frame: pydicom.Dataset, shared: pydicom.Dataset, sequence: str) -> pydicom.Dataset:
    return (frame if sequence in frame else shared)[sequence][0]
