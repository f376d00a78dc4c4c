"""A data set of small chests: a body, two lungs, a round heart and a straight trachea."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from thoar.core.configuration import Configuration, configuration_from
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.io.formats import write_labels, write_volume

TWO_ORGANS = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="trachea", id=3)))

SMALL = {
    "name": "small",
    "preparation": {"spacing_zyx_mm": [6.0, 6.0, 6.0]},
    "network": {
        "stem_channels": 4,
        "blocks": [
            {"channels": 6, "convolutions": 1},
            {"channels": 8, "convolutions": 1, "stride_zyx": [2, 2, 2]},
            {"channels": 8, "convolutions": 1},
        ],
        "average": "logits",
    },
    "localisation": {"threshold": 0.5, "organ_threshold": {}, "min_box_cells": 2},
    "augmentation": {"short_scan_cells": 6},
    "train": {
        "coarse_epochs": 2,
        "joint_epochs": 2,
        "learning_rate": 5e-3,
        "averaging": 0.9,
        "validation_cases": 1,
        "threads": 1,
        "seed": 3,
    },
}


@pytest.fixture(scope="session")
def two_organs() -> LabelSet:
    return TWO_ORGANS


@pytest.fixture(scope="session")
def small_configuration() -> Callable[..., Configuration]:
    """A function from overrides to a configuration that trains in seconds."""
    return lambda *overrides: configuration_from(SMALL, overrides=overrides)


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same configuration as a TOML file."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(tomli_w.dumps(SMALL))
    return path


def small_chest(shift: int, *, noise_seed: int | None = None) -> tuple[Volume, LabelVolume]:
    """Return a chest of 24×30×40 voxels of 6 mm, its organs moved by so many voxels."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (24, 30, 40)), indexing="ij")
    body = ((y - 15) / 13) ** 2 + ((x - 20) / 18) ** 2 < 1
    lungs = (((y - 15) / 9) ** 2 + ((np.abs(x - 20) - 9) / 6) ** 2 < 1) & (z > 3)
    heart = ((z - 9 - shift) / 5) ** 2 + ((y - 12) / 5) ** 2 + ((x - 22 - shift) / 6) ** 2 < 1
    trachea = (abs(y - 18) < 2) & (abs(x - 20 + shift) < 2) & (z > 12)
    hu = np.where(body, 30, -1000)
    hu[lungs] = -850
    hu[heart] = 120
    hu[trachea] = -980
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[heart], labels[trachea] = 2, 3
    noise = np.random.default_rng(shift + 1 if noise_seed is None else noise_seed).normal(0, 10, hu.shape)
    geometry = Geometry.axial((24, 30, 40), (6.0, 6.0, 6.0))
    return (
        Volume(voxels=(hu + noise).astype(np.int16), geometry=geometry),
        LabelVolume(voxels=labels, geometry=geometry, label_set=TWO_ORGANS),
    )


def write_small_dataset(folder: Path, *, cases: int = 4) -> Dataset:
    entries: list[Case] = []
    for number in range(cases):
        name = f"chest-{number}"
        image, label = folder / name / f"{name}.nii.gz", folder / name / "GT.nii.gz"
        image.parent.mkdir(parents=True)
        volume, labels = small_chest(number % 3 - 1, noise_seed=number)
        write_volume(image, volume)
        write_labels(label, labels)
        entries.append(Case(id=name, image=image, label=label, organs=TWO_ORGANS.names, group=name))
    write_dataset(folder, Dataset(root=folder, label_set=TWO_ORGANS, cases=tuple(entries)))
    return read_dataset(folder)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_small_dataset(tmp_path_factory.mktemp("small") / "dataset")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
