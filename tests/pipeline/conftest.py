"""A small real model on disk, never trained, and small scans of a body of water with blocks in it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.inference.bundle import write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.io.formats import write_volume
from thoar.network.network import build_network
from thoar.pipeline.outputs import WriteOptions
from thoar.pipeline.request import Request, Segmenter, load_segmenter

SETTINGS = Configuration(
    name="untrained",
    preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
    network=Network(
        stem_channels=2,
        blocks=(
            Block(channels=3, convolutions=2, stride_zyx=(1, 2, 2)),
            Block(channels=4, convolutions=2, stride_zyx=(2, 2, 2)),
            Block(channels=5, convolutions=2, stride_zyx=(1, 2, 2), dilation=3),
        ),
    ),
    localisation=Localisation(threshold=0.45, organ_threshold={}, margin_cells=1, organ_margin_cells={}),
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(6)
    write_bundle(
        folder,
        network=build_network(SETTINGS.network, SEGTHOR.names),
        configuration=SETTINGS,
        label_set=SEGTHOR,
        localisation={name: uncalibrated(SETTINGS.localisation, name) for name in SEGTHOR.names},
    )
    return folder


@pytest.fixture
def segmenter(model: Path) -> Callable[..., Segmenter]:
    """Load that model with what else is wanted."""

    def load(**wanted: Any) -> Segmenter:
        written = {field.name for field in dataclasses.fields(WriteOptions)}
        writing = WriteOptions(**{name: wanted.pop(name) for name in written & wanted.keys()})
        return load_segmenter(Request(model=model, device="cpu", writing=writing, **wanted))

    return load


def make_scan(shift: int = 0) -> Volume:
    """Return a scan that no axis order leaves as it is."""
    shape = (20, 44, 56)
    _, y, x = np.indices(shape)
    body = ((y - 21.5) / 18) ** 2 + ((x - 27.5) / 24) ** 2 <= 1
    voxels = np.where(body, 0, -1000).astype(np.int16)
    voxels[4:14, 14:26, 20:34] = 300 + shift
    voxels[:, 28:33, 26:31] = 180
    return Volume(
        voxels=voxels, geometry=Geometry.axial(shape, (3.0, 2.0, 2.0), origin_xyz_mm=(-55.5, 12.25, -300.0))
    )


@pytest.fixture
def scan() -> Volume:
    return make_scan()


@pytest.fixture
def write_scan() -> Callable[..., Path]:
    """Write a scan to a file and return the path."""

    def write(path: Path, shift: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, make_scan(shift))
        return path

    return write


@pytest.fixture
def write_scan_series(write_series: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write such a scan as a DICOM folder and return it; ``edit(ds, k)`` changes slice k."""

    def write(folder: Path, **wanted: Any) -> Path:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return write_series(make_scan(), name=str(folder.relative_to(tmp_path)), **wanted)

    return write


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Return all files below a folder."""

    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return content


@pytest.fixture
def names() -> Callable[[Path], set[str]]:
    """Return what lies in a folder itself."""
    return lambda folder: {path.name for path in folder.iterdir()}
