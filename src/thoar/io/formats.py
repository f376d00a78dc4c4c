"""The format a name asks for, and label maps on top of any format.

A format's module, and the library behind it, is imported when the first such file comes along.
"""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np
from jaxtyping import Num

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError
from thoar.core.labels import LabelSet
from thoar.core.volume import LabelVolume, Volume

_log = logging.getLogger(__name__)

_MODULES: Mapping[str, str] = MappingProxyType(
    {
        ".nii.gz": "nifti",
        ".nii": "nifti",
        ".nrrd": "nrrd",
        ".nhdr": "nrrd",
        ".mha": "metaimage",
        ".mhd": "metaimage",
        ".safetensors": "tensor_file",
    }
)
_WITH_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")

VOLUME_SUFFIXES = tuple(_MODULES)
"""Endings of the volumes we read, told apart without regard to upper and lower case."""

WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".safetensors")
"""Those of the volumes we write."""

WHOLE_TOLERANCE = 1e-3
"""A label may be so far from a whole number; files that went through float are."""

_IDS = 65536


def volume_stem(path: Path) -> str:
    """Return a volume's name without its ending; a folder's or any other name as it is.

    >>> volume_stem(Path("scans/Patient_01.v2.nii.gz"))
    'Patient_01.v2'
    """
    return path.name[: len(path.name) - len(_suffix(path))]


def is_dicom_folder(path: Path) -> bool:
    """Say whether a folder, or one inside it, holds a DICOM file, told by content."""
    return path.is_dir() and _module("dicom.files", path).holds_dicom(path)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that a path stands for.

    Returns:
        All files below a folder, links out of it aside, in the order of their paths; a detached header and
        its data file; any other file alone, whether it exists or not.

    Raises:
        InputError: or one of its kinds, if a folder cannot be listed, or a NRRD's or MetaImage's header
            cannot be read.
    """
    if path.is_dir():
        return tuple(sorted(_module("dicom.files", path).plain_files(path, [])))
    suffix = _suffix(path)
    data_file = _module(_MODULES[suffix], path).data_file(path) if suffix in _WITH_HEADERS else None
    return (path,) if data_file is None else (path, data_file)


def read_volume(path: Path) -> Volume:
    """Read a volume from a file, or a DICOM series from a folder, a zip archive or a multi-frame file.

    Returns:
        HU for CT; int16 where every value is whole and fits, else float32.

    Raises:
        InputError: or one of its kinds, as the format's own ``read`` documents.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    suffix = _suffix(path)
    if path.is_dir() or (suffix not in _MODULES and _is_dicom_file(path)):
        return _module("dicom.process", path).read_series(path).volume
    if suffix not in _MODULES:
        raise UnsupportedFormatError(
            f"{path}: not a volume we read; give one of {', '.join(VOLUME_SUFFIXES)}, or the folder of a "
            "DICOM series"
        )
    return _module(_MODULES[suffix], path).read(path)


def read_integers(path: Path) -> Volume:
    """Read a label map of any kind as uint8, or uint16 where an id needs it.

    Values within ``WHOLE_TOLERANCE`` of a whole number are rounded, with a warning.

    Raises:
        LabelError: if a value is no whole number from 0 to 65535.
    """
    volume = read_volume(path)
    voxels = volume.voxels
    if voxels.dtype.kind == "f":
        voxels = _rounded(voxels, path)
    low, high = int(voxels.min()), int(voxels.max())
    if low < 0 or high >= _IDS:
        raise LabelError(f"{path}: label ids run from {low} to {high}; they must lie in 0..{_IDS - 1}")
    dtype = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    return Volume(voxels=voxels.astype(dtype), geometry=volume.geometry)


def read_labels(path: Path, label_set: LabelSet) -> LabelVolume:
    """Read a label map whose ids are those of a label set.

    Raises:
        LabelError: if a value is no whole number, or an id is not in the set.
    """
    volume = read_integers(path)
    _refuse_strange_ids(volume.voxels, label_set, path=path)
    return LabelVolume(voxels=volume.voxels, geometry=volume.geometry, label_set=label_set)


def write_volume(path: Path, volume: Volume) -> None:
    """Write a volume in the format its name asks for; whole or not at all, read back before it counts.

    Raises:
        UnsupportedFormatError: if we do not write such a file.
        InputError: if voxels are NaN, infinite, or beyond int32.
        ResourceError: if the disk is full or the file read back differs.
    """
    _writer(path).write(path, volume)


def write_labels(path: Path, labels: LabelVolume) -> None:
    """Write a label map, as uint8 where all ids of the label set fit and uint16 else.

    Raises:
        LabelError: if an id is not in the label set.
        UnsupportedFormatError: if we do not write such a file.
        ResourceError: if the disk is full or the file read back differs.
    """
    _refuse_strange_ids(labels.voxels, labels.label_set, path=path)
    largest = max(organ.id for organ in labels.label_set.organs)
    dtype = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
    voxels = labels.voxels.astype(dtype, copy=False)
    labels = LabelVolume(voxels=voxels, geometry=labels.geometry, label_set=labels.label_set)
    _writer(path).write(path, labels)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in VOLUME_SUFFIXES if name.endswith(suffix)), "")


def _is_dicom_file(path: Path) -> bool:
    """Say whether a file is DICOM, or a zip archive that may hold some, told by content."""
    files = _module("dicom.files", path)
    return files.is_dicom_file(path) or files.is_zip(path)


def _module(name: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(f"thoar.io.{name}")
    except ModuleNotFoundError as error:
        raise UnsupportedFormatError(
            f"{path}: this kind of file needs {error.name}, which is not installed here; install it, or "
            "convert the file to .safetensors where it is"
        ) from error


def _writer(path: Path) -> ModuleType:
    suffix = _suffix(path)
    if suffix not in WRITTEN_SUFFIXES:
        raise UnsupportedFormatError(
            f"{path}: not a volume we write; end its name in {', '.join(WRITTEN_SUFFIXES)}"
        )
    return _module(_MODULES[suffix], path)


def _rounded(voxels: Num[np.ndarray, "z y x"], path: Path) -> Num[np.ndarray, "z y x"]:
    whole = np.rint(voxels)
    strange = np.abs(voxels - whole) > WHOLE_TOLERANCE
    if strange.any():
        examples = ", ".join(f"{v:g}" for v in np.unique(voxels[strange])[:5])
        raise LabelError(
            f"{path}: {int(strange.sum())} voxels are no whole label ids ({examples}, …); was it resampled "
            "with interpolation, or is it an image?"
        )
    if not np.array_equal(voxels, whole):
        _log.warning("%s: label values within %g of whole numbers were rounded", path, WHOLE_TOLERANCE)
    return whole


def _refuse_strange_ids(voxels: Num[np.ndarray, "z y x"], label_set: LabelSet, *, path: Path) -> None:
    ids = {0, *(organ.id for organ in label_set.organs)}
    if len(ids) == max(ids) + 1 > int(voxels.max()):
        return  # there is none between them, and none beyond
    known = np.zeros(_IDS + 1, dtype=np.bool_)  # the last stands for ids beyond all
    known[list(ids)] = True
    strange = np.concatenate([plane[~known.take(plane, mode="clip")] for plane in voxels])
    if strange.size:
        found, counts = np.unique(strange, return_counts=True)
        listed = ", ".join(f"{i} ({n} voxels)" for i, n in list(zip(found, counts, strict=True))[:10])
        known = ", ".join(f"{organ.id} {organ.name}" for organ in label_set.organs)
        raise LabelError(f"{path}: holds ids that the label set does not: {listed}; it has {known}")
