"""Whether left is left: cases seen in a mirror, and symmetric organs under each other's id.

Nobody's heart lies far from the middle, so no one number tells; all that usually lies left of something is
weighed together, as a matched filter does.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from thoar.core.labels import LabelSet
from thoar.datasets.anatomy import LEFTWARD
from thoar.datasets.check_measures import CaseMeasures
from thoar.datasets.findings import Finding, finding
from thoar.datasets.robust import LEAST_FELLOWS

MIRRORED = -2.0
"""Evidence, in deviations, from which on a case is said to be mirrored."""

SURE, SURE_OF_OTHERS = 2.0, 3.0
"""Unmirrored cases must show so much evidence on the average, or nothing is said of any: more of it where the
other cases are the measure, since all that is theirs is weighed and much of it hangs together."""

LEAST_DEVIATION_MM = 8.0
_SIGMA_PER_MAD = 1.4826


def odd_sides(cases: Sequence[CaseMeasures], label_set: LabelSet) -> Iterator[Finding]:
    """Name cases that are mirrored against anatomy or the other cases, and exchanged symmetric organs."""
    lefts = [_leftward(case, label_set) for case in cases]
    beside_others = _usual(lefts)
    for case, left in zip(cases, lefts, strict=True):
        if _evidence(left, beside_others, sure=SURE_OF_OTHERS) < MIRRORED:
            text = "its organs lie as in the other cases seen in a mirror"
            yield finding("mirrored", case.case_id, found=text)
        elif _evidence(left, LEFTWARD, sure=SURE) < MIRRORED:
            text = "its organs lie as in most people seen in a mirror"
            yield finding("mirrored", case.case_id, found=text)
    for pair in label_set.symmetric_pairs:
        yield from _exchanged(pair, cases)


_Leftward = Mapping[tuple[str, str], float]
_Usual = Mapping[tuple[str, str], tuple[float, float]]


def _leftward(case: CaseMeasures, label_set: LabelSet) -> _Leftward:
    """Return how far to the left things lie, as keys of ``anatomy.LEFTWARD``."""
    names = [name for name in label_set.names if name in case.organs]
    values: dict[tuple[str, str], float] = {}
    for one, other in combinations(names, 2):
        values[one, other] = case.organs[one].centroid_xyz_mm[0] - case.organs[other].centroid_xyz_mm[0]
    for name in names:
        organ = case.organs[name]
        values[name, "body"] = organ.from_body_xyz_mm[0]
        values[name, "back half"], values[name, "lower half"] = organ.leans_mm
    return values


def _usual(lefts: Sequence[_Leftward]) -> _Usual:
    """Return the cases' own medians and deviations; nothing where there are too few."""
    usual: dict[tuple[str, str], tuple[float, float]] = {}
    for key in sorted({key for left in lefts for key in left}):
        values = np.array([left[key] for left in lefts if key in left])
        if values.size >= LEAST_FELLOWS:
            usual[key] = (float(np.median(values)), _deviation(values))
    return usual


def _deviation(values: Float[np.ndarray, "n"]) -> float:
    return max(float(_SIGMA_PER_MAD * np.median(np.abs(values - np.median(values)))), LEAST_DEVIATION_MM)


def _evidence(left: _Leftward, usual: _Usual, *, sure: float) -> float:
    """Return how a case's offsets lie along the usual ones, in deviations; 0 where that could not tell."""
    known = [(left[key], *usual[key]) for key in usual if key in left]
    strength = math.sqrt(sum((mean / deviation) ** 2 for _, mean, deviation in known))
    if strength < sure:
        return 0.0
    return sum(value * mean / deviation**2 for value, mean, deviation in known) / strength


def _exchanged(pair: tuple[str, str], cases: Sequence[CaseMeasures]) -> Iterator[Finding]:
    """Name cases in which an organ lies on the other side of its twin than it should."""
    one, other = pair
    apart = {
        case.case_id: case.organs[one].centroid_xyz_mm[0] - case.organs[other].centroid_xyz_mm[0]
        for case in cases
        if one in case.organs and other in case.organs
    }
    side = _named_side(one, other) or float(np.sign(np.median([0.0, *apart.values()])))
    for case_id, left_mm in apart.items():
        if left_mm * side < 0:
            lies = f"{abs(left_mm):.0f} mm to the {'left' if left_mm > 0 else 'right'} of"
            yield finding("swapped_pair", case_id, organ=one, found=f"its middle lies {lies} the {other}'s")


def _named_side(one: str, other: str) -> float:
    """Return 1 where the first organ is the patient's left one by its name, -1 where the other is."""
    left, right = (not {"left", "l"}.isdisjoint(name.casefold().split("_")) for name in (one, other))
    return float(left) - float(right)
