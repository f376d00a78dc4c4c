"""A clinic's export: CT series and the structures drawn on them, full of what must not be taken over."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pydicom
import pytest

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.core.volume import Volume
from thoar.io.dicom.records import ReadOptions
from thoar.io.dicom.series import read_series
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rtstruct_writer import write_rtstruct
from thoar.io.structures.seg_writer import write_segmentation

CANARIES = ("SECRETNAME", "PHI-ID-12345", "19470203", "ACC-98765", "SECRET HOSPITAL", "SECRETFILE")
SHAPE = (6, 40, 48)
GRID = Geometry.axial(SHAPE, (2.5, 1.5, 1.5), origin_xyz_mm=(-30.0, -25.0, 100.0))
BOXES = {
    "heart": Box(start_zyx=(1, 8, 10), stop_zyx=(5, 24, 30)),
    "aorta": Box(start_zyx=(0, 14, 22), stop_zyx=(6, 24, 32)),
}

NAMES = MappingProxyType({"heart": "Heart", "aorta": "A_Aorta"})

AddPatient = Callable[..., Path]


def unchanged(ds: pydicom.Dataset) -> None:
    """Leave the structures as they are."""


def unchanged_slice(ds: pydicom.Dataset, k: int) -> None:
    """Leave the slice as it is."""


def disc(box: Box) -> np.ndarray:
    """Return an ellipse that fills a box's rows and columns, on each of its slices."""
    _, height, width = box.shape_zyx
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.broadcast_to(y**2 + x**2 <= 1, box.shape_zyx)


def body() -> Volume:
    voxels = np.full(SHAPE, -1000, dtype=np.int16)
    voxels[:, 4:36, 4:44] = 40
    voxels += np.arange(SHAPE[0], dtype=np.int16)[:, None, None]
    return Volume(voxels=voxels, geometry=GRID)


def identify(ds: pydicom.Dataset, patient: str) -> None:
    """Put what must not be taken over wherever it may stand."""
    ds.PatientName, ds.PatientID = f"PHI^SECRETNAME^{patient}", f"PHI-ID-12345{patient}"
    ds.PatientBirthDate, ds.AccessionNumber = "19470203", "ACC-98765"
    ds.InstitutionName = ds.StudyDescription = ds.SeriesDescription = "SECRET HOSPITAL"
    ds.OtherPatientNames = "SECRETNAME"
    private = ds.private_block(0x0011, "SECRET HOSPITAL", create=True)
    private.add_new(0x01, "LO", "PHI^SECRETNAME")


@pytest.fixture
def canaries() -> tuple[str, ...]:
    """Return what must never come out of an import."""
    return CANARIES


@pytest.fixture
def add_patient(tmp_path: Path, write_series: Callable[..., Path]) -> AddPatient:
    """Add a patient to ``tmp_path/clinic``: a series, and structures called as given."""

    def add(
        patient: str,
        *,
        kind: str = "rtstruct",
        names: Mapping[str, str] = NAMES,
        edit: Callable[[pydicom.Dataset], None] = unchanged,
        edit_slice: Callable[[pydicom.Dataset, int], None] = unchanged_slice,
    ) -> Path:
        def spoil(ds: pydicom.Dataset, k: int) -> None:
            identify(ds, patient)
            edit_slice(ds, k)

        (tmp_path / "clinic" / f"SECRETNAME {patient}").mkdir(parents=True)
        scans = write_series(body(), name=f"clinic/SECRETNAME {patient}/CT", edit=spoil)
        for path in list(scans.iterdir()):
            path.rename(path.with_name(f"PHI-ID-12345_SECRETFILE_{path.name}.dcm"))
        write = write_rtstruct if kind == "rtstruct" else write_segmentation
        target = scans.parent / f"SECRETFILE {kind}.dcm"
        series = read_series(scans, ReadOptions(rectify=True, fill_gaps=2))
        write(target, series, organs(names), maker=Maker(uid_seed=f"{patient} {kind}"))
        ds = pydicom.dcmread(target)
        identify(ds, patient)
        edit(ds)
        ds.save_as(target)
        return scans.parent

    return add


def organs(names: Mapping[str, str]) -> list[OrganMask]:
    return [
        OrganMask(
            organ=Organ(name=f"{organ}_{k}", id=k + 1, tg263=name),
            box_zyx=BOXES[organ],
            probability=disc(BOXES[organ]).astype(np.float64),
        )
        for k, (organ, name) in enumerate(names.items())
    ]
