"""Small models that nobody trained: their masks mean nothing, but they have every real part."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.inference.bundle import write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.manifest import History, TrainedOn
from thoar.network.network import CoarseToFineNetwork, build_network

ORGANS = LabelSet(
    organs=(
        Organ(name="heart", id=2, usual_volume_ml=(1.0, 2.0)),
        Organ(name="aorta", id=4),
        Organ(name="cord", id=7),
    )
)
STRIDED = (
    Block(channels=4, convolutions=2, stride_zyx=(1, 2, 2)),
    Block(channels=6, convolutions=2, stride_zyx=(2, 2, 2)),
    Block(channels=8, convolutions=3, stride_zyx=(1, 2, 2), dilation=3),
    Block(channels=8, convolutions=3, dilation=6),
)
KINDS = {
    "as the paper's": Network(stem_channels=4, blocks=STRIDED),
    "as fast": Network(
        stem_channels=3,
        blocks=(*STRIDED[:2], Block(channels=6, convolutions=1, dilation=2)),
        average="logits",
        shortcut_kernel=1,
        decoder_channels=(3, 5, 5, 6),
    ),
    "with two encoders": Network(stem_channels=4, blocks=STRIDED, encoders="separate"),
}
FEW_CELLS = Localisation(
    threshold=0.65,
    organ_threshold={},
    margin_cells=1,
    organ_margin_cells={},
    min_component_cells=1,
    min_box_cells=2,
    regrow_volume=20,
)
"""Finds so little that boxes grow."""


def network_of(kind: str) -> CoarseToFineNetwork:
    """Return a network whose norms have scales and shifts of their own, as trained ones have."""
    torch.manual_seed(4)
    network = build_network(KINDS[kind], ORGANS.names, ("cord",))
    for name, values in network.named_parameters():
        if values.ndim == 1:
            torch.nn.init.uniform_(values, *((0.5, 1.5) if name.endswith("weight") else (-0.3, 0.3)))
    return network.eval()


@pytest.fixture(scope="session")
def scan() -> Volume:
    """A cylinder of water with blocks in it, in a field of air."""
    grid = Geometry.axial((25, 50, 60), (3.0, 2.0, 2.0), origin_xyz_mm=(-58.5, -47.25, 1033.0))
    _, y, x = np.indices(grid.shape_zyx)
    voxels = np.where(((y - 24.5) / 22) ** 2 + ((x - 29.5) / 27) ** 2 <= 1, 0, -1000).astype(np.int16)
    voxels[8:18, 18:30, 20:40] = 400
    voxels[:, 32:38, 30:36] = 800
    return Volume(voxels=voxels, geometry=grid)


@pytest.fixture(params=list(KINDS))
def network(request: pytest.FixtureRequest) -> CoarseToFineNetwork:
    return network_of(request.param)


WriteModel = Callable[..., Path]


@pytest.fixture(scope="session")
def write_model() -> WriteModel:
    """Write a model with an added, optional organ into a folder."""

    def write(
        folder: Path,
        kind: str = "as the paper's",
        *,
        localisation: Localisation = FEW_CELLS,
        fine_trained: bool = True,
    ) -> Path:
        folder.mkdir()
        write_bundle(
            folder,
            network=network_of(kind),
            configuration=Configuration(
                network=KINDS[kind],
                preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
                localisation=localisation,
            ),
            label_set=ORGANS,
            localisation={name: uncalibrated(localisation, name) for name in ORGANS.names},
            history=History(added={"cord": TrainedOn(cases=("a",))}, optional=("cord",)),
            fine_trained=fine_trained,
            card="Not for patients.\n",
        )
        return folder

    return write
