"""Structures as volume files: one mask each in a folder, or one label map with its table."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from thoar.core.errors import LabelError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.structure_table import HIGHEST_ID, write_structure_table
from thoar.io.atomic import replace_folder
from thoar.io.formats import VOLUME_SUFFIXES, volume_stem, write_labels, write_volume
from thoar.io.structures.organ_mask import OrganMask

_LONGEST = 80  # characters; in UTF-8 with an ending they fit the 255 bytes of file systems
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def check_replaceable(out: Path, *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Refuse to replace an input, ever; or what stands at ``out``, unless that is asked for and it is ours.

    Raises:
        UsageError: if so.
    """
    ours = out.resolve()
    for given in inputs:
        place = given.resolve()
        if ours == place or (given.is_dir() and ours.is_relative_to(place)) or place.is_relative_to(ours):
            raise UsageError(
                f"{out}: is or holds {given}, or lies in it; inputs are never touched: choose another -o"
            )
    if out.is_dir():
        strange = sorted(
            file.name for file in out.iterdir() if not file.name.lower().endswith(VOLUME_SUFFIXES)
        )
        if strange:
            raise UsageError(f"{out}: holds {strange[0]}, which is no mask of ours; choose another folder")
        if not overwrite and any(out.iterdir()):
            raise UsageError(
                f"{out}: holds masks already; choose another folder, or replace them with --overwrite"
            )
    elif out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; choose another name, or replace it with --overwrite")


def write_masks(
    out: Path, geometry: Geometry, organs: Sequence[OrganMask], *, suffix: str
) -> tuple[str, ...]:
    """Write a folder of masks of 0 and 1, each called by its structure's name; return the files' names."""
    files = [f"{name}{suffix}" for name in file_names(organ.organ.name for organ in organs)]

    def fill(folder: Path) -> None:
        for file, organ in zip(files, organs, strict=True):
            whole = np.zeros(geometry.shape_zyx, dtype=np.uint8)
            whole[organ.box_zyx.slices] = organ.mask
            write_volume(folder / file, Volume(voxels=whole, geometry=geometry))

    replace_folder(out, fill)
    return tuple(files)


def write_label_map(out: Path, geometry: Geometry, organs: Sequence[OrganMask]) -> tuple[str, ...]:
    """Write one label map, and beside it a table of its structures and ids.

    Ids stay as they are where they can.

    Raises:
        LabelError: if two structures share a voxel, or there is none.
    """
    if not organs:
        raise LabelError(f"{out}: no structure has a voxel, so there is nothing to write")
    ids = [organ.organ.id for organ in organs]
    if len(set(ids)) < len(ids) or not all(1 <= number <= HIGHEST_ID for number in ids):
        ids = list(range(1, len(organs) + 1))
    labels = np.zeros(geometry.shape_zyx, dtype=np.uint16)
    for number, organ in zip(ids, organs, strict=True):
        inside = labels[organ.box_zyx.slices]
        _refuse_overlap(inside[organ.mask], out, names={**_by_id(organs, ids), 0: organ.organ.name})
        inside[organ.mask] = number
    names = file_names(organ.organ.name for organ in organs)
    kinds = LabelSet(organs=tuple(Organ(name=n, id=i) for n, i in zip(names, ids, strict=True)))
    write_labels(out, LabelVolume(voxels=labels, geometry=geometry, label_set=kinds))
    write_structure_table(table_of(out), [(name, number) for number, name in _by_id(organs, ids).items()])
    return out.name, table_of(out).name


def table_of(label_map: Path) -> Path:
    """Return where a label map's table lies."""
    return label_map.with_name(f"{volume_stem(label_map)}.csv")


def _by_id(organs: Sequence[OrganMask], ids: Sequence[int]) -> dict[int, str]:
    return {number: organ.organ.name for number, organ in zip(ids, organs, strict=True)}


def _refuse_overlap(taken: Integer[np.ndarray, "voxel"], out: Path, *, names: Mapping[int, str]) -> None:
    others = taken[taken > 0]
    if others.size:
        raise LabelError(
            f"{out}: {names[0]} and {names[int(others[0])]} share {others.size} voxels or more, which a "
            "label map cannot show; write a folder of masks (--to masks)"
        )


def file_names(names: Iterable[str]) -> list[str]:
    """Return names that can be a file's, no two alike: letters, digits and ``. _ - +`` stay.

    >>> file_names(["Heart", "Lt Lung", "heart", "../PTV"])
    ['Heart', 'Lt_Lung', 'heart_2', 'PTV']
    """
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        plain = "".join(c if c.isalnum() or c in "._-+" else "_" for c in name)[:_LONGEST].strip("._ ")
        plain = plain if plain and plain.casefold().split(".")[0] not in _DEVICES else f"structure_{plain}"
        numbered = chain([plain], (f"{plain}_{n}" for n in count(2)))
        free = next(text for text in numbered if text.casefold() not in taken)
        taken.add(free.casefold())
        found.append(free)
    return found
