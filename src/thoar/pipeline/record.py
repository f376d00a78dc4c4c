"""The run record ``run.json``: what was asked, what was used, what came out."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.geometry import Vector3
from thoar.core.versions import version_of
from thoar.imaging.prepare import PreparationReport
from thoar.inference.bundle import Bundle
from thoar.inference.ensemble import manifests_of
from thoar.inference.manifest import Source
from thoar.inference.segmentation import MemoryUse, OrganFlags, OrganSegmentation, Segmentation
from thoar.io.digest import sha256_of_all
from thoar.pipeline.dicom_outputs import StructuresRecord
from thoar.pipeline.reading import ReadCase

SCHEMA = "thoar.run/3"
MUCH_OVERLAP = 0.05
"""Two organs that share more of the smaller one than this are warned of."""
LIBRARIES = ("numpy", "scipy", "torch", "nibabel", "SimpleITK", "pydicom", "highdicom")


class InputRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was read.

    Attributes:
        name: of the file or folder, without its path.
        sha256: of the file; of several, such as a DICOM folder or a header and its data file, that of their
            digests in order.
        shape_zyx: of the grid that was segmented, in the scan's own axis order.
        spacing_zyx_mm: likewise.
        slices: of the DICOM series; None where the input was none.
        rectified: the grid is not the series' slices but what they, tilted or uneven, were resampled onto.
            Volumes lie on that grid, RTSTRUCT and DICOM-SEG on the slices.
    """

    name: str
    sha256: str
    shape_zyx: Index3
    spacing_zyx_mm: Vector3
    slices: int | None
    rectified: bool


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model was used.

    Attributes:
        name: its own.
        manifest_sha256: of its manifest, which holds every other file's; of several members, of theirs.
        members: SHA-256 of every member's manifest, by its path from the model's folder, where the model is
            the folds of a cross-validation.
        thoar_version: that wrote it.
        sources: what it was trained on.
        training_cases: ids of the cases and groups it was trained on.
        configuration: of the run that made it.
    """

    name: str
    manifest_sha256: str
    thoar_version: str
    sources: tuple[Source, ...]
    training_cases: tuple[str, ...]
    configuration: Configuration
    members: dict[str, str] = msgspec.field(default_factory=dict)


class OrganRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One organ's result.

    Attributes:
        id: in the label map.
        volume_ml: of its own mask.
        box_zyx: where its own mask was sought, on the scan's grid; None where it was not found.
        flags: on it.
    """

    id: int
    volume_ml: float
    box_zyx: Box | None
    flags: OrganFlags


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of ``run.json``.

    Attributes:
        schema: of this record.
        case_id: the case's.
        versions: of thoar, Python, the platform and the libraries used.
        device: where the network ran.
        precision: in which numbers.
        threads: of torch.
        input: what was read.
        model: what was used.
        organs_requested: names.
        request_sha256: of all that was asked for and has an effect on the results.
        organs: per organ, its result.
        overlaps_ml: volume that two organs' own masks share; the label map gives it to the more probable.
        short_scan: the scan has fewer than twelve coarse slices.
        seems_mirrored: the heart lies to the right of the trachea.
        preparation: what was done to the scan first.
        seconds: per stage.
        memory: what the scan was predicted to take; None where nobody predicted it.
        structures: what each RTSTRUCT and DICOM-SEG holds, by its file's name.
        outputs: SHA-256 per file written beside this record.
        warnings: for a person to read.
    """

    schema: str = SCHEMA
    case_id: str
    versions: dict[str, str]
    device: str
    precision: str
    threads: int
    input: InputRecord
    model: ModelRecord
    organs_requested: tuple[str, ...]
    request_sha256: str
    organs: dict[str, OrganRecord]
    overlaps_ml: dict[str, float]
    short_scan: bool
    seems_mirrored: bool
    preparation: PreparationReport
    seconds: dict[str, float]
    memory: MemoryUse | None
    structures: dict[str, StructuresRecord]
    outputs: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the records of all cases of one run have in common; see :class:`RunRecord`."""

    versions: dict[str, str]
    device: str
    precision: str
    threads: int
    model: ModelRecord
    request_sha256: str


def input_record(read: ReadCase) -> InputRecord:
    """Return the record of what was read."""
    path, scan = read.case.path, read.scan
    return InputRecord(
        name=path.name or path.resolve().name,
        sha256=read.sha256,
        shape_zyx=scan.volume.geometry.shape_zyx,
        spacing_zyx_mm=scan.volume.geometry.spacing_zyx_mm,
        slices=None if scan.series is None else len(scan.series.references),
        rectified=scan.rectified,
    )


def model_record(bundle: Bundle) -> ModelRecord:
    """Return the record of a bundle."""
    manifests = manifests_of(bundle)
    return ModelRecord(
        name=bundle.manifest.name,
        manifest_sha256=sha256_of_all(tuple(manifests.values())),
        thoar_version=bundle.manifest.thoar_version,
        sources=bundle.manifest.sources,
        training_cases=bundle.manifest.seen.cases,
        configuration=bundle.configuration,
        members=manifests if len(manifests) > 1 else {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look at all organs together finds.

    Attributes:
        overlaps_ml: see :meth:`Segmentation.overlaps_ml`.
        seems_mirrored: see :attr:`Segmentation.seems_mirrored`.
        warnings: this and every organ's flags, as sentences.
    """

    overlaps_ml: dict[tuple[str, str], float]
    seems_mirrored: bool
    warnings: tuple[str, ...]


def run_record(
    read: ReadCase,
    segmentation: Segmentation,
    *,
    provenance: Provenance,
    findings: Findings,
    seconds: Mapping[str, float],
    structures: Mapping[str, StructuresRecord],
    outputs: Mapping[str, str],
    said: Sequence[str],
) -> RunRecord:
    """Return the whole record of one case; what was said about its files comes before its findings."""
    return RunRecord(
        case_id=read.case.id,
        versions=provenance.versions,
        device=provenance.device,
        precision=provenance.precision,
        threads=provenance.threads,
        input=input_record(read),
        model=provenance.model,
        organs_requested=segmentation.label_set.names,
        request_sha256=provenance.request_sha256,
        organs={result.organ.name: _organ_record(result) for result in segmentation.organs},
        overlaps_ml={"+".join(names): shared_ml for names, shared_ml in findings.overlaps_ml.items()},
        short_scan=segmentation.short_scan,
        seems_mirrored=findings.seems_mirrored,
        preparation=segmentation.preparation,
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        memory=segmentation.memory,
        structures=dict(structures),
        outputs=dict(outputs),
        warnings=tuple(dict.fromkeys((*said, *findings.warnings))),
    )


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "thoar": version_of("thoar"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version_of(name) for name in LIBRARIES},
    }


def findings_of(segmentation: Segmentation) -> Findings:
    """Return what there is to say of a segmentation."""
    overlaps_ml, seems_mirrored = segmentation.overlaps_ml(), segmentation.seems_mirrored
    lines = ["the scan is short: context far above and below is missing"] if segmentation.short_scan else []
    if seems_mirrored:
        lines.append("the heart lies to the right of the trachea: the scan's header may be mirrored")
    for result in segmentation.organs:
        lines += [f"{result.organ.name}: {text}" for text in _sentences(result)]
    lines += _much_overlap(segmentation, overlaps_ml)
    return Findings(overlaps_ml=overlaps_ml, seems_mirrored=seems_mirrored, warnings=tuple(lines))


def _much_overlap(segmentation: Segmentation, overlaps_ml: Mapping[tuple[str, str], float]) -> list[str]:
    volume_ml = {result.organ.name: result.volume_ml for result in segmentation.organs}
    return [
        f"{one} and {other} share {shared_ml:.1f} mL, of {volume_ml[one]:.1f} and {volume_ml[other]:.1f} mL"
        for (one, other), shared_ml in overlaps_ml.items()
        if shared_ml > MUCH_OVERLAP * min(volume_ml[one], volume_ml[other])
    ]


def _sentences(result: OrganSegmentation) -> list[str]:
    flags = result.flags
    low, high = result.organ.usual_volume_ml or (0.0, 0.0)
    said: list[tuple[Any, str]] = [
        (flags.not_found, "not found"),
        (flags.cut_by_scan, f"cut by the scan ({', '.join(flags.cut_by_scan)}); its volume is not whole"),
        (
            flags.touches_box,
            f"reaches the end of its box ({', '.join(flags.touches_box)}) and may be cut off",
        ),
        (flags.several_components, f"in {flags.several_components} parts"),
        (flags.coarse_fine_disagree, f"coarse and fine masks disagree (Dice {flags.coarse_fine_dice})"),
        (flags.unusual_volume, f"{result.volume_ml:.0f} mL is unusual ({low:.0f} to {high:.0f})"),
    ]
    return [text for raised, text in said if raised]


def _organ_record(result: OrganSegmentation) -> OrganRecord:
    return OrganRecord(
        id=result.organ.id,
        volume_ml=round(result.volume_ml, 3),
        box_zyx=result.box_zyx,
        flags=result.flags,
    )
