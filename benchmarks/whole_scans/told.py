"""A network that computes all it has to and is then told the answer, as though it were well trained.

An untrained network finds its organs anywhere: boxes, cleaning, pasting and files would be those of nonsense.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.errors import GeometryError
from thoar.core.labels import SEGTHOR
from thoar.datasets.scans import read_scan
from thoar.imaging.prepare import prepare, prepare_labels
from thoar.io.formats import read_labels
from thoar.network.coarse import CoarseMaps
from thoar.network.encoder import KeptLevels, Levels
from thoar.network.network import CoarseToFineNetwork
from thoar.training.cases import coarse_target

Truth = UInt8[np.ndarray, "z y x"]
"""Label ids on the grid that the network sees."""


class Pass(NamedTuple):
    """What a network was asked of one scan.

    Attributes:
        image_zyx: shape of the scan.
        boxes_zyx: of every drawing the organ and the box's shape; of a box that grew, one more.
    """

    image_zyx: Index3
    boxes_zyx: list[tuple[str, Index3]]


def write_truth(path: Path, image: Path, labels: Path, configuration: Configuration) -> None:
    """Bring a scan's labels to the grid that a network sees, into a ``.npy`` file."""
    prepared = prepare(
        read_scan(image).volume,
        preparation=configuration.preparation,
        body=configuration.body,
        multiple_zyx=configuration.network.total_stride_zyx,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, prepare_labels(read_labels(labels, SEGTHOR), prepared))


class WatchedNetwork(CoarseToFineNetwork):
    """A network that keeps what it was asked and, where a truth is given, is told the answers.

    Its coarse map becomes 1 in every cell that holds a voxel of the organ, and its drawing in a box the organ
    itself, after both were computed.

    Args:
        network: whose parts it has.
        truth: of the one scan that it sees.

    Attributes:
        passes: one for every scan that was encoded.
    """

    def __init__(self, network: CoarseToFineNetwork, truth: Truth | None) -> None:
        super().__init__(
            encoder=network.encoder,
            coarse=network.coarse,
            fine=dict(network.fine.items()),
            strides_zyx=network.strides_zyx,
            own_coarse=dict(network.own_coarse.items()),
        )
        self._truth = truth
        self._told = None if truth is None else _coarse(truth, network)
        self.passes: list[Pass] = []

    def encode(self, image: Tensor) -> Levels:
        """Do what the network does."""
        z, y, x = image.shape[2:]
        if self._truth is not None and self._truth.shape != (z, y, x):
            raise GeometryError(f"labels were prepared as {self._truth.shape}, the scan as {(z, y, x)}")
        self.passes.append(Pass((z, y, x), []))
        levels = super().encode(image)
        if image.is_cuda:
            torch.cuda.synchronize(image.device)  # its time is not to be counted as that of what comes next
        return levels

    def locate(self, levels: KeptLevels) -> CoarseMaps:
        """Do what the network does, and answer with the truth."""
        maps = super().locate(levels)
        return maps if self._told is None else maps._replace(probability=self._told.to(maps.probability))

    def draw(self, levels: KeptLevels, organ: str, box_zyx: Box) -> Tensor:
        """Do what the network does, and answer with the truth."""
        self.passes[-1].boxes_zyx.append((organ, box_zyx.shape_zyx))
        drawn = super().draw(levels, organ, box_zyx)
        if self._truth is None:
            return drawn
        inside = self._truth[box_zyx.slices] == SEGTHOR.organ(organ).id
        return torch.from_numpy(inside)[None, None].to(drawn)


def _coarse(truth: Truth, network: CoarseToFineNetwork) -> Tensor:
    """Return the coarse map of a perfect network, background first."""
    stride = network.strides_zyx[-1]
    cells = [coarse_target(truth, SEGTHOR.organ(name).id, stride) for name in network.located]
    return torch.from_numpy(np.stack([~np.any(cells, axis=0), *cells]))[None].float()
