"""The networks that are run, each with the scan and the boxes that it is given, and the cases with labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, read_dataset
from thoar.imaging.prepare import Prepared, prepare, prepare_labels
from thoar.inference.bundle import Bundle
from thoar.inference.ensemble import read_model
from thoar.inference.localisation import box_of_cells, uncalibrated
from thoar.inference.shipped import shipped_models
from thoar.io.formats import read_labels, read_volume
from thoar.network.network import CoarseToFineNetwork, build_network

ORGANS = SEGTHOR.names
DRAWN = ("heart", "aorta")
"""Whose decoders are timed: the one of the roundest organ, and that of the longest."""
CONFIGS = Path(str(files("thoar"))) / "configs"
SEED = 0
"""Of the weights of a network that nobody has trained."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a network is given.

    Attributes:
        shape_zyx: of the prepared scan.
        boxes: of the organs of ``DRAWN``, as inference has them where the coarse map is right.
        gflop: of the convolutions, per part: ``encode`` (with the coarse heads) and each organ.
    """

    shape_zyx: Index3
    boxes: dict[str, Box]
    gflop: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A network and its task.

    Attributes:
        name: of a shipped model, or of a recipe, whose weights are those of a fixed seed.
        network: with the decoders of ``ORGANS``, in evaluation mode.
        image: the prepared scan.
        task: what to do with it.
        folder: of what engines keep for it.
    """

    name: str
    network: CoarseToFineNetwork
    image: Float[Tensor, "1 1 z y x"]
    task: Task
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """A scan as a network sees it, and its organs' masks on its own grid."""

    id: str
    prepared: Prepared
    masks: Mapping[str, Bool[np.ndarray, "z y x"]]


def bundle_of(name: str) -> Bundle:
    """Return a shipped model with the decoders of ``ORGANS``."""
    return read_model(name, organs=ORGANS)


def configuration_of(name: str) -> Configuration:
    """Return the configuration of a shipped model or a recipe."""
    if name in shipped_models():
        return bundle_of(name).configuration
    return configuration_from(load_toml(CONFIGS / f"{name}.toml"), source=name)


def network_of(name: str) -> CoarseToFineNetwork:
    """Return a shipped model's network, or a recipe's with weights of a fixed seed."""
    if name in shipped_models():
        return bundle_of(name).network.eval()
    torch.manual_seed(SEED)
    return build_network(configuration_of(name).network, ORGANS).eval()


def make_task(name: str, sample: Path, work: Path) -> Task:
    """Prepare the first case of a data set for a network, and keep it; return the task."""
    configuration = configuration_of(name)
    volume, labels = _read(next(iter(read_dataset(sample).cases)), sample)
    prepared = _prepared(volume, configuration)
    boxes = _boxes(prepare_labels(labels, prepared), configuration)
    image = torch.from_numpy(prepared.voxels)[None, None]
    z, y, x = prepared.voxels.shape
    task = Task(shape_zyx=(z, y, x), boxes=boxes, gflop=_gflop(network_of(name), image, boxes))
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", prepared.voxels)
    (folder / "task.json").write_bytes(msgspec.json.encode(task))
    return task


def subject_of(name: str, work: Path) -> Subject:
    """Return a network with the task that :func:`make_task` has kept."""
    folder = work / name
    return Subject(
        name=name,
        network=network_of(name),
        image=torch.from_numpy(np.load(folder / "image.npy"))[None, None],
        task=msgspec.json.decode((folder / "task.json").read_bytes(), type=Task),
        folder=folder,
    )


def scans_of(name: str, folders: tuple[Path, ...]) -> Iterator[Scan]:
    """Yield the cases of data sets, prepared for a network, with their reference masks."""
    configuration = configuration_of(name)
    for folder in folders:
        for case in read_dataset(folder).cases:
            volume, labels = _read(case, folder)
            ids = {organ: labels.label_set.organ(organ).id for organ in ORGANS}
            masks = {organ: np.equal(labels.voxels, number) for organ, number in ids.items()}
            yield Scan(id=case.id, prepared=_prepared(volume, configuration), masks=masks)


def _read(case: Case, folder: Path) -> tuple[Volume, LabelVolume]:
    if case.label is None:
        raise SystemExit(f"{folder}: case {case.id} has no label map, which masks are compared with")
    return read_volume(case.image), read_labels(case.label, read_dataset(folder).label_set)


def _prepared(volume: Volume, configuration: Configuration) -> Prepared:
    return prepare(
        volume,
        preparation=configuration.preparation,
        body=configuration.body,
        multiple_zyx=configuration.network.total_stride_zyx,
    )


def _boxes(labels: np.ndarray, configuration: Configuration) -> dict[str, Box]:
    """Return the boxes that perfect coarse maps would give."""
    stride, settings = configuration.network.total_stride_zyx, configuration.localisation
    boxes: dict[str, Box] = {}
    for organ in DRAWN:
        mask = labels == SEGTHOR.organ(organ).id
        z, y, x = (size // step for size, step in zip(mask.shape, stride, strict=True))
        cells = mask.reshape(z, stride[0], y, stride[1], x, stride[2]).any(axis=(1, 3, 5))
        box = box_of_cells(cells, uncalibrated(settings, organ), least_cells_per_axis=settings.min_box_cells)
        if box is None:
            raise SystemExit(f"the sample has no {organ}, whose decoder is timed; take another --sample")
        boxes[organ] = box.scaled_up(stride)
    return boxes


def _gflop(network: CoarseToFineNetwork, image: Tensor, boxes: Mapping[str, Box]) -> dict[str, float]:
    gflop: dict[str, float] = {}
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            levels = network.encode(image)
            network.locate(levels)
        gflop["encode"] = counter.get_total_flops() / 1e9
        for organ, box in boxes.items():
            with FlopCounterMode(display=False) as counter:
                network.draw(levels, organ, box)
            gflop[organ] = counter.get_total_flops() / 1e9
    return gflop
