"""Training cases: prepared once, kept in a folder that runs may share, read from there by memory map.

A prepared case is named by what it was made of, so a change of scan, labels or preparation makes another
and two runs never write over each other's.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.errors import GeometryError, InputError, LabelError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import Case
from thoar.imaging.prepare import PreparationReport, Prepared, prepare, prepare_labels
from thoar.io.atomic import atomic_bytes, atomic_file
from thoar.io.digest import sha256_of
from thoar.io.formats import files_of, read_labels, read_volume

_log = logging.getLogger(__name__)
_KEY_DIGITS = 16  # of a SHA-256, in names of files; the whole of it stands inside


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept beside a prepared case's two arrays; written last, so that it vouches for them."""

    key: str
    lps_from_index: list[list[float]]
    content_zyx: Index3
    box_cells: dict[str, Box]
    report: PreparationReport
    image_sha256: str
    labels_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingCase:
    """A prepared case on disk.

    Attributes:
        id: the case's.
        group: the cases it belongs with.
        key: hash of its files, of what its labels mean and of how they were prepared.
        organs: that are labelled; one without a voxel only where the data set declares it absent.
        image_path: float32 ``.npy``, 0 to 1, padded to the total stride.
        labels_path: uint8 ``.npy``, label ids on the same grid.
        geometry: the padded grid.
        content_box: the part that is not padding.
        box_cells: each labelled organ's box in coarse cells, where it has a voxel.
        report: of its preparation.
        source: whose anatomy it shows, where the data set says.
        image_sha256: of the prepared image's file: the same scan twice has it twice.
    """

    id: str
    group: str
    key: str
    organs: tuple[str, ...]
    image_path: Path
    labels_path: Path
    geometry: Geometry
    content_box: Box
    box_cells: dict[str, Box]
    report: PreparationReport
    source: str = ""
    image_sha256: str = ""

    def image(self) -> Float32[np.ndarray, "z y x"]:
        """Return the prepared voxels (a memory map).

        Raises:
            InputError: if the file was removed or cut off since it was prepared.
        """
        return self._mapped(self.image_path)

    def labels(self) -> UInt8[np.ndarray, "z y x"]:
        """Return the label ids (a memory map); raises as :meth:`image` does."""
        return self._mapped(self.labels_path)

    def _mapped(self, path: Path) -> np.ndarray:
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"case {self.id}: {path} was whole when the run started and cannot be read any more "
                f"({error}); go on with --resume, which prepares it anew"
            ) from error

    def of_organs(self, names: Collection[str]) -> "TrainingCase":
        """Return the case as if only some of its organs were labelled."""
        return replace(
            self,
            organs=tuple(name for name in self.organs if name in names),
            box_cells={name: box for name, box in self.box_cells.items() if name in names},
        )

    def prepared(self) -> Prepared:
        """Return the case as the predictor takes it; results lie on the prepared grid without padding."""
        return Prepared(
            voxels=np.array(self.image()),
            geometry=self.geometry,
            content_box=self.content_box,
            source_geometry=self.geometry.cropped(self.content_box),
            report=self.report,
        )


def prepare_cases(
    cases: Sequence[Case],
    *,
    configuration: Configuration,
    label_set: LabelSet,
    folder: Path,
    workers: int = 1,
    on_case: Callable[[str], None] = lambda _: None,
) -> list[TrainingCase]:
    """Return all cases prepared, reusing what the folder holds of the same content and settings.

    Args:
        cases: every one with a label.
        configuration: how to prepare.
        label_set: what the labels mean.
        folder: where prepared cases are kept; several runs may use it at a time.
        workers: threads.
        on_case: called with each case's id when it is ready.

    Raises:
        InputError: naming the case that cannot be used and why.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def one(case: Case) -> TrainingCase:
        ready = _ready_case(case, configuration=configuration, label_set=label_set, folder=folder)
        on_case(case.id)
        return ready

    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(one, cases))


def coarse_target(
    labels: UInt8[np.ndarray, "z y x"], label: int, stride_zyx: Index3
) -> Bool[np.ndarray, "cz cy cx"]:
    """Return the coarse cells that hold at least one voxel of a label: the labels' max-pooling.

    Args:
        labels: ids; each axis a multiple of the stride.
        label: which one.
        stride_zyx: voxels per cell.
    """
    (z, y, x), (sz, sy, sx) = labels.shape, stride_zyx
    return (labels == label).reshape(z // sz, sz, y // sy, sy, x // sx, sx).any(axis=(1, 3, 5))


def _ready_case(
    case: Case, *, configuration: Configuration, label_set: LabelSet, folder: Path
) -> TrainingCase:
    if case.label is None:
        raise InputError(
            f"case {case.id}: has no label, so it cannot be trained on; remove it from the data set"
        )
    key = _content_key(case, configuration, label_set)
    record_path = folder / f"{case.id}-{key[:_KEY_DIGITS]}.json"
    record = _kept_record(record_path, key, case_id=case.id)
    if record is None:
        record = _prepare_and_keep(
            case,
            case.label,
            key=key,
            configuration=configuration,
            label_set=label_set,
            record_path=record_path,
        )
    image_path, labels_path = _array_paths(record_path)
    shape = np.load(image_path, mmap_mode="r").shape
    organs = _known_organs(case, record)
    return TrainingCase(
        id=case.id,
        group=case.group,
        source=case.source,
        key=key,
        organs=organs,
        image_path=image_path,
        labels_path=labels_path,
        geometry=Geometry(shape_zyx=shape, lps_from_index=np.array(record.lps_from_index)),
        content_box=Box.of_shape(record.content_zyx),
        box_cells={name: box for name, box in record.box_cells.items() if name in organs},
        report=record.report,
        image_sha256=record.image_sha256,
    )


def _known_organs(case: Case, record: _Record) -> tuple[str, ...]:
    """Return the organs that the label map says something of: a missing contour is no absent organ."""
    undrawn = [name for name in case.organs if name not in record.box_cells and name not in case.absent]
    if undrawn:
        _log.warning(
            "case %s: %s is listed as labelled and has no voxel; it counts as not labelled here. Where it is "
            "known to be absent, say so in the data set (absent = [...])",
            case.id,
            ", ".join(undrawn),
        )
    return tuple(name for name in case.organs if name not in undrawn)


def _array_paths(record_path: Path) -> tuple[Path, Path]:
    return record_path.with_name(f"{record_path.stem}.image.npy"), record_path.with_name(
        f"{record_path.stem}.labels.npy"
    )


def _kept_record(path: Path, key: str, *, case_id: str) -> _Record | None:
    """Return the record of a prepared case that is whole; a damaged one is reported and made anew."""
    if not path.exists():
        return None
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_Record)
        found = tuple(sha256_of(array) for array in _array_paths(path))
    except (OSError, InputError, msgspec.DecodeError) as error:
        _log.warning(
            "case %s: what was prepared before cannot be read (%s); preparing it anew", case_id, error
        )
        return None
    if record.key != key or found != (record.image_sha256, record.labels_sha256):
        _log.warning(
            "case %s: what was prepared before is damaged (%s); preparing it anew", case_id, path.name
        )
        return None
    return record


def _content_key(case: Case, configuration: Configuration, label_set: LabelSet) -> str:
    digest = hashlib.sha256()
    settings = (configuration.preparation, configuration.body, configuration.network.total_stride_zyx)
    meaning = ([(organ.name, organ.id) for organ in label_set.organs], case.organs, case.absent)
    digest.update(msgspec.json.encode((settings, meaning)))
    for path in (case.image, case.label):
        try:
            for file in () if path is None else files_of(path):
                digest.update(bytes.fromhex(sha256_of(file)))
        except InputError as error:
            raise type(error)(f"case {case.id}: {error}") from error
    return digest.hexdigest()


def _prepare_and_keep(
    case: Case, label: Path, *, key: str, configuration: Configuration, label_set: LabelSet, record_path: Path
) -> _Record:
    stride_zyx = configuration.network.total_stride_zyx
    try:
        prepared = prepare(
            read_volume(case.image),
            preparation=configuration.preparation,
            body=configuration.body,
            multiple_zyx=stride_zyx,
        )
        labels = prepare_labels(read_labels(label, label_set), prepared)
    except (GeometryError, LabelError, InputError) as error:
        raise type(error)(f"case {case.id} ({case.image.name}, {label.name}): {error}") from error
    image_path, labels_path = _array_paths(record_path)
    atomic_file(image_path, lambda path: np.save(path, prepared.voxels))
    atomic_file(labels_path, lambda path: np.save(path, labels))
    record = _Record(
        key=key,
        lps_from_index=prepared.geometry.lps_from_index.tolist(),
        content_zyx=prepared.content_box.shape_zyx,
        box_cells=_boxes(labels, label_set, stride_zyx),
        report=prepared.report,
        image_sha256=sha256_of(image_path),
        labels_sha256=sha256_of(labels_path),
    )
    atomic_bytes(record_path, msgspec.json.encode(record))
    return record


def _boxes(labels: np.ndarray, label_set: LabelSet, stride_zyx: Index3) -> dict[str, Box]:
    boxes = {
        organ.name: Box.of_mask(coarse_target(labels, organ.id, stride_zyx)) for organ in label_set.organs
    }
    return {name: box for name, box in boxes.items() if box is not None}
