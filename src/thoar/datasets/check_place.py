"""Where organs lie to each other and to the body, held against anatomy and against the other cases.

A displaced organ is odd to several landmarks, each of which is odd to it alone; so the organ that most odd
pairs share is named, and its pairs with it are done with.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np

from thoar.core.labels import LabelSet
from thoar.datasets.anatomy import OFFSETS, Axis
from thoar.datasets.check_measures import CaseMeasures, OrganMeasures
from thoar.datasets.findings import Finding, finding
from thoar.datasets.robust import FAR, robust_scores

BODY = "body"

FLOORS_MM: Mapping[Axis, float] = MappingProxyType(
    {
        "left": 9.0,
        "back": 9.0,
        "top_over_top": 12.0,
        "top_over_bottom": 12.0,
        "bottom_over_top": 12.0,
        "bottom_over_bottom": 12.0,
    }
)
"""Deviations among people that mean nothing."""

_SIDES: Mapping[Axis, tuple[str, str]] = MappingProxyType(
    {"left": ("to the left", "to the right"), "back": ("to the back", "to the front")}
)
_Pair = tuple[str, str]
_Offsets = Mapping[_Pair, Mapping[Axis, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Odd:
    """A landmark that an organ lies oddly to, how oddly, and the words for it."""

    pair: _Pair
    score: float
    text: str


def odd_places(cases: Sequence[CaseMeasures], label_set: LabelSet) -> Iterator[Finding]:
    """Name organs that are displaced."""
    offsets = [_offsets(case, label_set) for case in cases]
    odd: list[list[_Odd]] = [list(_against_anatomy(case)) for case in cases]
    for number, found in _against_others(offsets):
        odd[number].append(found)
    for case, all_odd in zip(cases, odd, strict=True):
        yield from _blamed(case.case_id, all_odd)


def _offsets(case: CaseMeasures, label_set: LabelSet) -> _Offsets:
    """Return where each organ lies from each later one, and from the body's middle."""
    names = [name for name in label_set.names if name in case.organs]
    offsets: dict[_Pair, dict[Axis, float]] = {}
    for one, other in combinations(names, 2):
        offsets[one, other] = _offset(case.organs[one], case.organs[other])
    for name in names:
        x, y, _ = case.organs[name].from_body_xyz_mm
        offsets[name, BODY] = {"left": x, "back": y}
    return offsets


def _offset(organ: OrganMeasures, landmark: OrganMeasures) -> dict[Axis, float]:
    """Return the offsets along all axes, NaN where the scan cuts an end."""
    (x, y, _), (other_x, other_y, _) = organ.centroid_xyz_mm, landmark.centroid_xyz_mm
    (low, high), (other_low, other_high) = organ.ends_z_mm, landmark.ends_z_mm
    return {
        "left": x - other_x,
        "back": y - other_y,
        "top_over_top": high - other_high,
        "top_over_bottom": high - other_low,
        "bottom_over_top": low - other_high,
        "bottom_over_bottom": low - other_low,
    }


def _against_anatomy(case: CaseMeasures) -> Iterator[_Odd]:
    for pair, usual in OFFSETS.items():
        if pair[0] not in case.organs or pair[1] not in case.organs:
            continue
        known = _offset(case.organs[pair[0]], case.organs[pair[1]])
        for axis, (least, most) in usual.items():
            beyond = max(least - known[axis], known[axis] - most)
            if beyond > 0:
                words = f"usual are {_amount(least, axis)} to {_amount(most, axis)}"
                score = FAR + beyond / FLOORS_MM[axis]
                yield _Odd(pair=pair, score=score, text=f"{_said(pair, axis, known[axis])}; {words}")


def _against_others(offsets: Sequence[_Offsets]) -> Iterator[tuple[int, _Odd]]:
    for pair in sorted({pair for case in offsets for pair in case}):
        numbers = [number for number, case in enumerate(offsets) if pair in case]
        for axis in offsets[numbers[0]][pair]:
            values = np.array([offsets[number][pair][axis] for number in numbers])
            scores = robust_scores(values, FLOORS_MM[axis])
            for number, value, score in zip(numbers, values, scores, strict=True):
                if abs(score) > FAR:
                    words = f"in the other cases {_amount(float(np.nanmedian(values)), axis)}"
                    text = f"{_said(pair, axis, float(value))}; {words}"
                    yield number, _Odd(pair=pair, score=abs(float(score)), text=text)


def _blamed(case_id: str, odd: Sequence[_Odd]) -> Iterator[Finding]:
    """Name the organ that most odd pairs share, then go on without these pairs."""
    left = list(odd)
    while left:
        share = defaultdict[str, float](float)
        for found in left:
            for name in found.pair:
                share[name] += found.score if name != BODY else 0.0
        organ = max(share, key=lambda name: share[name])
        mine = sorted((f for f in left if organ in f.pair), key=lambda f: -f.score)
        yield finding("place", case_id, organ=organ, found=mine[0].text)
        left = [found for found in left if organ not in found.pair]


def _said(pair: _Pair, axis: Axis, value: float) -> str:
    """Say where an organ lies, as in "the heart's top lies 30 mm above the trachea's bottom"."""
    landmark = "the middle of the body" if pair[1] == BODY else f"the {pair[1]}'s"
    if axis in _SIDES:
        return f"the {pair[0]}'s middle lies {_amount(value, axis)} of {landmark}"
    end, other_end = axis.split("_over_")
    return f"the {pair[0]}'s {end} lies {_amount(value, axis)} {landmark} {other_end}"


def _amount(value: float, axis: Axis) -> str:
    more, less = _SIDES.get(axis, ("above", "below"))
    return f"{abs(value):.0f} mm {more if value >= 0 else less}"
