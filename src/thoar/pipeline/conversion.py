"""Series, volumes, masks, RTSTRUCT and DICOM-SEG into each other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from thoar.core.errors import InputError, LabelError, UsageError
from thoar.core.versions import version_of
from thoar.datasets.scans import Scan, is_series, read_scan
from thoar.io.dicom.parse import read_header
from thoar.io.dicom.records import PLAIN, ReadOptions
from thoar.io.digest import digest_of
from thoar.io.formats import VOLUME_SUFFIXES, WRITTEN_SUFFIXES, is_dicom_folder, write_volume
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.rtstruct_reader import is_rtstruct
from thoar.pipeline.dicom_outputs import Holes, called, series_of, write_rtstruct, write_segmentation
from thoar.pipeline.dicom_structures import structures_of_rtstruct, structures_of_segmentation
from thoar.pipeline.folder import written_in
from thoar.pipeline.mask_files import check_replaceable, table_of, write_label_map, write_masks
from thoar.pipeline.roi_names import refuse_unknown
from thoar.pipeline.structures import Structures, on_grid, on_series
from thoar.pipeline.volume_structures import structures_of_label_map, structures_of_masks, volumes_in

Source = Literal["series", "volume", "masks", "rtstruct", "dicom-seg"]
"""``volume`` is one file, an image or a label map; ``masks`` a folder of masks."""
Target = Literal["volume", "label-map", "masks", "rtstruct", "dicom-seg", "fractional-dicom-seg"]
DICOM_TARGETS = ("rtstruct", "dicom-seg", "fractional-dicom-seg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What is to become of what.

    Attributes:
        source: a volume file, a folder of them, a DICOM series, an RTSTRUCT or a DICOM-SEG.
        out: the file, or for masks the folder, to make.
        to: told by ``out``'s ending where None.
        like: the series, or volume, that structures lie or are to lie on.
        reading: what the reader of a series may do.
        table: CSV of a label map's structures and ids.
        probability: volumes hold probabilities, one structure each.
        organs: names of the structures wanted; None for all.
        names: per structure, what it shall be called.
        resample: structures may lie on another grid than ``like``.
        suffix: of the files in a folder of masks.
        append_to: an RTSTRUCT of the same series, whose structures the new one holds too.
        holes: how RTSTRUCT shows holes.
        deterministic: DICOM files are the same bytes whenever inputs are the same.
        overwrite: what stands at ``out`` may be replaced.
    """

    source: Path
    out: Path
    to: Target | None = None
    like: Path | None = None
    reading: ReadOptions = PLAIN
    table: Path | None = None
    probability: bool = False
    organs: tuple[str, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    resample: bool = False
    suffix: str = ".nii.gz"
    append_to: Path | None = None
    holes: Holes = "keyhole"
    deterministic: bool = False
    overwrite: bool = False


class Converted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of it.

    Attributes:
        to: what was written.
        files: their names.
        structures: names of those that are in it.
        empty: names of those without a voxel on the series or grid, which are not.
    """

    to: Target
    files: tuple[str, ...]
    structures: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def convert(wanted: Conversion) -> Converted:
    """Convert, whole or not at all.

    Raises:
        UsageError: if that cannot be converted into this, something is missing for it, or ``out`` may not be
            replaced.
        InputError: or one of its kinds, as the readers and writers document.
        ConfigError: if a name is given to a structure that is not there.
    """
    source = source_of(wanted.source)
    to = target_of(wanted, source)
    _check(wanted, source, to)
    for file in (wanted.out, *([table_of(wanted.out)] if to == "label-map" else [])):
        check_replaceable(file, overwrite=wanted.overwrite, inputs=_inputs(wanted))
    if to == "volume":
        image = read_scan(wanted.source, wanted.reading)
        with written_in(wanted.out.parent, wanted.out):
            write_volume(wanted.out, image.volume)
        return Converted(to=to, files=(wanted.out.name,))
    scan = None if wanted.like is None else read_scan(wanted.like, wanted.reading)
    found = _structures(wanted, source, scan)
    with written_in(wanted.out.parent, wanted.out):
        if scan is not None and to in DICOM_TARGETS:
            return _to_dicom(wanted, to, found, scan=scan)
        return _to_volumes(wanted, to, found, scan=scan)


def source_of(path: Path) -> Source:
    """Say what an input is: a file by its name, a folder by what it holds, a DICOM file by what it says.

    Raises:
        InputError: if there is nothing, or a folder holds neither DICOM nor a volume.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        if is_dicom_folder(path):
            return "series"
        if volumes_in(path):
            return "masks"
        raise InputError(f"{path}: holds neither DICOM nor a volume ({', '.join(VOLUME_SUFFIXES)})")
    if not is_series(path):
        return "volume"
    if path.suffix.lower() == ".zip":
        return "series"
    header = read_header(path)
    if is_rtstruct(header):
        return "rtstruct"
    return "dicom-seg" if header.get("Modality") == "SEG" else "series"


def target_of(wanted: Conversion, source: Source) -> Target:
    """Say what is wanted: what ``to`` says, else what the ending of ``out`` means for such an input.

    Raises:
        UsageError: if that does not tell.
    """
    if wanted.to is not None:
        return wanted.to
    name = wanted.out.name.lower()
    if name.endswith(VOLUME_SUFFIXES):
        return "volume" if source in ("series", "volume") and not wanted.probability else "label-map"
    if name.endswith(".dcm"):
        raise UsageError(f"{wanted.out}: say which DICOM: --to {', --to '.join(DICOM_TARGETS)}")
    if source == "series":
        raise UsageError(f"{wanted.out}: end it in what the volume shall be: {', '.join(WRITTEN_SUFFIXES)}")
    return "masks"


def _check(wanted: Conversion, source: Source, to: Target) -> None:
    """Refuse what cannot be meant, before anything is read."""
    structures = source in ("masks", "rtstruct", "dicom-seg")
    one_volume, name = to in ("volume", "label-map"), wanted.out.name.lower()
    for wrong, text in (
        (
            one_volume and not name.endswith(WRITTEN_SUFFIXES),
            f"{wanted.out}: end it in what the volume shall be: {', '.join(WRITTEN_SUFFIXES)}",
        ),
        (
            not one_volume and name.endswith(VOLUME_SUFFIXES),
            f"{wanted.out}: is a volume's name, and --to {to} makes none; choose another -o",
        ),
        (source == "series" and to != "volume", f"{wanted.source}: a series holds no structures; segment it"),
        (structures and to == "volume", f"{wanted.source}: becomes no image; --to label-map or --to masks"),
        (
            (to in DICOM_TARGETS or source == "rtstruct") and wanted.like is None,
            f"{wanted.source}: say which DICOM series it lies on: --like SERIES",
        ),
        (
            (to in DICOM_TARGETS or source == "rtstruct")
            and wanted.like is not None
            and not is_series(wanted.like),
            f"{wanted.like}: is no DICOM series (--like), which RTSTRUCT and DICOM-SEG lie on",
        ),
        (to == "volume" and wanted.like is not None, "--like has no meaning for an image"),
        (to == "volume" and bool(wanted.organs or wanted.names), "--organs and --names go with structures"),
        (wanted.resample and wanted.like is None, "--resample goes with --like"),
        (to != "rtstruct" and wanted.append_to is not None, "--append-to goes with --to rtstruct"),
        (source != "volume" and wanted.table is not None, "--structures goes with a label map"),
        (source not in ("volume", "masks") and wanted.probability, "--probability goes with volumes"),
    ):
        if wrong:
            raise UsageError(text)


def _inputs(wanted: Conversion) -> list[Path]:
    return [path for path in (wanted.source, wanted.like, wanted.append_to, wanted.table) if path is not None]


def _structures(wanted: Conversion, source: Source, scan: Scan | None) -> Structures:
    """Read the structures that are wanted, called as they shall be."""
    if source == "rtstruct" and scan is not None:
        found = structures_of_rtstruct(wanted.source, series_of(scan))
    elif source == "dicom-seg":
        found = structures_of_segmentation(wanted.source, None if scan is None else scan.series)
    elif source == "masks" or wanted.probability:
        found = structures_of_masks(wanted.source, probability=wanted.probability)
    else:
        found = structures_of_label_map(wanted.source, table=wanted.table)
    there = [organ.organ.name for organ in found.organs]
    refuse_unknown(wanted.names, there)
    strange = sorted(set(wanted.organs or ()) - set(there))
    if strange:
        raise LabelError(
            f"{wanted.source}: has no {', '.join(strange)} (--organs); it has {', '.join(there)}"
        )
    kept = [organ for organ in found.organs if wanted.organs is None or organ.organ.name in wanted.organs]
    return Structures(path=found.path, place=found.place, organs=tuple(kept))


def _to_dicom(wanted: Conversion, to: Target, found: Structures, *, scan: Scan) -> Converted:
    series = series_of(scan)
    organs = [
        replace(organ, organ=called(organ.organ, wanted.names))
        for organ in on_series(found, scan, resample=wanted.resample)
    ]
    maker = Maker(software_version=version_of("thoar"), automatic=False, uid_seed=_seed(wanted))
    if to == "rtstruct":
        report = write_rtstruct(
            wanted.out, series, organs, maker=maker, append_to=wanted.append_to, holes=wanted.holes
        )
    else:
        report = write_segmentation(
            wanted.out, series, organs, maker=maker, fractional=to == "fractional-dicom-seg"
        )
    if not report.pieces:
        raise LabelError(f"{wanted.source}: no structure has a voxel on {wanted.like}; nothing was written")
    names = tuple(organ.organ.name for organ in organs if organ.organ.name not in report.empty)
    return Converted(to=to, files=(wanted.out.name,), structures=names, empty=report.empty)


def _to_volumes(wanted: Conversion, to: Target, found: Structures, *, scan: Scan | None) -> Converted:
    geometry, organs = on_grid(found, scan, resample=wanted.resample)
    renamed = [
        replace(organ, organ=msgspec.structs.replace(organ.organ, name=wanted.names.get(name, name)))
        for organ in organs
        for name in [organ.organ.name]
    ]
    drawn = [organ for organ in renamed if organ.mask.any()]
    empty = tuple(organ.organ.name for organ in renamed if not organ.mask.any())
    if to == "masks":
        files = write_masks(wanted.out, geometry, drawn, suffix=wanted.suffix)
    else:
        files = write_label_map(wanted.out, geometry, drawn)
    return Converted(to=to, files=files, structures=tuple(organ.organ.name for organ in drawn), empty=empty)


def _seed(wanted: Conversion) -> str | None:
    if not wanted.deterministic:
        return None
    return hashlib.sha256("".join(map(digest_of, _inputs(wanted))).encode()).hexdigest()
