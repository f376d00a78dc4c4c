"""A data set of small chests: a body, two lungs, a round heart and a straight trachea."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
from thoar.training.events import Event, Outcome
from thoar.training.run import Setting, train
from thoar.training.split import held_out

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


@pytest.fixture(scope="session")
def train_small(
    small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> Callable[..., Outcome]:
    """A function that trains one epoch of each stage into a folder; ``only`` so many steps of it."""

    def train_small(
        folder: Path,
        *overrides: str,
        dataset: Dataset = small_dataset,
        resume: bool = False,
        only: float = float("inf"),
        watch: Callable[[Event], None] = lambda _: None,
        device: str = "cpu",
        **setting: Any,
    ) -> Outcome:
        configuration = small_configuration("train.coarse_epochs=1", "train.joint_epochs=1", *overrides)
        steps = [0]

        def counting(event: Event) -> None:
            steps[0] += event.kind == "step"
            watch(event)

        return train(
            configuration,
            held_out(dataset.cases, validation_cases=configuration.train.validation_cases, seed=3),
            folder,
            label_set=dataset.label_set,
            setting=Setting(device=device, watch=counting, should_stop=lambda: steps[0] >= only, **setting),
            resume=resume,
        )

    return train_small


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, train_small: Callable[..., Outcome]) -> Path:
    """What ``train_small`` leaves if nothing interrupts it."""
    run = tmp_path_factory.mktemp("small") / "run"
    assert train_small(run) == "finished"
    return run


@pytest.fixture(scope="session")
def bits() -> Callable[[Path], dict[str, str]]:
    """A function from a run to the SHA-256 of the files of its bundles."""

    def bits(run: Path) -> dict[str, str]:
        files = [path for kind in ("best", "last") for path in sorted((run / kind).iterdir())]
        return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    return bits


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
