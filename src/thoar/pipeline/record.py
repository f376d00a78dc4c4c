"""The run record ``run.json``: what was asked, what was used, what came out."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.geometry import Vector3
from thoar.core.versions import version_of
from thoar.datasets.scans import Scan
from thoar.imaging.prepare import PreparationReport
from thoar.inference.bundle import Bundle
from thoar.inference.ensemble import manifests_of
from thoar.inference.manifest import Source
from thoar.inference.segmentation import OrganFlags, OrganSegmentation, Segmentation
from thoar.io.digest import digest_of, sha256_of_all
from thoar.pipeline.dicom_outputs import StructuresRecord

SCHEMA = "thoar.run/2"
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
        threads: of torch.
        input: what was read.
        model: what was used.
        organs_requested: names.
        organs: per organ, its result.
        overlaps_ml: volume that two organs' own masks share; the label map gives it to the more probable.
        short_scan: the scan has fewer than twelve coarse slices.
        seems_mirrored: the heart lies to the right of the trachea.
        preparation: what was done to the scan first.
        seconds: per stage.
        structures: what each RTSTRUCT and DICOM-SEG holds, by its file's name.
        outputs: SHA-256 per file written beside this record.
        warnings: for a person to read.
    """

    schema: str = SCHEMA
    case_id: str
    versions: dict[str, str]
    device: str
    threads: int
    input: InputRecord
    model: ModelRecord
    organs_requested: tuple[str, ...]
    organs: dict[str, OrganRecord]
    overlaps_ml: dict[str, float]
    short_scan: bool
    seems_mirrored: bool
    preparation: PreparationReport
    seconds: dict[str, float]
    structures: dict[str, StructuresRecord]
    outputs: dict[str, str]
    warnings: tuple[str, ...]


def input_record(path: Path, scan: Scan) -> InputRecord:
    """Return the record of what was read."""
    return InputRecord(
        name=path.name or path.resolve().name,
        sha256=digest_of(path),
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


def run_record(
    case_id: str,
    segmentation: Segmentation,
    *,
    input_read: InputRecord,
    model: ModelRecord,
    device: torch.device,
    seconds: Mapping[str, float],
    structures: Mapping[str, StructuresRecord],
    outputs: Mapping[str, str],
    warnings: Sequence[str],
) -> RunRecord:
    """Return the whole record of one case."""
    return RunRecord(
        case_id=case_id,
        versions=versions(),
        device=str(device),
        threads=torch.get_num_threads(),
        input=input_read,
        model=model,
        organs_requested=segmentation.label_set.names,
        organs={result.organ.name: _organ_record(result) for result in segmentation.organs},
        overlaps_ml={"+".join(names): shared_ml for names, shared_ml in segmentation.overlaps_ml().items()},
        short_scan=segmentation.short_scan,
        seems_mirrored=segmentation.seems_mirrored,
        preparation=segmentation.preparation,
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        structures=dict(structures),
        outputs=dict(outputs),
        warnings=tuple(warnings),
    )


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "thoar": version_of("thoar"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version_of(name) for name in LIBRARIES},
    }


def warnings_of(segmentation: Segmentation) -> list[str]:
    """Return the flags as sentences."""
    lines = ["the scan is short: context far above and below is missing"] if segmentation.short_scan else []
    if segmentation.seems_mirrored:
        lines.append("the heart lies to the right of the trachea: the scan's header may be mirrored")
    for result in segmentation.organs:
        lines += [f"{result.organ.name}: {text}" for text in _sentences(result)]
    return [*lines, *_much_overlap(segmentation)]


def _much_overlap(segmentation: Segmentation) -> list[str]:
    volume_ml = {result.organ.name: result.volume_ml for result in segmentation.organs}
    return [
        f"{one} and {other} share {shared_ml:.1f} mL, of {volume_ml[one]:.1f} and {volume_ml[other]:.1f} mL"
        for (one, other), shared_ml in segmentation.overlaps_ml().items()
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
