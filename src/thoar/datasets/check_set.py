"""What can only be seen of a case beside the others: copies, absent organs, and what is out of the common."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from thoar.core.geometry import Vector3
from thoar.core.labels import LabelSet
from thoar.datasets.check_case import CheckedCase
from thoar.datasets.check_measures import CaseMeasures, OrganMeasures
from thoar.datasets.check_place import odd_places
from thoar.datasets.check_sides import odd_sides
from thoar.datasets.findings import Finding, OrganCount, finding
from thoar.datasets.robust import FAR, LEAST_FELLOWS, robust_scores

HIGHEST_ID = 255
"""Of the label maps that training prepares."""

OFTEN = 0.25
"""An organ that lacks in more than this part of the cases is spoken of."""

LOG_VOLUME_FLOOR = 0.25
"""Of a quarter people's organs differ anyhow."""
MEDIAN_HU_FLOOR = 60.0

SCALE = 2.0
"""A spacing or field of view so many times as large, or as small, as usual is spoken of."""


def check_set(cases: Sequence[CheckedCase], label_set: LabelSet) -> tuple[Finding, ...]:
    """Hold the cases of a data set against each other.

    Args:
        cases: all of them, checked one by one.
        label_set: the data set's.
    """
    measured = [case.measures for case in cases if case.measures is not None]
    return (
        *_high_ids(label_set),
        *_doubled_images(measured),
        *_doubled_labels(measured),
        *_absent(cases, label_set),
        *(line for name in label_set.names for line in _organ(name, measured, label_set=label_set)),
        *odd_places(measured, label_set),
        *odd_sides(measured, label_set),
        *_grids(measured),
    )


def _high_ids(label_set: LabelSet) -> Iterator[Finding]:
    """Name organs that training cannot prepare, as ``imaging.prepare`` refuses them."""
    high = [f"{organ.id} {organ.name}" for organ in label_set.organs if organ.id > HIGHEST_ID]
    if high:
        text = f"the label set has ids above {HIGHEST_ID}, which training does not take: "
        yield finding("high_ids", found=text + ", ".join(high[:10]))


def count_organs(cases: Sequence[CheckedCase], label_set: LabelSet) -> dict[str, OrganCount]:
    """Return in how many cases each organ is drawn, empty, declared absent or not labelled.

    Cases whose labels cannot be read are left out.
    """
    return {name: _count(name, cases) for name in label_set.names}


def _count(name: str, cases: Sequence[CheckedCase]) -> OrganCount:
    shown = [checked.case for checked in cases if checked.drawn is not None and name in checked.drawn]
    bare = [checked.case for checked in cases if checked.drawn is not None and name not in checked.drawn]
    absent = sum(name in case.absent for case in bare)
    unlabelled = sum(name not in case.organs for case in bare)
    return OrganCount(
        drawn=len(shown), empty=len(bare) - absent - unlabelled, absent=absent, unlabelled=unlabelled
    )


def _doubled_images(cases: Sequence[CaseMeasures]) -> Iterator[Finding]:
    for copies in _alike(cases, key=lambda case: case.image_key):
        first = copies[0]
        for copy in copies[1:]:
            kind = "doubled_image_in_group" if copy.group == first.group else "doubled_image"
            yield finding(kind, copy.case_id, found=f"its image is, voxel by voxel, that of {first.case_id}")


def _doubled_labels(cases: Sequence[CaseMeasures]) -> Iterator[Finding]:
    for copies in _alike([c for c in cases if c.labels_key], key=lambda case: case.labels_key or ""):
        first = copies[0]
        for copy in copies[1:]:
            if copy.image_key != first.image_key:
                text = f"its labels are, voxel by voxel, those of {first.case_id}, whose image is another"
                yield finding("doubled_labels", copy.case_id, found=text)


def _alike(cases: Iterable[CaseMeasures], *, key: Callable[[CaseMeasures], str]) -> list[list[CaseMeasures]]:
    """Return the cases that share a key, where several do."""
    groups = (list(group) for _, group in groupby(sorted(cases, key=key), key=key))
    return [group for group in groups if len(group) > 1]


def _absent(cases: Sequence[CheckedCase], label_set: LabelSet) -> Iterator[Finding]:
    labelled = [checked for checked in cases if checked.case.label is not None]
    for name, count in count_organs(labelled, label_set).items():
        lacking = count.empty + count.absent + count.unlabelled
        text = (
            f"{lacking} of {lacking + count.drawn} cases show nothing of it: {count.empty} empty, "
            f"{count.absent} declared absent, {count.unlabelled} not labelled"
        )
        if lacking and not count.drawn:
            yield finding("absent_everywhere", organ=name, found=text)
        elif lacking > OFTEN * (lacking + count.drawn):
            yield finding("absent_often", organ=name, found=text)


def _organ(name: str, cases: Sequence[CaseMeasures], *, label_set: LabelSet) -> Iterator[Finding]:
    """Say what is out of the common about one organ."""
    shown = [(case.case_id, case.organs[name]) for case in cases if name in case.organs]
    yield from _pieces(name, shown)
    yield from _volumes(name, shown, usual_ml=label_set.organ(name).usual_volume_ml)
    yield from _contents(name, shown)


_Shown = Sequence[tuple[str, OrganMeasures]]


def _pieces(name: str, shown: _Shown) -> Iterator[Finding]:
    """Name the cases in which an organ has several pieces, unless that is how this organ is."""
    several = [(case_id, organ.strays_ml) for case_id, organ in shown if organ.strays_ml]
    if len(shown) >= LEAST_FELLOWS and 2 * len(several) > len(shown):
        return
    for case_id, strays_ml in several:
        sizes = ", ".join(f"{ml:.2g}" for ml in strays_ml[:5])
        text = f"{len(strays_ml) + 1} pieces; besides the largest: {sizes} mL"
        yield finding("pieces", case_id, organ=name, found=text)


def _volumes(name: str, shown: _Shown, *, usual_ml: tuple[float, float] | None) -> Iterator[Finding]:
    """Hold volumes against the usual ones and against each other; a cut organ may well be smaller."""
    least, most = usual_ml or (0.0, math.inf)
    logs = np.array([math.nan if organ.cut else math.log(organ.volume_ml) for _, organ in shown])
    for (case_id, organ), score in zip(shown, robust_scores(logs, LOG_VOLUME_FLOOR), strict=True):
        if abs(score) > FAR:
            beside = f"in the other cases {math.exp(float(np.nanmedian(logs))):.0f} mL"
        elif organ.volume_ml > most or (organ.volume_ml < least and not organ.cut):
            beside = f"usual are {least:g} to {most:g} mL"
        else:
            continue
        yield finding("volume", case_id, organ=name, found=f"has {organ.volume_ml:.1f} mL; {beside}")


def _contents(name: str, shown: _Shown) -> Iterator[Finding]:
    """Hold what is in an organ against what is in the other cases'."""
    medians = np.array([organ.median_hu for _, organ in shown])
    scores = robust_scores(medians, MEDIAN_HU_FLOOR)
    for (case_id, organ), score in zip(shown, scores, strict=True):
        if abs(score) > FAR:
            text = f"its median is {organ.median_hu:.0f} HU; in the other cases {np.median(medians):.0f} HU"
            yield finding("values", case_id, organ=name, found=text)


def _grids(cases: Sequence[CaseMeasures]) -> Iterator[Finding]:
    """Name spacings and fields of view that are half or double the others'."""
    if len(cases) < LEAST_FELLOWS:
        return
    spacing = _median([case.spacing_zyx_mm for case in cases])
    extent = _median([case.extent_zyx_mm for case in cases])
    for case in cases:
        if _other_scale(case.spacing_zyx_mm, spacing):
            text = (
                f"spacing {_said(case.spacing_zyx_mm)} mm (z, y, x); in the other cases {_said(spacing)} mm"
            )
            yield finding("spacing", case.case_id, found=text)
        if _other_scale(case.extent_zyx_mm, extent):
            text = f"it is {_said(case.extent_zyx_mm)} mm large (z, y, x); the other cases {_said(extent)} mm"
            yield finding("field_of_view", case.case_id, found=text)


def _median(vectors: Sequence[Vector3]) -> Vector3:
    z, y, x = (float(v) for v in np.median(np.array(vectors), axis=0))
    return (z, y, x)


def _other_scale(vector: Vector3, usual: Vector3) -> bool:
    return any(not 1 / SCALE < a / b < SCALE for a, b in zip(vector, usual, strict=True))


def _said(vector: Vector3) -> str:
    return " × ".join(f"{v:.3g}" for v in vector)
