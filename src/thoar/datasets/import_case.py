"""One structure file and the series it was drawn on, made into a case of a data set."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thoar.core.errors import InputError, LabelError
from thoar.datasets.dicom_inventory import ScanFiles, StructureFile, alias_name, code_of
from thoar.datasets.import_report import ANOTHER, BY_PATTERN, CaseRecord, OrganRecord
from thoar.datasets.import_sources import Source, read_staged, series_of, staged, warnings_heard
from thoar.datasets.label_map import Painted, paint
from thoar.datasets.manifest import Case
from thoar.datasets.scans import Scan
from thoar.datasets.structure_files import Structures, masks_of, names_of, parts_of, read_structures
from thoar.datasets.structure_names import Assignment, Names, assign, is_listed
from thoar.io.dicom.records import Series
from thoar.io.formats import write_labels, write_volume
from thoar.io.structures.structure_mask import StructureMask

_log = logging.getLogger(__name__)

LARGEST_GAP = 0.25
"""An organ of which a larger part of the slices is not drawn is unknown in that case, not labelled."""

Drawn = Mapping[str, Sequence[StructureMask]]
"""For each organ, what it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseName:
    """What a case is called.

    Attributes:
        id: of the case.
        group: of the patient.
    """

    id: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A case whose files are written.

    Attributes:
        case: for the manifest.
        record: for the report.
    """

    case: Case
    record: CaseRecord


def make_case(found: StructureFile, source: Source, *, name: CaseName, out: Path) -> Made:
    """Read a structure file and its series, and write image and label map.

    Args:
        found: the structure file.
        source: where it was found.
        name: what to call the case.
        out: the data set's folder; the case gets one of its own in it.

    Raises:
        InputError: or one of its kinds, if a file cannot be used, or the series is not there.
        LabelError: if names are doubtful, two structures are one organ, or no organ is drawn.
    """
    with warnings_heard() as heard, staged(found.number, source) as path:
        structures = read_structures(path, found.kind)
        assignment = _assigned(structures, source.names, file=path.name)
        files = _series(found, source)
        scan, series = _scan(read_staged(files, source), path.name)
        drawn = _drawn(structures, assignment, series=series)
        whole = {name: masks for name, masks in drawn.items() if not _is_striped(name, masks, path.name)}
        painted = _painted(whole, scan, series=series, names=source.names)
        if not any(painted.volumes_ml.values()):
            raise LabelError(f"{path.name}: no organ asked for is drawn on the series ({_all_faults(drawn)})")
        case = _written(painted, scan, name=name, out=out)
    record = CaseRecord(
        id=name.id,
        group=name.group,
        kind=found.kind,
        structures=found.code,
        series=code_of(files.uid),
        slices=len(series.references),
        spacing_zyx_mm=scan.volume.geometry.spacing_zyx_mm,
        rectified=scan.rectified,
        organs=_organ_records(structures, assignment, drawn=drawn, painted=painted, names=source.names),
        overlaps_ml={what: round(ml, 3) for what, ml in painted.overlaps_ml.items()},
        left_out=_left_out(assignment),
        warnings=tuple(source.told(line) for line in heard),
    )
    return Made(case=case, record=record)


def _assigned(structures: Structures, names: Names, *, file: str) -> Assignment:
    assignment = assign(names_of(structures), names, drawn=[n > 0 for n in parts_of(structures)])
    doubtful = sum(meaning.kind == "doubtful" for meaning in assignment.meanings)
    if doubtful:
        raise LabelError(
            f"{file}: names of structures that may mean an organ and are not known: {doubtful}; say in a "
            "file of names what they mean (--propose writes one), and give it with --names"
        )
    if assignment.repeated:
        raise LabelError(
            f"{file}: several structures are {', '.join(assignment.repeated)}; say in a file of names which "
            'to ignore, or set when_several = "first" or "join" there, and give it with --names'
        )
    if not assignment.organs:
        raise LabelError(f"{file}: none of its {len(assignment.meanings)} structures is an organ asked for")
    return assignment


def _series(found: StructureFile, source: Source) -> ScanFiles:
    files = series_of(found, source)
    if files.uid not in found.series_uids:
        _log.warning(
            "%s: the series that it names is not there; series %s is alone in its frame of reference",
            alias_name(found.number),
            code_of(files.uid),
        )
    return files


def _scan(scan: Scan, file: str) -> tuple[Scan, Series]:
    if scan.series is None:
        raise InputError(f"{file}: what it was drawn on is no DICOM series")
    return scan, scan.series


def _drawn(structures: Structures, assignment: Assignment, *, series: Series) -> Drawn:
    wanted = [k for parts in assignment.organs.values() for k in parts]
    masks = dict(zip(wanted, masks_of(structures, wanted, series=series), strict=True))
    return {organ: [masks[k] for k in parts] for organ, parts in assignment.organs.items()}


def _is_striped(organ: str, masks: Sequence[StructureMask], file: str) -> bool:
    """Say, with a warning, whether so many slices inside an organ bear nothing that it would teach holes."""
    levels = [
        mask.box_zyx.start_zyx[0] + np.flatnonzero(mask.mask.any(axis=(1, 2)))
        for mask in masks
        if mask.box_zyx is not None and mask.mask is not None
    ]
    drawn = np.unique(np.concatenate(levels)) if levels else np.array([], dtype=np.intp)
    extent = int(drawn[-1] - drawn[0] + 1) if drawn.size else 0
    if extent - drawn.size <= LARGEST_GAP * extent:
        return False
    _log.warning(
        "%s: %s is not taken, since %d of the %d slices from its first to its last bear no contour; "
        "interpolate it where it was drawn",
        file,
        organ,
        extent - drawn.size,
        extent,
    )
    return True


def _painted(drawn: Drawn, scan: Scan, *, series: Series, names: Names) -> Painted:
    return paint(drawn, scan, series=series, label_set=names.label_set, priority=names.priority)


def _written(painted: Painted, scan: Scan, *, name: CaseName, out: Path) -> Case:
    folder = out / name.id
    folder.mkdir()
    image, label = folder / f"{name.id}.nii.gz", folder / "GT.nii.gz"
    write_volume(image, scan.volume)
    write_labels(label, painted.labels)
    shown = set(np.unique(painted.labels.voxels).tolist())
    organs = tuple(organ.name for organ in painted.labels.label_set.organs if organ.id in shown)
    return Case(id=name.id, image=image, label=label, organs=organs, group=name.group)


def _organ_records(
    structures: Structures, assignment: Assignment, *, drawn: Drawn, painted: Painted, names: Names
) -> tuple[OrganRecord, ...]:
    written, parts = names_of(structures), parts_of(structures)
    return tuple(
        OrganRecord(
            organ=organ,
            names=tuple(written[k] if is_listed(written[k], organ, names) else BY_PATTERN for k in made_of),
            parts=sum(parts[k] for k in made_of),
            volume_ml=round(painted.volumes_ml.get(organ, 0.0), 3),
            faults=_faults(drawn[organ]),
        )
        for organ, made_of in assignment.organs.items()
    )


def _left_out(assignment: Assignment) -> dict[str, int]:
    """Count the structures that are no part of any organ, by why."""
    taken = {k for parts in assignment.organs.values() for k in parts}
    left = [meaning.kind for k, meaning in enumerate(assignment.meanings) if k not in taken]
    return dict(Counter(ANOTHER if kind == "organ" else kind for kind in left))


def _faults(masks: Sequence[StructureMask]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fault for mask in masks for fault in mask.faults))


def _all_faults(drawn: Drawn) -> str:
    return "; ".join(f"{organ}: {', '.join(_faults(masks))}" for organ, masks in drawn.items())
