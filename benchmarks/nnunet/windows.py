"""The phantoms that both sides see: made at 4 mm, and cut to a window that fits a budget of minutes."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from costs import command
from provenance import code

from thoar.core.box import Box, Index3
from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.io.atomic import atomic_bytes, replace_folder
from thoar.io.formats import read_labels, read_volume, write_labels, write_volume

DATA = {"training": ("20", "20"), "test": ("10", "2020")}
"""Cases and seed of each data set."""
SPACING_MM = 4.0
LARGEST_ZYX: Index3 = (48, 96, 96)
WANDER = 6
"""The window lies around the organs' middle, so many voxels beside it at most along each axis, at random."""


def make_data(folder: Path) -> Path:
    """Make both data sets unless they are there, and return their folder."""
    if not (folder / "made.json").is_file():
        for name, (cases, seed) in DATA.items():
            whole = folder / f"whole-{name}"
            spacing = ("--spacing-zyx-mm", *3 * (f"{SPACING_MM:g}",))
            options = ("--cases", cases, "--seed", seed, *spacing, "--overwrite")
            command(["phantom", whole, *options], folder / f"{name}.log")
            replace_folder(
                folder / name, lambda new, whole=whole, seed=int(seed): cut_all(whole, new, seed=seed)
            )
        atomic_bytes(folder / "made.json", msgspec.json.encode(code()))
    return folder


def cut_all(whole: Path, new: Path, *, seed: int) -> None:
    """Write every case of a data set with its window alone, in the same layout."""
    dataset = read_dataset(whole)
    cases = tuple(cut(case, new, rng=rng_for(seed, "window", case.id)) for case in dataset.cases)
    write_dataset(new, Dataset(root=new, label_set=SEGTHOR, cases=cases))


def cut(case: Case, new: Path, *, rng: np.random.Generator) -> Case:
    """Write one case's window."""
    if case.label is None:
        raise ValueError(f"{case.id}: a phantom without labels")
    image, labels = read_volume(case.image), read_labels(case.label, SEGTHOR)
    box = window(labels.voxels > 0, rng)
    part = Volume(voxels=labels.voxels, geometry=labels.geometry).cropped(box)
    place = new / case.id
    place.mkdir()
    write_volume(place / case.image.name, image.cropped(box))
    write_labels(
        place / case.label.name,
        LabelVolume(voxels=np.asarray(part.voxels), geometry=part.geometry, label_set=SEGTHOR),
    )
    return replace(case, image=place / case.image.name, label=place / case.label.name)


def window(organs: np.ndarray, rng: np.random.Generator) -> Box:
    """Return a box of at most ``LARGEST_ZYX`` voxels near the organs' middle; the whole along short axes."""
    around = Box.of_mask(organs)
    if around is None:
        raise ValueError("a phantom without organs")
    start, stop = [], []
    for axis, most in enumerate(LARGEST_ZYX):
        size = min(most, organs.shape[axis])
        middle = (around.start_zyx[axis] + around.stop_zyx[axis]) // 2 + int(
            rng.integers(-WANDER, WANDER + 1)
        )
        first = min(max(0, middle - size // 2), organs.shape[axis] - size)
        start.append(first)
        stop.append(first + size)
    return Box(start_zyx=(start[0], start[1], start[2]), stop_zyx=(stop[0], stop[1], stop[2]))
