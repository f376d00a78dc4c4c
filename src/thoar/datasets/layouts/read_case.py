"""One case of a source: its image and labels read, compared with each other, and made one label map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt16

from thoar.core.box import Box
from thoar.core.errors import GeometryError, LabelError
from thoar.core.geometry import Geometry
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.layouts.source import LabelFile, SourceCase
from thoar.datasets.layouts.vocabulary import Vocabulary
from thoar.datasets.scans import read_scan
from thoar.imaging.boxed import same_points
from thoar.imaging.prepare import SAME_GRID_MM
from thoar.io.formats import read_integers

_IDS = 65536


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadCase:
    """A case in memory.

    Attributes:
        image: its scan.
        labels: on the scan's own grid; None where it has none.
        named: the organs that its label files have names for, with a voxel or without.
        voxels: how many each of the organs has, of those that have any.
        overlaps: voxels that one organ took from another, as in "aorta over heart".
    """

    image: Volume
    labels: LabelVolume | None
    named: tuple[str, ...]
    voxels: Mapping[str, int]
    overlaps: Mapping[str, int]


def read_case(case: SourceCase, vocabulary: Vocabulary) -> ReadCase:
    """Read a case's files, each once; of organs that it says are not labelled, no voxel is taken.

    Raises:
        InputError: or one of its kinds, if a file cannot be used, or holds NaN.
        GeometryError: if image and label do not lie on one grid; their axes may run in another order.
        LabelError: if a value is no whole number, an id is not declared, an organ lacks the file of a part,
            or all of it lies under others.
    """
    image = read_scan(case.image).volume
    if not case.labels:
        return ReadCase(image=image, labels=None, named=(), voxels={}, overlaps={})
    if case.organs is not None:
        vocabulary = vocabulary.only(vocabulary.organs_of(case.organs, case.id))
    _refuse_missing_parts(case, vocabulary)
    label_set = vocabulary.label_set
    painted = np.zeros(image.geometry.shape_zyx, np.uint16)
    overlaps: dict[str, int] = {}
    for label in sorted(case.labels, key=lambda label: _rank(label, vocabulary)):
        if not _organ_ids(label, vocabulary) and len(case.labels) > 1:
            continue
        ids = _read_on(label, image.geometry, vocabulary)
        for what, count in _taken_over(painted, ids, vocabulary).items():
            overlaps[what] = overlaps.get(what, 0) + count
        np.copyto(painted, ids, where=ids > 0)
    counts = _counts(painted)
    _refuse_covered([o.name for o in label_set.organs if not counts[o.id]], overlaps)
    named = {organ for label in case.labels for organ in _organs_in(label, vocabulary)}
    return ReadCase(
        image=image,
        labels=LabelVolume(voxels=painted, geometry=image.geometry, label_set=label_set),
        named=tuple(organ for organ in label_set.names if organ in named),
        voxels={organ.name: int(counts[organ.id]) for organ in label_set.organs if counts[organ.id]},
        overlaps=overlaps,
    )


def _refuse_missing_parts(case: SourceCase, vocabulary: Vocabulary) -> None:
    """Refuse a case that has files of some of an organ's parts; what is drawn then is not the organ."""
    there = {name for label in case.labels for name in vocabulary.names_in(label).values()}
    for organ in vocabulary.label_set.names:
        parts = [name for name, meant in vocabulary.organ_of.items() if meant == organ]
        missing = [name for name in parts if name not in there]
        if missing and len(missing) < len(parts):
            raise LabelError(
                f"{case.labels[0].path.parent}: {organ} is joined of {', '.join(parts)}, but there is no "
                f"file of {', '.join(missing)}; fetch what is missing, or leave the case out"
            )


def _refuse_covered(without_voxels: Sequence[str], overlaps: Mapping[str, int]) -> None:
    """Refuse a case in which an organ is drawn but lost to others; else it would count as not there."""
    for organ in without_voxels:
        over = [what for what in overlaps if what.endswith(f" over {organ}")]
        if over:
            raise LabelError(
                f"{organ} is drawn, but all of it lies under others ({', '.join(over)}); correct the masks, "
                "or set priority in a file of names, given with --names"
            )


def _organs_in(label: LabelFile, vocabulary: Vocabulary) -> list[str]:
    names = vocabulary.names_in(label).values()
    return [vocabulary.organ_of[name] for name in names if name in vocabulary.organ_of]


def _organ_ids(label: LabelFile, vocabulary: Vocabulary) -> dict[int, int]:
    """Return the ids of a label file that are taken, each with its organ's id."""
    return {
        number: vocabulary.label_set.organ(vocabulary.organ_of[name]).id
        for number, name in vocabulary.names_in(label).items()
        if name in vocabulary.organ_of
    }


def _rank(label: LabelFile, vocabulary: Vocabulary) -> int:
    """Return when to paint a file: that of the organ which goes over all others last."""
    return max((vocabulary.priority.index(organ) for organ in _organs_in(label, vocabulary)), default=-1)


def _read_on(label: LabelFile, grid: Geometry, vocabulary: Vocabulary) -> UInt16[np.ndarray, "z y x"]:
    """Read a label file as organs' ids on a scan's grid."""
    found = read_integers(label.path)
    whole = Box.of_shape(found.geometry.shape_zyx)
    placed = same_points(found.voxels, whole, source=found.geometry, target=grid, tolerance_mm=SAME_GRID_MM)
    if placed is None:
        apart_mm = found.geometry.difference_mm(grid)
        apart = f", corners up to {apart_mm:.3g} mm apart" if np.isfinite(apart_mm) else ""
        raise GeometryError(
            f"{label.path}: does not lie on its image's grid: {_told(found.geometry)}, the image "
            f"{_told(grid)}{apart}; find out which of the two places is right, and resample or correct the "
            "other"
        )
    names = vocabulary.names_in(label)
    _refuse_strangers(found, names, label=label)
    meaning = np.zeros(_IDS, np.uint16)
    for number, organ_id in _organ_ids(label, vocabulary).items():
        meaning[number] = organ_id
    return meaning[placed[1]]


def _refuse_strangers(found: Volume, names: Mapping[int, str], *, label: LabelFile) -> None:
    counts = _counts(found.voxels)
    strange = [int(number) for number in np.flatnonzero(counts) if number and int(number) not in names]
    if strange:
        listed = ", ".join(f"{number} ({counts[number]} voxels)" for number in strange[:10])
        declared = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
        raise LabelError(
            f"{label.path}: holds ids that are not declared: {listed}; declared are {declared}; correct the "
            "map, or say what they are"
        )


def _taken_over(painted: np.ndarray, ids: np.ndarray, vocabulary: Vocabulary) -> dict[str, int]:
    both = (painted > 0) & (ids > 0) & (painted != ids)
    if not both.any():
        return {}
    names = {organ.id: organ.name for organ in vocabulary.label_set.organs}
    pairs, counts = np.unique(np.stack([ids[both], painted[both]]), axis=1, return_counts=True)
    return {
        f"{names[int(new)]} over {names[int(old)]}": int(count)
        for (new, old), count in zip(pairs.T, counts, strict=True)
    }


def _counts(voxels: np.ndarray) -> np.ndarray:
    """Count each id, slice by slice to save memory."""
    counts = np.zeros(_IDS, np.int64)
    for plane in voxels:
        found = np.bincount(plane.ravel())
        counts[: found.size] += found
    return counts


def _told(geometry: Geometry) -> str:
    spacing = "×".join(f"{step:.4g}" for step in geometry.spacing_zyx_mm)
    origin = ", ".join(f"{place:.4g}" for place in geometry.origin_xyz_mm)
    return (
        f"{'×'.join(map(str, geometry.shape_zyx))} voxels of {spacing} mm (z, y, x) from ({origin}) (x, y, z)"
    )
