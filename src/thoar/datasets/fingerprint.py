"""What a data set is like where training is concerned: sizes, Hounsfield units, boxes. No torch."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Int64, Num, UInt8

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.errors import GeometryError, InputError, LabelError
from thoar.core.geometry import Vector3
from thoar.core.labels import LabelSet
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.datasets.manifest import Case, Dataset
from thoar.imaging.prepare import Prepared, prepare, prepare_labels
from thoar.io.formats import read_labels, read_volume

LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Values are counted one by one between these; what lies outside counts as the nearer one."""

_SHARES = {"lowest": 0.005, "lower": 0.25, "median": 0.5, "upper": 0.75, "highest": 0.995}


class Percentiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of Hounsfield units: the 0.5th, 25th, 50th, 75th and 99.5th."""

    lowest: float
    lower: float
    median: float
    upper: float
    highest: float


class CaseFingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case.

    Attributes:
        id: the case's.
        shape_zyx: of the scan as it came.
        spacing_zyx_mm: likewise.
        resampled_shape_zyx: of the whole field of view at the recipe's spacing.
        content_zyx: of the body's box there.
        prepared_shape_zyx: of that box, padded to the network's stride.
        box_cells_zyx: each labelled organ's box in coarse cells, where it has a voxel.
    """

    id: str
    shape_zyx: Index3
    spacing_zyx_mm: Vector3
    resampled_shape_zyx: Index3
    content_zyx: Index3
    prepared_shape_zyx: Index3
    box_cells_zyx: dict[str, Index3]


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A data set as a recipe prepares it.

    Attributes:
        organs: of the label set.
        spacing_zyx_mm: of the prepared grids.
        stride_zyx: prepared voxels per coarse cell.
        cases: in the data set's order.
        organ_hu: of every organ that has a voxel, over all cases, on the scans' own voxels.
        body_hu: of the body, over all cases, on the prepared grids and within the recipe's window.
    """

    organs: tuple[str, ...]
    spacing_zyx_mm: Vector3
    stride_zyx: Index3
    cases: tuple[CaseFingerprint, ...]
    organ_hu: dict[str, Percentiles]
    body_hu: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counted:
    """A case, and how often each Hounsfield unit occurs in its organs and in its body."""

    case: CaseFingerprint
    organs: dict[str, Int64[np.ndarray, " value"]]
    body: Int64[np.ndarray, " value"]


def fingerprint(
    dataset: Dataset,
    configuration: Configuration,
    *,
    workers: int = 1,
    on_case: Callable[[str], None] = lambda _: None,
) -> Fingerprint:
    """Read every case once and return what the data set is like.

    Args:
        dataset: every case with a label.
        configuration: how training would prepare it.
        workers: threads.
        on_case: called with each case's id when it is read.

    Raises:
        InputError: naming the case that cannot be trained on and why, as training itself would.
    """

    def one(case: Case) -> _Counted:
        counted = _counted(case, configuration, dataset.label_set)
        on_case(case.id)
        return counted

    with ThreadPoolExecutor(max_workers=workers) as pool:
        counted = list(pool.map(one, dataset.cases))
    names = dataset.label_set.names
    shown = {name: [one.organs[name] for one in counted if name in one.organs] for name in names}
    return Fingerprint(
        organs=names,
        spacing_zyx_mm=configuration.preparation.spacing_zyx_mm,
        stride_zyx=configuration.network.total_stride_zyx,
        cases=tuple(one.case for one in counted),
        organ_hu={name: _percentiles(np.sum(counts, axis=0)) for name, counts in shown.items() if counts},
        body_hu=_percentiles(np.sum([one.body for one in counted], axis=0)),
    )


def _counted(case: Case, configuration: Configuration, label_set: LabelSet) -> _Counted:
    if case.label is None:
        raise InputError(
            f"case {case.id}: has no label, so it cannot be trained on; remove it from the data set"
        )
    try:
        return _counted_files(case, case.label, configuration=configuration, label_set=label_set)
    except (GeometryError, LabelError, InputError) as error:
        raise type(error)(f"case {case.id} ({case.image.name}, {case.label.name}): {error}") from error


def _counted_files(case: Case, label: Path, *, configuration: Configuration, label_set: LabelSet) -> _Counted:
    stride_zyx = configuration.network.total_stride_zyx
    volume, labels = read_volume(case.image), read_labels(label, label_set)
    prepared = prepare(
        volume,
        preparation=configuration.preparation,
        body=configuration.body,
        multiple_zyx=stride_zyx,
    )
    mapped = prepare_labels(labels, prepared)
    wanted = label_set.subset(case.organs)
    return _Counted(
        case=CaseFingerprint(
            id=case.id,
            shape_zyx=volume.geometry.shape_zyx,
            spacing_zyx_mm=volume.geometry.spacing_zyx_mm,
            resampled_shape_zyx=prepared.report.resampled_shape_zyx,
            content_zyx=prepared.content_box.shape_zyx,
            prepared_shape_zyx=prepared.geometry.shape_zyx,
            box_cells_zyx=_boxes(mapped, wanted, stride_zyx),
        ),
        organs=_organ_counts(volume, labels, wanted),
        body=_counts(_body_hu(prepared, configuration.preparation.window_hu)),
    )


def _boxes(labels: UInt8[np.ndarray, "z y x"], wanted: LabelSet, stride_zyx: Index3) -> dict[str, Index3]:
    boxes = {organ.name: Box.of_mask(labels == organ.id) for organ in wanted.organs}
    return {
        name: box.snapped_outward(stride_zyx).scaled_down(stride_zyx).shape_zyx
        for name, box in boxes.items()
        if box is not None
    }


def _organ_counts(
    volume: Volume, labels: LabelVolume, wanted: LabelSet
) -> dict[str, Int64[np.ndarray, " value"]]:
    values = to_canonical(volume).voxels
    ids = to_canonical(Volume(voxels=labels.voxels, geometry=labels.geometry)).voxels
    masks: Mapping[str, np.ndarray] = {organ.name: ids == organ.id for organ in wanted.organs}
    return {name: _counts(values[mask]) for name, mask in masks.items() if mask.any()}


def _body_hu(prepared: Prepared, window_hu: tuple[float, float]) -> Num[np.ndarray, " voxel"]:
    low, high = window_hu
    inside = prepared.voxels[prepared.voxels > 0]
    return inside * (high - low) + low


def _counts(values_hu: Num[np.ndarray, " voxel"]) -> Int64[np.ndarray, " value"]:
    whole = np.clip(np.rint(values_hu), LOWEST_HU, HIGHEST_HU).astype(np.int64) - LOWEST_HU
    return np.bincount(whole, minlength=HIGHEST_HU - LOWEST_HU + 1)


def _percentiles(counts: Int64[np.ndarray, " value"]) -> Percentiles:
    passed = np.cumsum(counts)
    return Percentiles(
        **{name: float(np.searchsorted(passed, s * passed[-1]) + LOWEST_HU) for name, s in _SHARES.items()}
    )
