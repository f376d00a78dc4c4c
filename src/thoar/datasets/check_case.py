"""One case of a data set, read once: what is wrong with it by itself, and what is measured of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt

from thoar.core.box import Box
from thoar.core.errors import GeometryError, InputError, LabelError, PeerError
from thoar.core.labels import LabelSet
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.datasets.anatomy import AIR_SHARE, FAR_OFF, odd_air
from thoar.datasets.check_flips import fitting_flip
from thoar.datasets.check_measures import (
    BodyOnGrid,
    CaseMeasures,
    OrganMeasures,
    key_of,
    measure_organ,
)
from thoar.datasets.check_pictures import draw_case
from thoar.datasets.findings import Finding, finding
from thoar.datasets.manifest import Case
from thoar.imaging.body import find_body
from thoar.imaging.prepare import AIR_HU, LEAST_VOXELS, SAME_GRID_MM
from thoar.imaging.resample import covered_box, grid_of_spacing, resample_linear
from thoar.io.formats import read_integers, read_volume

BODY_SPACING_MM = 3.0
"""The body is looked for on a grid no finer than this, as training does."""
BODY_CLIP_HU = (-1024.0, 1000.0)

SOFT_TISSUE_HU = (-150.0, 200.0)
"""Where the median lies of what is denser than lung in a body, from mostly fat to contrast and bone."""
BONE_HU, MOST_BONE = 600.0, 0.2
"""No fifth of a body is as dense as this."""
_DENSER_THAN_LUNG_HU = -300.0

FEW_SLICES = 3
"""An organ on fewer slices than this is hardly drawn in full."""

OUTSIDE_ML = 0.5
OUTSIDE_SHARE = 0.01
"""Outside the body may lie the larger of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCase:
    """What one case came to.

    Attributes:
        case: which.
        findings: that need no other case to be seen.
        drawn: organs that have a voxel; None where the label map cannot be read.
        measures: to hold against other cases; None where the image cannot be read.
    """

    case: Case
    findings: tuple[Finding, ...]
    drawn: tuple[str, ...] | None
    measures: CaseMeasures | None


def check_case(case: Case, label_set: LabelSet, *, picture: Path | None = None) -> CheckedCase:
    """Read a case's image and labels, once each, and check them by themselves.

    Args:
        case: of a data set.
        label_set: the data set's.
        picture: a PNG to draw where image and labels can be read and lie on one grid; None for no picture.
    """
    image = _read(case, case.image, read=read_volume, kind="unreadable_image")
    labels = None
    if case.label is not None:
        labels = _read(case, case.label, read=read_integers, kind="unreadable_label")
    findings = [found for found in (image, labels) if isinstance(found, Finding)]
    if case.label is None:
        findings.append(finding("no_label", case.id, found="has no label map"))
    unread = isinstance(labels, Finding)
    labels = labels if isinstance(labels, Volume) else None
    voxels = {} if labels is None else _voxels_by_id(labels.voxels)
    drawn = None if unread else tuple(organ.name for organ in label_set.organs if organ.id in voxels)
    if labels is not None:
        findings += _ids(case, voxels, label_set)
    measures = None
    if isinstance(image, Volume):
        more, organs = _check_together(case, image, labels, label_set=label_set, picture=picture)
        findings += more
        measures = _measures(case, image, labels, organs=organs)
    return CheckedCase(case=case, findings=tuple(findings), drawn=drawn, measures=measures)


def _read(case: Case, path: Path, *, read: Callable[[Path], Volume], kind: str) -> Volume | Finding:
    """Read a file in canonical order, or say why not; our messages end with what to do."""
    try:
        return to_canonical(read(path))
    except (InputError, PeerError) as error:
        text = " ".join(str(error).split()).replace(str(path), path.name)
        if isinstance(error, LabelError):  # which only guesses at the cause
            return finding("label_values", case.id, found=text)
        found, _, remedy = text.rpartition("; ")
        return finding(kind, case.id, found=found or text, remedy=remedy if found else None)


def _voxels_by_id(labels: UInt[np.ndarray, "z y x"]) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts) if i}


def _ids(case: Case, voxels: Mapping[int, int], label_set: LabelSet) -> Iterator[Finding]:
    """Hold the ids of a label map against the label set and what the case says of itself."""
    known = {organ.id: organ.name for organ in label_set.organs}
    strange = [f"{i} ({n} voxels)" for i, n in voxels.items() if i not in known]
    if strange:
        yield finding(
            "unknown_ids", case.id, found=f"ids that the label set lacks: {', '.join(strange[:10])}"
        )
    for number, name in known.items():
        count = voxels.get(number, 0)
        if name in case.organs and name not in case.absent and not count:
            yield finding("empty_organ", case.id, organ=name, found="is labelled, but has no voxel")
        if name in case.absent and count:
            yield finding(
                "declared_absent", case.id, organ=name, found=f"is declared absent, but has {count} voxels"
            )
        if name not in case.organs and count:
            yield finding(
                "unlisted_organ",
                case.id,
                organ=name,
                found=f"has {count} voxels, but is not listed as labelled",
            )


def _check_together(
    case: Case, image: Volume, labels: Volume | None, *, label_set: LabelSet, picture: Path | None
) -> tuple[list[Finding], dict[str, OrganMeasures]]:
    """Find the body, and where image and labels share a grid, measure the organs in it."""
    findings: list[Finding] = []
    body = None
    try:
        body = _body(image)
        findings += _values(case, image, body)
    except InputError as error:
        findings.append(finding("no_body", case.id, found=str(error)))
    if labels is None:
        return findings, {}
    apart_mm = labels.geometry.difference_mm(image.geometry)
    if apart_mm > SAME_GRID_MM:
        return [*findings, finding("other_grid", case.id, found=_grids(image, labels, apart_mm))], {}
    if picture is not None:
        both = LabelVolume(voxels=labels.voxels, geometry=image.geometry, label_set=label_set)
        draw_case(picture, case, image=image, labels=both)
    if body is None:
        return findings, {}
    organs = {
        organ.name: measured
        for organ in label_set.organs
        if (measured := measure_organ(organ.id, image=image, labels=labels.voxels, body=body))
    }
    findings += _lost_by_crop(case, labels.voxels, image=image, body=body)
    findings += [line for name, organ in organs.items() for line in _organ(case, name, organ)]
    flip = fitting_flip(image, labels.voxels, organs=organs, label_set=label_set)
    if flip is not None:
        text = f"its labels would fit the image if {flip} were exchanged"
        findings.append(finding("mirrored", case.id, found=text))
    return findings, organs


def _grids(image: Volume, labels: Volume, apart_mm: float) -> str:
    if image.geometry.shape_zyx != labels.geometry.shape_zyx:
        return f"labels of {labels.geometry.shape_zyx} voxels, image of {image.geometry.shape_zyx} (z, y, x)"
    return f"the labels' corners lie up to {apart_mm:.4g} mm from the image's"


def _body(image: Volume) -> BodyOnGrid:
    """Find the body as training does."""
    if min(image.geometry.shape_zyx) < LEAST_VOXELS:
        raise GeometryError(f"the image has only {image.geometry.shape_zyx} voxels (z, y, x)")
    z, y, x = (max(s, BODY_SPACING_MM) for s in image.geometry.spacing_zyx_mm)
    grid = grid_of_spacing(image.geometry, (z, y, x))
    values_hu = resample_linear(image.voxels, image.geometry, grid, outside=AIR_HU)
    found = find_body(Volume(voxels=values_hu, geometry=grid), clip_hu=BODY_CLIP_HU)
    return BodyOnGrid(mask=found.mask, geometry=grid)


def _values(case: Case, image: Volume, body: BodyOnGrid) -> Iterator[Finding]:
    """Say where what is denser than lung is no soft tissue, or too much of the body is as dense as bone."""
    values_hu = resample_linear(image.voxels, image.geometry, body.geometry, outside=AIR_HU)[body.mask]
    dense = values_hu[values_hu > _DENSER_THAN_LUNG_HU]
    median = float(np.median(dense)) if dense.size else float("-inf")
    least, most = SOFT_TISSUE_HU
    if not least <= median <= most:
        text = f"the body's soft tissue has {median:.0f} HU, not {least:g} to {most:g}"
        yield finding("no_hu", case.id, found=text)
    bony = float(np.mean(values_hu > BONE_HU))
    if bony > MOST_BONE:
        yield finding(
            "no_hu", case.id, found=f"{bony:.0%} of the body has more than {BONE_HU:g} HU, as bone has"
        )


def _lost_by_crop(
    case: Case, labels: UInt[np.ndarray, "z y x"], *, image: Volume, body: BodyOnGrid
) -> Iterator[Finding]:
    """Say what training's crop to the body would lose, as ``imaging.prepare`` counts it."""
    crop = Box.of_mask(body.mask) or Box.of_shape(body.mask.shape)
    kept = covered_box(body.geometry.cropped(crop.expanded((1, 1, 1), (1, 1, 1))), image.geometry)
    inside = 0 if kept is None else int(np.count_nonzero(labels[kept.slices]))
    lost = int(np.count_nonzero(labels)) - inside
    if lost:
        yield finding("lost_by_crop", case.id, found=f"{lost} labelled voxels lie outside the body's box")


def _organ(case: Case, name: str, organ: OrganMeasures) -> Iterator[Finding]:
    """Say what is odd about an organ by itself."""
    if organ.missing_slices:
        text = f"{organ.missing_slices} slices between its first and its last show nothing of it"
        yield finding("gaps", case.id, organ=name, found=text)
    if organ.slices < FEW_SLICES and not organ.cut:
        yield finding("few_slices", case.id, organ=name, found=f"is drawn on {organ.slices} slices")
    if organ.outside_ml > max(OUTSIDE_ML, OUTSIDE_SHARE * organ.volume_ml):
        text = f"{organ.outside_ml:.1f} of {organ.volume_ml:.1f} mL lie outside the body"
        yield finding("outside_body", case.id, organ=name, found=text)
    yield from _tissue(case, name, organ)


def _tissue(case: Case, name: str, organ: OrganMeasures) -> Iterator[Finding]:
    """Say where an organ holds more or less air than that organ can."""
    if odd_air(name, organ.air_share) == 0.0:
        return
    least, most = AIR_SHARE[name]
    wrong = organ.air_share > FAR_OFF * most or 1 - organ.air_share > FAR_OFF * (1 - least)
    text = f"{organ.air_share:.0%} of it is air or lung; usual are {least:.0%} to {most:.0%}"
    yield finding("wrong_tissue" if wrong else "doubtful_tissue", case.id, organ=name, found=text)


def _measures(
    case: Case, image: Volume, labels: Volume | None, *, organs: dict[str, OrganMeasures]
) -> CaseMeasures:
    spacing = image.geometry.spacing_zyx_mm
    z, y, x = (n * s for n, s in zip(image.geometry.shape_zyx, spacing, strict=True))
    return CaseMeasures(
        case_id=case.id,
        group=case.group,
        image_key=key_of(image.voxels),
        labels_key=key_of(labels.voxels) if labels is not None and labels.voxels.any() else None,
        spacing_zyx_mm=spacing,
        extent_zyx_mm=(z, y, x),
        organs=MappingProxyType(organs),
    )
