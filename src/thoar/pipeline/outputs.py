"""The files that one case's results are written as, each by its format's name."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from thoar.core.errors import UsageError
from thoar.core.volume import LabelVolume, Volume
from thoar.inference.segmentation import Segmentation
from thoar.io.formats import write_labels, write_volume

LABEL_MAP_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "safetensors": ".safetensors"}
)
FORMATS = (*LABEL_MAP_SUFFIXES, "png")
DEFAULT_FORMATS = ("nifti", "png")
_RESULTS = re.compile(
    r"(segmentation|coarse|probability_[^/\\]+)\.(nii\.gz|nrrd|mha|safetensors)|overview\.png"
)


def is_result(name: str) -> bool:
    """Say whether a file of that name is one that a case's results consist of.

    >>> is_result("segmentation.nii.gz"), is_result("overview.nii.gz")
    (True, False)
    """
    return _RESULTS.fullmatch(name) is not None


def check_formats(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names without repetition.

    Raises:
        UsageError: if one is unknown, or none is given.
    """
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--formats {name}: no such format; there are {', '.join(FORMATS)}")
    if not names:
        raise UsageError(f"--formats: name at least one of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def write_outputs(
    folder: Path,
    volume: Volume,
    segmentation: Segmentation,
    *,
    formats: tuple[str, ...],
    coarse: bool,
    probabilities: bool,
    title: str,
) -> None:
    """Write a case's results into a folder; every volume is read back and compared as it is written."""
    writers = dict(
        _writers(
            volume, segmentation, formats=formats, coarse=coarse, probabilities=probabilities, title=title
        )
    )
    for name, write in writers.items():
        write(folder / name)


def _writers(
    volume: Volume,
    segmentation: Segmentation,
    *,
    formats: tuple[str, ...],
    coarse: bool,
    probabilities: bool,
    title: str,
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    suffixes = [LABEL_MAP_SUFFIXES[name] for name in formats if name in LABEL_MAP_SUFFIXES]
    if suffixes:
        labels = segmentation.label_volume()
        for suffix in suffixes:
            yield f"segmentation{suffix}", lambda path: write_labels(path, labels)
    if "png" in formats:
        yield "overview.png", _overview_writer(volume, segmentation, title=title)
    suffix = suffixes[0] if suffixes else ".nii.gz"
    if coarse:
        yield f"coarse{suffix}", lambda path: write_labels(path, coarse_label_volume(segmentation))
    if probabilities:
        for name in segmentation.label_set.names:
            yield f"probability_{name}{suffix}", _probability_writer(segmentation, name)


def _overview_writer(volume: Volume, segmentation: Segmentation, *, title: str) -> Callable[[Path], None]:
    from thoar.pictures.png import write_png  # noqa: PLC0415 (Pillow is needed for pictures alone)

    return lambda path: write_png(path, draw_overview(volume, segmentation, title=title))


def _probability_writer(segmentation: Segmentation, organ: str) -> Callable[[Path], None]:
    return lambda path: write_volume(path, segmentation.probability(organ))


def draw_overview(
    volume: Volume, segmentation: Segmentation, *, title: str
) -> UInt8[np.ndarray, "row column 3"]:
    """Return a picture of the scan with every organ's own outline; those not found are named."""
    from thoar.pictures.overview import overview  # noqa: PLC0415 (Pillow is needed for pictures alone)

    return overview(volume, segmentation.masks_in_boxes(), title=title)


def coarse_label_volume(segmentation: Segmentation) -> LabelVolume:
    """Return the coarse masks as one label map on the coarse grid; the higher probability wins."""
    coarse = segmentation.coarse
    labels = np.zeros(coarse.geometry.shape_zyx, dtype=np.uint16)
    strongest = np.zeros(coarse.geometry.shape_zyx, dtype=np.float32)
    for organ in segmentation.label_set.organs:
        wins = coarse.mask[organ.name] & (coarse.probability[organ.name] > strongest)
        labels[wins] = organ.id
        strongest[wins] = coarse.probability[organ.name][wins]
    return LabelVolume(voxels=labels, geometry=coarse.geometry, label_set=segmentation.label_set)
