"""The files that one case's results are written as, each by its format's name."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from thoar.core.errors import UsageError
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.scans import Scan
from thoar.inference.segmentation import Segmentation
from thoar.io.formats import write_labels, write_volume
from thoar.io.structures.organ_mask import Maker
from thoar.pipeline.dicom_outputs import (
    Holes,
    StructuresRecord,
    organ_masks,
    series_of,
    write_rtstruct,
    write_segmentation,
)

LABEL_MAP_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "safetensors": ".safetensors"}
)
DICOM_FORMATS = ("rtstruct", "dicom-seg")
"""Those that need a DICOM series as input."""
FORMATS = (*LABEL_MAP_SUFFIXES, *DICOM_FORMATS, "png")
DEFAULT_FORMATS = ("nifti", "png")
_RESULTS = re.compile(
    r"(segmentation|coarse|probability_[^/\\]+)\.(nii\.gz|nrrd|mha|safetensors)"
    r"|overview\.png|(rtstruct|segmentation|probabilities)\.dcm"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """What is written of a case.

    Attributes:
        formats: of :data:`FORMATS`.
        coarse: the coarse masks too, as a label map.
        probabilities: every organ's probability too: as volumes in the first format of label maps, as a
            fractional DICOM-SEG where DICOM-SEG is asked for.
        names: per organ, what RTSTRUCT and DICOM-SEG shall call it; its TG-263 name by default.
        append_to: an RTSTRUCT of the same series, whose structures the new one holds too.
        holes: how RTSTRUCT shows an organ's holes.

    Raises:
        UsageError: if a format is unknown or none is named, or ``append_to`` comes without RTSTRUCT.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    coarse: bool = False
    probabilities: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    append_to: Path | None = None
    holes: Holes = "keyhole"

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"--formats {name}: no such format; there are {', '.join(FORMATS)}")
        if not self.formats:
            raise UsageError(f"--formats: name at least one of {', '.join(FORMATS)}")
        if self.append_to is not None and "rtstruct" not in self.formats:
            raise UsageError("--append-to goes with --formats rtstruct")

    @property
    def needs_series(self) -> bool:
        """Whether a format is asked for that can only be written of a DICOM series."""
        return any(name in DICOM_FORMATS for name in self.formats)


def is_result(name: str) -> bool:
    """Say whether a file of that name is one that a case's results consist of.

    >>> is_result("segmentation.nii.gz"), is_result("overview.nii.gz")
    (True, False)
    """
    return _RESULTS.fullmatch(name) is not None


def write_outputs(
    folder: Path,
    scan: Scan,
    segmentation: Segmentation,
    *,
    options: WriteOptions,
    maker: Maker,
    title: str,
) -> dict[str, StructuresRecord]:
    """Write a case's results into a folder; every file but pictures is read back and compared.

    Returns:
        What each RTSTRUCT and DICOM-SEG holds, by the file's name.

    Raises:
        UsageError: if RTSTRUCT or DICOM-SEG is asked for of a scan that was no DICOM.
    """
    with ThreadPoolExecutor(1) as beside:  # one volume at a time for memory's sake, and the picture meanwhile
        picture = None
        if "png" in options.formats:
            write = _overview_writer(scan.volume, segmentation, title=title)
            picture = beside.submit(copy_context().run, write, folder / "overview.png")
        for name, write in dict(_volume_writers(segmentation, options)).items():
            write(folder / name)
        if picture is not None:
            picture.result()
    dicom = _dicom_writers(scan, segmentation, options=options, maker=maker) if options.needs_series else ()
    return {name: write(folder / name) for name, write in dicom}


def _volume_writers(
    segmentation: Segmentation, options: WriteOptions
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    suffixes = [LABEL_MAP_SUFFIXES[name] for name in options.formats if name in LABEL_MAP_SUFFIXES]
    if suffixes:
        labels = segmentation.label_volume()
        for suffix in suffixes:
            yield f"segmentation{suffix}", lambda path: write_labels(path, labels)
    suffix = suffixes[0] if suffixes else ".nii.gz"
    if options.coarse:
        yield f"coarse{suffix}", lambda path: write_labels(path, coarse_label_volume(segmentation))
    if options.probabilities and (suffixes or "dicom-seg" not in options.formats):
        for name in segmentation.label_set.names:
            yield f"probability_{name}{suffix}", _probability_writer(segmentation, name)


def _dicom_writers(
    scan: Scan, segmentation: Segmentation, *, options: WriteOptions, maker: Maker
) -> Iterator[tuple[str, Callable[[Path], StructuresRecord]]]:
    series, organs = series_of(scan), organ_masks(scan, segmentation, names=options.names)
    if "rtstruct" in options.formats:
        yield (
            "rtstruct.dcm",
            lambda path: write_rtstruct(
                path, series, organs, maker=maker, append_to=options.append_to, holes=options.holes
            ),
        )
    if "dicom-seg" in options.formats:
        yield (
            "segmentation.dcm",
            lambda path: write_segmentation(path, series, organs, maker=maker, fractional=False),
        )
    if "dicom-seg" in options.formats and options.probabilities:
        yield (
            "probabilities.dcm",
            lambda path: write_segmentation(path, series, organs, maker=maker, fractional=True),
        )


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
