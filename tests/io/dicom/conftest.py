"""A phantom of more slices, and the same as one multi-frame file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from thoar.core.geometry import Geometry
from thoar.core.volume import Volume

_OF_A_FRAME = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "CTImageFrameTypeSequence": ("FrameType",),
}
_OF_ALL = {
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing",),
}


@pytest.fixture
def tall() -> Volume:
    """Twelve small slices, 3 mm apart."""
    voxels = np.random.default_rng(1).integers(-1024, 3000, (12, 4, 5)).astype(np.int16)
    return Volume(voxels=voxels, geometry=Geometry.axial((12, 4, 5), (3.0, 0.7, 0.9)))


@pytest.fixture
def as_frames(tmp_path: Path) -> Callable[..., Path]:
    """Put the slices of a folder, in some order, into one Enhanced CT file (PS3.3 A.38)."""

    def write(folder: Path, *, order: list[int] | None = None, name: str = "frames.dcm") -> Path:
        slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        slices = [slices[k] for k in order or range(len(slices))]
        whole = pydicom.Dataset()
        whole.file_meta = slices[0].file_meta
        whole.update(slices[0])
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            delattr(whole, keyword)
        del whole.RescaleSlope, whole.RescaleIntercept
        whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        whole.NumberOfFrames = len(slices)
        for ds in slices:
            ds.FrameType = ds.ImageType
        whole.PerFrameFunctionalGroupsSequence = [_groups(ds, _OF_A_FRAME) for ds in slices]
        whole.SharedFunctionalGroupsSequence = [_groups(slices[0], _OF_ALL)]
        whole.PixelData = b"".join(ds.PixelData for ds in slices)
        target = tmp_path / "frames" / name
        target.parent.mkdir(exist_ok=True)
        whole.save_as(target, enforce_file_format=True)
        return target

    return write


def _groups(ds: pydicom.Dataset, groups: dict[str, tuple[str, ...]]) -> pydicom.Dataset:
    found = pydicom.Dataset()
    for sequence, keywords in groups.items():
        item = pydicom.Dataset()
        for keyword in keywords:
            item[keyword] = ds[keyword]
        setattr(found, sequence, [item])
    return found
