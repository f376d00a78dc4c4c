"""Array shapes and types named in signatures are checked while tests run; DICOM series written by hand."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands set up logging for the whole process; tests leave it as they found it."""
    root, ours = logging.getLogger(), logging.getLogger("thoar")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


SHARED_DATA = Path(os.environ.get("THOAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans for trials; tests that ask for it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real scans that are not part of the project ({SHARED_DATA} is absent)")
    return SHARED_DATA


PEERS = {
    "plastimatch": "plastimatch",
    "dciodvfy": "dicom3tools",
    "dcmdump": "dcmtk",
    "dcm2niix": "dcm2niix",
}
"""Independent programs that read what we write, and the Debian package that holds each."""


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Return the path of an independent program; tests that ask for an absent one are skipped.

    ``THOAR_REQUIRE_PEERS`` (set by ``.ci/run`` once it has them installed) makes its absence a failure.
    """

    def find(name: str) -> str:
        program = shutil.which(name)
        if program is None:
            reason = f"needs {name}: apt-get install {PEERS.get(name, 'dcmtk')}"
            if os.environ.get("THOAR_REQUIRE_PEERS"):
                pytest.fail(reason)
            pytest.skip(reason)
        return program

    return find


WriteSeries = Callable[..., Path]


def nothing(ds: pydicom.Dataset, k: int) -> None:
    """Change nothing in a slice."""


@pytest.fixture
def write_series(tmp_path: Path, write_slices: WriteSeries) -> WriteSeries:
    """Write a volume as DICOM into a folder of the test's own, see ``write_slices``."""

    def write(volume: "Volume", *, name: str = "series", edit: Callable[..., None] = nothing) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return write_slices(tmp_path / name, volume, edit=edit)

    return write


@pytest.fixture(scope="session")
def write_slices() -> WriteSeries:
    """Write a volume as one DICOM file per plane of its first axis; ``edit(ds, k)`` spoils slice k."""

    def write(folder: Path, volume: "Volume", *, edit: Callable[..., None] = nothing) -> Path:
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
