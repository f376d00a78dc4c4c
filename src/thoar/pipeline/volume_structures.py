"""Structures from volumes: a label map, masks, probabilities."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num

from thoar.core.errors import GeometryError, LabelError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.datasets.structure_table import read_structure_table
from thoar.io.formats import VOLUME_SUFFIXES, read_integers, read_volume, volume_stem
from thoar.io.structures.organ_mask import OrganMask
from thoar.pipeline.structures import Structures, in_box, known_organ, organ_called

_log = logging.getLogger(__name__)


def volumes_in(folder: Path) -> list[Path]:
    """Return the volume files that lie in a folder itself, in order of name."""
    named = [file for file in sorted(folder.iterdir()) if file.name.lower().endswith(VOLUME_SUFFIXES)]
    return [file for file in named if file.is_file() and not file.name.startswith(".")]


def structures_of_label_map(path: Path, *, table: Path | None) -> Structures:
    """Read a label map.

    Args:
        path: a volume file.
        table: CSV of names and ids. Without one SEGTHOR's names count where no other id occurs, else
            structures are called ``label_7`` and so on.

    Raises:
        LabelError: if values are no label ids.
        InputError: or one of its kinds, if the file or the table cannot be read.
    """
    labels = read_integers(path)
    return Structures(path=path, organs=tuple(_labelled(labels, path, table=table)), place=labels.geometry)


def structures_of_masks(path: Path, *, probability: bool) -> Structures:
    """Read masks or probabilities, a file for each structure and called by its name.

    Args:
        path: a file or a folder of files.
        probability: whether values are probabilities.

    Raises:
        LabelError: if a mask has more than two values, or a probability is not 0 to 1.
        GeometryError: if the files lie on different grids.
        InputError: or one of its kinds, if a file cannot be read.
    """
    files = [path] if path.is_file() else volumes_in(path)
    names = [volume_stem(file).removeprefix("probability_") for file in files]
    values = _probability if probability else _mask
    organs: list[OrganMask] = []
    grids: list[Geometry] = []
    for file, name, number in zip(files, names, _ids_of(names), strict=True):
        volume = read_volume(file)
        grids.append(volume.geometry)
        if not grids[0].same_grid(volume.geometry):
            raise GeometryError(f"{file}: lies on another grid than {files[0].name}; resample one of them")
        organs.append(in_box(organ_called(name, number), values(volume.voxels, file)))
    return Structures(path=path, organs=tuple(organs), place=grids[0])


def _labelled(labels: Volume, path: Path, *, table: Path | None) -> Iterator[OrganMask]:
    present = [int(n) for n in np.flatnonzero(np.bincount(labels.voxels.ravel())) if n]
    names = _names_of(present, path, table=table)
    for number in present:
        organ = organ_called(names.get(number, f"label_{number}"), number)
        yield in_box(organ, labels.voxels == number)


def _names_of(present: Sequence[int], path: Path, *, table: Path | None) -> Mapping[int, str]:
    if table is not None:
        named = {number: name for name, number in read_structure_table(table).items()}
        strange = [number for number in present if number not in named]
        if strange:
            _log.warning("%s: %s does not name the ids %s", path, table.name, strange)
        return named
    known = {organ.id: organ.name for organ in SEGTHOR.organs}
    if not set(present) <= known.keys():
        return {}
    said = ", ".join(f"{number} {known[number]}" for number in present)
    _log.warning("%s: its ids are taken for SEGTHOR's (%s); --structures names others", path, said)
    return known


def _ids_of(names: Sequence[str]) -> list[int]:
    """Return SEGTHOR's ids where all names are of its organs, else ids counted from 1."""
    ids = [organ.id for organ in map(known_organ, names) if organ is not None]
    return ids if len(set(ids)) == len(names) else list(range(1, len(names) + 1))


def _mask(values: Num[np.ndarray, "z y x"], path: Path) -> Num[np.ndarray, "z y x"]:
    high = float(values.max())
    if not np.isin(values, (0, high)).all() or high < 0:
        raise LabelError(
            f"{path}: is no mask of 0 and one other value; give a label map as a file alone, probabilities "
            "with --probability"
        )
    return (values > 0).astype(np.uint8)


def _probability(values: Num[np.ndarray, "z y x"], path: Path) -> Num[np.ndarray, "z y x"]:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise LabelError(f"{path}: its values run from {low:g} to {high:g}; probabilities lie in 0..1")
    return values
