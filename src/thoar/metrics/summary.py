"""Statistics of one score over cases."""

import math
from collections.abc import Iterable

import msgspec
import numpy as np


class Summary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One score of one organ over the cases in which it is defined.

    A distance to a missing organ is infinite and stays in: the mean is then infinite too, and a model
    cannot gain by missing organs. The median often remains finite.

    Attributes:
        mean: NaN without cases.
        median: likewise.
        sd: sample standard deviation (n − 1); NaN for fewer than two cases or infinite ones.
        n: cases that count, infinite ones included.
        n_undefined: cases left out because the score is undefined (both masks empty).
        n_infinite: how many of the n are infinite (one mask empty).
    """

    mean: float
    median: float
    sd: float
    n: int
    n_undefined: int
    n_infinite: int


def summarise(values: Iterable[float]) -> Summary:
    """Return the statistics of some scores, undefined ones left out and counted.

    >>> summarise([1.0, 3.0, float("nan")])
    Summary(mean=2.0, median=2.0, sd=1.4142135623730951, n=2, n_undefined=1, n_infinite=0)
    """
    given = np.array(list(values), dtype=np.float64)
    defined = given[~np.isnan(given)]
    n_infinite = int(np.isinf(defined).sum())
    return Summary(
        mean=float(defined.mean()) if defined.size else math.nan,
        median=float(np.median(defined)) if defined.size else math.nan,
        sd=float(defined.std(ddof=1)) if defined.size > 1 and not n_infinite else math.nan,
        n=int(defined.size),
        n_undefined=int(given.size - defined.size),
        n_infinite=n_infinite,
    )
