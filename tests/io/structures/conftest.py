"""Polygons judged by brute force, and series made without files."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from thoar.core.box import Box
from thoar.core.labels import Organ
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.io.dicom.identity import identity_of
from thoar.io.dicom.records import Series, SliceReference
from thoar.io.structures.organ_mask import OrganMask


def _winding(polygons: Sequence[np.ndarray], shape_yx: tuple[int, int]) -> np.ndarray:
    """Return how often each pixel centre is wound around, by summing the angles of all sides."""
    total = np.zeros(shape_yx)
    centres = np.stack(np.indices(shape_yx), axis=-1).astype(float)
    for polygon in polygons:
        rays = polygon - centres[:, :, None]
        angles = np.arctan2(rays[..., 0], rays[..., 1])
        turns = np.roll(angles, -1, axis=-1) - angles
        total += ((turns + np.pi) % (2 * np.pi) - np.pi).sum(axis=-1) / (2 * np.pi)
    assert np.abs(total - np.rint(total)).max() < 1e-6
    return np.rint(total).astype(int)


@pytest.fixture(scope="session")
def winding() -> Callable[..., np.ndarray]:
    return _winding


def _crossings(polygons: Sequence[np.ndarray], *, touching: bool) -> int:
    """Count pairs of sides that cross; with ``touching``, also those that meet without being neighbours."""
    starts = np.concatenate(polygons)
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    offsets = np.cumsum([0, *map(len, polygons)])
    following = np.concatenate([np.roll(np.arange(a, b), -1) for a, b in pairwise(offsets)])
    i, j = np.triu_indices(len(starts), 1)
    apart = (following[i] != j) & (following[j] != i)
    i, j = i[apart], j[apart]
    sides = [
        _side(starts[i], ends[i], starts[j]) * _side(starts[i], ends[i], ends[j]),
        _side(starts[j], ends[j], starts[i]) * _side(starts[j], ends[j], ends[i]),
    ]
    if not touching:
        return int(((sides[0] < 0) & (sides[1] < 0)).sum())
    boxes = np.stack([np.minimum(starts, ends), np.maximum(starts, ends)])
    overlap = (boxes[0, i] <= boxes[1, j]).all(axis=1) & (boxes[0, j] <= boxes[1, i]).all(axis=1)
    return int(((sides[0] <= 0) & (sides[1] <= 0) & overlap).sum())


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    (ay, ax), (by, bx) = (end - start).T, (point - start).T
    return np.sign(ax * by - ay * bx)


@pytest.fixture(scope="session")
def crossings() -> Callable[..., int]:
    return _crossings


SeriesOf = Callable[..., Series]


def _nothing(ds: pydicom.Dataset) -> None:
    """Change nothing."""


@pytest.fixture(scope="session")
def series_of() -> SeriesOf:
    """Make a series of empty slices; ``edit(ds)`` changes what it says of patient and study."""

    def make(
        planes: SlicePlanes,
        *,
        edit: Callable[[pydicom.Dataset], None] = _nothing,
        frames: bool = False,
    ) -> Series:
        ds = pydicom.Dataset()
        ds.SpecificCharacterSet, ds.Modality = "ISO_IR 100", "CT"
        ds.PatientName, ds.PatientID, ds.PatientSex = "Nobody^At all", "id", "O"
        ds.StudyDate, ds.StudyTime, ds.SeriesDate = "20200102", "030405", "20200103"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        edit(ds)
        references = [
            SliceReference(
                file=f"{k}.dcm",
                sop_class_uid=EnhancedCTImageStorage if frames else CTImageStorage,
                sop_instance_uid="2.25.99" if frames else f"2.25.{100 + k}",
                frame=k + 1 if frames else None,
            )
            for k in range(len(planes))
        ]
        voxels = np.zeros((len(planes), *planes.shape_yx), np.int16)
        return Series(
            stack=SliceStack(voxels=voxels, planes=planes),
            references=tuple(references),
            identity=identity_of(ds),
        )

    return make


def _slices(kind: str = "axial", *, shape_zyx: tuple[int, int, int] = (9, 13, 11)) -> SlicePlanes:
    """Return slices of a kind: axial, feet_first, coronal, oblique, tilted or uneven."""
    rotation = {
        "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "feet_first": np.diag([-1.0, 1, -1]),
        "oblique": np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.3, 1, 0.1], [0, -0.1, 1]]))[0],
    }.get(kind, np.eye(3))
    rotation = rotation * np.array([1, 1, np.linalg.det(rotation)])
    depths = 2.5 * np.arange(shape_zyx[0]) + (4.0 * (np.arange(shape_zyx[0]) > 4) if kind == "uneven" else 0)
    sideways = depths * np.tan(np.radians(14.0)) if kind == "tilted" else 0 * depths
    return SlicePlanes(
        origins_xyz_mm=np.array([-101.3, 57.25, -340.1])
        + np.outer(depths, rotation[:, 2])
        + np.outer(sideways, rotation[:, 1]),
        along_row_xyz=rotation[:, 0],
        along_column_xyz=rotation[:, 1],
        spacing_yx_mm=(0.8, 0.9765625),
        shape_yx=shape_zyx[1:],
    )


@pytest.fixture(scope="session")
def slices() -> Callable[..., SlicePlanes]:
    return _slices


def _organs_on(
    planes: SlicePlanes, *, names: Sequence[str] = ("Esophagus", "Lung_L", "Lung_R"), soft: bool = False
) -> list[OrganMask]:
    """Return overlapping organs of random pixels, alike along no axis; ``soft`` ones are probabilities."""
    rng = np.random.default_rng(7)
    organs = []
    for k, name in enumerate(names):
        box = Box(
            start_zyx=(k, 1, k), stop_zyx=(len(planes) - 1, planes.shape_yx[0] - k, planes.shape_yx[1] - 1)
        )
        values = rng.random(box.shape_zyx, dtype=np.float32)
        organ = Organ(name=name.casefold(), id=k + 1, tg263=name, color_rgb=(255, 196, 40 * k))
        probability = values if soft else (values > 0.6).astype(np.float32)
        organs.append(OrganMask(organ=organ, box_zyx=box, probability=probability))
    return organs


@pytest.fixture(scope="session")
def organs_on() -> Callable[..., list[OrganMask]]:
    return _organs_on


def rotation(degrees_xyz: Sequence[float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees_xyz)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[[a, b], [a, b]], turn[a, b], turn[b, a] = np.cos(angle), -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _planes(
    steps_mm: Sequence[float] = (2.5,) * 5,
    *,
    turned: Sequence[float] = (0, 0, 0),
    tilt: float = 0.0,
    shape_yx: tuple[int, int] = (24, 31),
    spacing_yx_mm: tuple[float, float] = (0.9, 0.7),
) -> SlicePlanes:
    """Slices so far apart, turned about x, y and z in degrees, each shifted along its columns by a tilt."""
    x, y, z = rotation(turned).T
    depths = np.concatenate([[0.0], np.cumsum(steps_mm)])
    sideways = depths * np.tan(np.radians(tilt))
    return SlicePlanes(
        origins_xyz_mm=np.array([-120.3, -171.7, -340.1]) + np.outer(depths, z) + np.outer(sideways, y),
        along_row_xyz=x,
        along_column_xyz=y,
        spacing_yx_mm=spacing_yx_mm,
        shape_yx=shape_yx,
    )


@pytest.fixture(scope="session")
def planes_of() -> Callable[..., SlicePlanes]:
    return _planes


def _organ(
    probability: np.ndarray, *, start_zyx: tuple[int, int, int] = (1, 3, 5), **named: object
) -> OrganMask:
    stop = tuple(a + n for a, n in zip(start_zyx, probability.shape, strict=True))
    return OrganMask(
        organ=Organ(**{"name": "heart", "id": 1, **named}),
        box_zyx=Box(start_zyx=start_zyx, stop_zyx=stop),
        probability=probability.astype(np.float32),
    )


@pytest.fixture(scope="session")
def organ_of() -> Callable[..., OrganMask]:
    return _organ


@pytest.fixture(scope="session")
def blob(organ_of: Callable[..., OrganMask]) -> OrganMask:
    """An organ like no mirror image or shift of itself, with a hole, an island in it and a speck."""
    z, y, x = np.indices((4, 15, 17))
    probability = 1 / (1 + np.exp(np.hypot((y - 7) * 0.9, (x - 8) * 0.7) - 5 + 0.5 * z))
    probability[1, 5:10, 6:12] = 0.1
    probability[1, 7, 9] = 0.8
    probability[2, 6, 7] = 0.0
    probability[3, 14, 1] = 0.51
    return organ_of(probability, color_rgb=(1, 2, 3), tg263="Heart")
