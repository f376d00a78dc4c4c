"""Array shapes and types named in signatures are checked while tests run; DICOM series written by hand."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from jaxtyping import install_import_hook
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

if TYPE_CHECKING:
    from thoar.core.geometry import Geometry
    from thoar.core.volume import Volume

# The numeric tower lets an int stand for a float, as the language does.
_hook = install_import_hook("thoar", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

SHARED_DATA = Path(os.environ.get("THOAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans for trials; tests that ask for it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real scans that are not part of the project ({SHARED_DATA} is absent)")
    return SHARED_DATA


WriteSeries = Callable[..., Path]


def nothing(ds: pydicom.Dataset, k: int) -> None:
    """Change nothing in a slice."""


@pytest.fixture
def write_series(tmp_path: Path) -> WriteSeries:
    """Write a volume as one DICOM file per plane of its first axis; ``edit(ds, k)`` spoils slice k."""

    def write(volume: "Volume", *, name: str = "series", edit: Callable[..., None] = nothing) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        uids = [generate_uid() for _ in range(3)]
        for k, plane in enumerate(volume.voxels):
            ds = _slice(plane, volume.geometry, k=k, uids=uids)
            edit(ds, k)
            # file names run against the order of the slices
            ds.save_as(folder / f"{99 - k}", enforce_file_format=True)
        return folder

    return write


def _slice(plane: np.ndarray, geometry: "Geometry", *, k: int, uids: list[str]) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.Modality, ds.PatientID, ds.PatientName = "CT", "id", "Nobody^At all"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = 1
    matrix, spacing = geometry.lps_from_index, geometry.spacing_zyx_mm
    ds.ImagePositionPatient = _decimals(geometry.position_xyz_mm((k, 0, 0)))
    ds.ImageOrientationPatient = _decimals([*(matrix[:3, 2] / spacing[2]), *(matrix[:3, 1] / spacing[1])])
    ds.PixelSpacing = _decimals(spacing[1:])
    ds.SliceThickness = "77"  # a lie
    ds.Rows, ds.Columns = plane.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-24"
    ds.PixelData = (plane.astype("<i2") + np.int16(24)).tobytes()
    return ds


def _decimals(values: object) -> list[str]:
    return [f"{v:.10f}"[:16] for v in np.asarray(values)]
